//! A thread that sends spans: in batches, each once, and nobody waits for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use aios_agents::kernel::Stretch;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::encode::encode;

/// So many spans wait; what comes then is dropped.
const MOST: usize = 8_192;
/// So many go in one request.
const BATCH: usize = 512;
/// So long is waited for more of them.
const LINGER: Duration = Duration::from_millis(500);
/// So long may the other side take.
const ANSWER: Duration = Duration::from_secs(5);

enum Letter {
    Span(Box<Stretch>),
    Flush(SyncSender<()>),
}

/// Who sends.
pub struct Post {
    letters: SyncSender<Letter>,
}

/// Where to, and what goes along.
struct Address {
    url: String,
    headers: HeaderMap,
    service: String,
}

impl Address {
    /// As variables of the environment say; nothing where none does.
    fn configured(variable: impl Fn(&str) -> Option<String>) -> Option<Address> {
        let said = |name: &str| variable(name).filter(|it| !it.trim().is_empty());
        let traces = said("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let url = traces.or_else(|| {
            let all = said("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}/v1/traces", all.trim_end_matches('/')))
        })?;
        let disabled = said("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"))
            || said("OTEL_TRACES_EXPORTER").is_some_and(|it| it == "none");
        if disabled {
            return None;
        }
        let mut headers = HeaderMap::new();
        let names = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];
        for text in names.into_iter().filter_map(&said) {
            for (name, value) in text.split(',').filter_map(|it| it.split_once('=')) {
                let name = HeaderName::from_bytes(name.trim().as_bytes());
                if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value.trim())) {
                    // It may be a key.
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
            }
        }
        let service = said("OTEL_SERVICE_NAME").unwrap_or_else(|| "aios".into());
        Some(Address { url, headers, service })
    }
}

impl Post {
    /// Begins, where it is said where to.
    pub fn configured(variable: impl Fn(&str) -> Option<String>) -> Option<Post> {
        let address = Address::configured(variable)?;
        let (letters, came) = sync_channel(MOST);
        let thread = std::thread::Builder::new().name("spans".into());
        thread.spawn(move || carry(&address, &came)).ok()?;
        Some(Post { letters })
    }

    /// Sends a span, some time. Where too many wait it is dropped.
    pub fn send(&self, stretch: Stretch) {
        let _ = self.letters.try_send(Letter::Span(Box::new(stretch)));
    }

    /// Waits until all is sent that was given so far, and no longer than that.
    pub fn flush(&self, patience: Duration) {
        let (done, told) = sync_channel(1);
        if self.letters.try_send(Letter::Flush(done)).is_ok() {
            let _ = told.recv_timeout(patience);
        }
    }
}

fn carry(address: &Address, letters: &Receiver<Letter>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Some(client)) = (runtime, client()) else { return };
    let (mut batch, mut told) = (Vec::new(), false);
    loop {
        let Ok(first) = letters.recv() else { return };
        let (mut next, mut flush) = (Some(first), None);
        let until = Instant::now() + LINGER;
        while let Some(letter) = next.take() {
            match letter {
                Letter::Span(stretch) => batch.push(*stretch),
                Letter::Flush(done) => flush = Some(done),
            }
            if flush.is_none() && batch.len() < BATCH {
                next = letters.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
            }
        }
        if !batch.is_empty() {
            let body = encode(&address.service, &std::mem::take(&mut batch)).to_string();
            let post = client.post(&address.url).headers(address.headers.clone());
            let post = post.header("content-type", "application/json").body(body).timeout(ANSWER);
            let came = runtime.block_on(async { post.send().await?.error_for_status() });
            // Once is enough: a collector that is away is away for long. The words of the library name the address, and may hold a key.
            if let Err(e) = came.map(drop)
                && !std::mem::replace(&mut told, true)
            {
                let status = e.status().map(|it| format!(": it answered {it}")).unwrap_or_default();
                tracing::warn!("spans cannot be exported{status}; see OTEL_EXPORTER_OTLP_ENDPOINT");
            }
        }
        if let Some(done) = flush {
            let _ = done.send(());
        }
    }
}

fn client() -> Option<reqwest::Client> {
    // Where another part of the process has chosen already, that stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(variables: &[(&str, &str)]) -> Option<Address> {
        let of = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
        Address::configured(of)
    }

    #[test]
    fn variables_say_where_to() {
        assert!(address(&[]).is_none());
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");
        assert_eq!(address(&[all]).unwrap().url, "http://127.0.0.1:4318/v1/traces");
        let one = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/x");
        assert_eq!(address(&[all, one]).unwrap().url, "http://127.0.0.1:1/x");
        assert!(address(&[all, ("OTEL_SDK_DISABLED", "true")]).is_none());
        assert!(address(&[all, ("OTEL_TRACES_EXPORTER", "none")]).is_none());
        let with = address(&[all, ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, api-key = c=d")]).unwrap();
        assert_eq!(
            (&with.headers["a"], &with.headers["api-key"]),
            (&"b".parse().unwrap(), &"c=d".parse().unwrap())
        );
        assert!(with.headers["api-key"].is_sensitive());
    }
}
