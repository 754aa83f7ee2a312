//! Hooks: calls over HTTP that say that something happened. What they bring comes from outside, and is marked so.

mod book;
mod request;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aios_agents::event::WorkEvent;
use aios_core::event::Event;
use aios_core::item::Item;
use aios_sync::control::{Client, Request as Ask};
use aios_vault::Vault;
use aios_vault::author::Draft;
use aios_vault::chance::random;
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::error::CliError;
use crate::ui::complain;

pub use book::Book;
use request::{Delivery, Read};

/// How long a caller may take to say what it has to say.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens for the hooks of a device, where it has any; gives where.
pub fn listen(root: &Path, folder: &Path, loopback: bool) -> Result<Option<SocketAddr>, CliError> {
    let book = Book::load(folder)?;
    if book.hooks.is_empty() {
        return Ok(None);
    }
    if loopback && !book.listen.ip().is_loopback() {
        let what =
            format!("AIOS_NET=loopback binds to 127.0.0.1 only, and hooks are to come to {}", book.listen);
        return Err(CliError::failed(what, "`aios hook add PATH --listen 127.0.0.1:PORT` says otherwise"));
    }
    let wrap = |e| CliError::io(format!("listen for hooks on {}", book.listen), e);
    let listener = TcpListener::bind(book.listen).map_err(wrap)?;
    let addr = listener.local_addr().map_err(wrap)?;
    let (root, folder): (PathBuf, PathBuf) = (root.to_owned(), folder.to_owned());
    // One after the other: what a stranger can have done at once is little.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let (status, what, recorded) = take(&mut stream, &root, &folder);
            answer(&mut stream, status, &what);
            if recorded {
                carry_on(&folder);
            }
        }
    });
    Ok(Some(addr))
}

/// Takes one call; gives the answer, and whether something was recorded.
fn take(stream: &mut TcpStream, root: &Path, folder: &Path) -> (u16, String, bool) {
    let bad = |status: u16, what: &str| (status, what.to_owned(), false);
    let request = match receive(stream) {
        Ok(Read::Whole(request)) => request,
        Ok(Read::Bad(status, what)) => return bad(status, what),
        Ok(Read::More) | Err(_) => return bad(408, "it took too long"),
    };
    // Read anew each time: a hook that was removed is closed at once.
    let delivered = match Book::load(folder) {
        Ok(book) => request.deliver(&book),
        Err(_) => return bad(503, "not now"),
    };
    match delivered {
        Err((status, what)) => bad(status, what),
        Ok(delivery) => match record(root, delivery) {
            // Only now: what is answered so lasts, and the caller need not tell it again.
            Ok(id) => (202, id, true),
            Err(e) => {
                complain("warning", &format!("a hook was called and could not be recorded: {e}"));
                bad(503, "not now")
            }
        },
    }
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Read> {
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Read::More);
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Ok(Read::More);
        }
        bytes.extend_from_slice(&part[..count]);
        match request::read(&bytes) {
            Read::More => {}
            read => return Ok(read),
        }
    }
}

/// Writes a record of what was delivered; when it returns, it lasts. Told twice under one id it is one event, by the fold (I10).
fn record(root: &Path, delivery: Delivery) -> Result<String, CliError> {
    let Delivery { hook, id, data } = delivery;
    let id = match id {
        Some(id) => id,
        None => HEXLOWER.encode(&random()?[..16]),
    };
    let message = format!("Event {hook}");
    let event =
        WorkEvent::EventEmitted { name: hook, id: id.clone(), data, untrusted: true, from: None, hops: 0 };
    let event = Event::try_from(&event).map_err(|e| CliError::failed(e.to_string(), "report this"))?;
    let mut draft = Draft { actor: "aios".into(), message, ..Draft::default() };
    draft.push(Item::Event(event));
    Vault::open(root)?.author_events(draft)?;
    Ok(id)
}

/// Has the daemon carry on work. It would by itself, later.
fn carry_on(folder: &Path) {
    let asked = Client::connect(folder).map(|mut daemon| {
        daemon.ask(&Ask::Work, Some(PATIENCE))?;
        daemon.answer().map(|_| ())
    });
    if let Some(Err(e)) = asked {
        complain("warning", &format!("what a hook brought is recorded, and work was not carried on: {e}"));
    }
}

fn answer(stream: &mut TcpStream, status: u16, what: &str) {
    let body = match status {
        202 => json!({"id": what}),
        _ => json!({"error": what}),
    }
    .to_string();
    let reason = if status == 202 { "Accepted" } else { "No" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // Who does not wait for the answer asks again.
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}
