//! A call over HTTP as far as hooks need it: no I/O, and nothing that a stranger sends is trusted to be what it says.

use aios_core::id::ContentHash;
use httparse::{EMPTY_HEADER, Header, Status};
use serde_json::{Value, json};

use super::book::Book;

/// The most bytes before the body.
const HEAD: usize = 16 * 1024;
/// The most bytes of a body.
const BODY: usize = 64 * 1024;
const HEADERS: usize = 64;
/// A longer id is known by its hash.
const ID: usize = 128;
/// Headers that name a delivery, the first that is there: Standard Webhooks, the draft of the IETF, GitHub.
const IDS: [&str; 3] = ["webhook-id", "idempotency-key", "x-github-delivery"];

/// What came of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// More has to come.
    More,
    /// It is none that is answered otherwise.
    Bad(u16, &'static str),
    /// It is whole.
    Whole(Request),
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    path: String,
    token: Option<String>,
    id: Option<String>,
    body: Vec<u8>,
}

/// Something that happened, as a hook was told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The hook.
    pub hook: String,
    /// Which one it is; none where the caller did not say.
    pub id: Option<String>,
    /// What it says.
    pub data: Value,
}

/// Reads what has come so far.
pub fn read(bytes: &[u8]) -> Read {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let start = match request.parse(bytes) {
        Ok(Status::Complete(start)) if start <= HEAD => start,
        Ok(Status::Partial) if bytes.len() <= HEAD => return Read::More,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Read::Bad(431, "too much before the body"),
        Err(_) => return Read::Bad(400, "no HTTP"),
    };
    if request.method != Some("POST") {
        return Read::Bad(405, "a hook takes POST");
    }
    let find = |name: &str| header(request.headers, name);
    if find("transfer-encoding").is_some() {
        return Read::Bad(411, "say how long the body is");
    }
    let lengths = request.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("content-length")).count();
    let Some(length) = find("content-length").filter(|_| lengths == 1).and_then(|text| text.parse().ok())
    else {
        return Read::Bad(411, "say how long the body is");
    };
    if length > BODY {
        return Read::Bad(413, "the body is too long");
    }
    let Some(body) = bytes.get(start..start.saturating_add(length)) else { return Read::More };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let bearer = find("authorization").and_then(|text| text.strip_prefix("Bearer "));
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("token="));
    Read::Whole(Request {
        path: path.to_owned(),
        token: bearer.or(asked).map(|token| token.trim().to_owned()),
        id: IDS.iter().find_map(|name| find(name)).map(str::to_owned),
        body: body.to_vec(),
    })
}

fn header<'h>(headers: &'h [Header<'_>], name: &str) -> Option<&'h str> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok().map(str::trim).filter(|text| !text.is_empty())
}

impl Request {
    /// What it delivers, where it may.
    pub fn deliver(self, book: &Book) -> Result<Delivery, (u16, &'static str)> {
        // Who does not know a token learns of no hook.
        if !book.lets_in(&self.path, self.token.as_deref().unwrap_or_default()) {
            return Err((401, "no such hook, or not its token"));
        }
        let Ok(said) = serde_json::from_slice::<Value>(&self.body) else { return Err((400, "no JSON")) };
        let own = match &said["id"] {
            Value::String(id) if !id.is_empty() => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        };
        let id = self.id.or(own).map(|id| match id.len() > ID {
            true => ContentHash::of(id.as_bytes()).hex(),
            false => id,
        });
        let data = if said.is_object() { said } else { json!({"body": said}) };
        Ok(Delivery { hook: self.path, id, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(head: &str, body: &str) -> Vec<u8> {
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn whole(bytes: &[u8]) -> Request {
        match read(bytes) {
            Read::Whole(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_is_read_however_it_is_cut() {
        let bytes = call("POST /pay?token=t HTTP/1.1\r\nHost: x\r\nWebhook-Id: 7", "{\"a\":1}");
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Read::More, "{cut}");
        }
        let request = whole(&bytes);
        assert_eq!(
            (request.path.as_str(), request.token.as_deref(), request.id.as_deref()),
            ("/pay", Some("t"), Some("7"))
        );
    }

    #[test]
    fn who_has_no_token_learns_nothing() {
        let mut book = Book::default();
        let token = book.add("/pay").unwrap();
        let deliver = |head: &str, body: &str| whole(&call(head, body)).deliver(&book);
        let told = deliver(
            &format!("POST /pay HTTP/1.1\r\nAuthorization: Bearer {token}"),
            "{\"id\":\"x\",\"n\":1}",
        );
        assert_eq!(
            told.unwrap(),
            Delivery { hook: "/pay".into(), id: Some("x".into()), data: json!({"id": "x", "n": 1}) }
        );
        for head in ["POST /pay HTTP/1.1", "POST /pay?token=00 HTTP/1.1", "POST /other HTTP/1.1"] {
            assert_eq!(deliver(head, "{}"), Err((401, "no such hook, or not its token")), "{head}");
        }
        let other = format!("POST /other?token={token} HTTP/1.1");
        assert_eq!(deliver(&other, "{}").unwrap_err().0, 401);
        let mine = format!("POST /pay?token={token} HTTP/1.1");
        assert_eq!(deliver(&mine, "a=1").unwrap_err().0, 400);
        assert_eq!(deliver(&mine, "[1]").unwrap().data, json!({"body": [1]}));
    }

    #[test]
    fn what_is_no_call_is_told_so() {
        let long = "x".repeat(HEAD);
        for (bytes, status) in [
            (b"\x16\x03\x01".to_vec(), 400),
            (b"GET /pay HTTP/1.1\r\n\r\n".to_vec(), 405),
            (b"POST /pay HTTP/1.1\r\n\r\n".to_vec(), 411),
            (b"POST /pay HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n".to_vec(), 411),
            (b"POST /pay HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(), 411),
            (b"POST /pay HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n".to_vec(), 411),
            (b"POST /pay HTTP/1.1\r\nContent-Length: 70000\r\n\r\n".to_vec(), 413),
            (format!("POST /{long} HTTP/1.1\r\n").into_bytes(), 431),
            (format!("POST / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)).into_bytes(), 431),
        ] {
            let found = read(&bytes);
            assert!(matches!(found, Read::Bad(it, _) if it == status), "{status}: {found:?}");
        }
    }
}
