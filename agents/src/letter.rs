//! Mails that came, as events: what a workflow is told of one, and the id under which it is told once.

use aios_core::id::ContentHash;
use mail_parser::{Message, MessageParser, MimeHeaders as _};
use serde_json::{Value, json};

/// The most of a mail's text that is told, in bytes: an event is no place for more, and the file stays.
const MOST_TEXT: usize = 20 * 1024;
/// The most of a header that is told, in bytes.
const MOST_HEADER: usize = 1_000;
/// The most attachments that are named, each with so many bytes.
const MOST_ATTACHMENTS: (usize, usize) = (20, 200);

/// A mail that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Of what comes twice there is one event: its `Message-ID`, with a digest of what it says, since a sender may use one again.
    pub id: String,
    /// What is told of it.
    pub data: Value,
}

impl Letter {
    /// Reads a mail; `None` for what is none.
    pub fn read(bytes: &[u8]) -> Option<Letter> {
        let mail = MessageParser::default().parse(bytes)?;
        let sender = mail.from().and_then(|from| from.first());
        let from = one_line(sender.and_then(|it| it.address.as_deref()).unwrap_or_default());
        let name = one_line(sender.and_then(|it| it.name.as_deref()).unwrap_or_default());
        let receiver = mail.to().and_then(|to| to.first());
        let to = one_line(receiver.and_then(|it| it.address.as_deref()).unwrap_or_default());
        let subject = one_line(mail.subject().unwrap_or_default());
        let date = mail.date().map(mail_parser::DateTime::to_rfc3339).unwrap_or_default();
        let whole = mail.body_text(0).unwrap_or_default().replace("\r\n", "\n");
        // What no terminal should be sent takes six times the room in JSON, too.
        let plain: String = whole
            .trim_end()
            .chars()
            .map(|c| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c })
            .collect();
        let text = cut(&plain, MOST_TEXT);
        if from.is_empty() && subject.is_empty() && text.is_empty() {
            return None;
        }
        let said = json!([from, subject, date, whole]).to_string();
        let message = one_line(mail.message_id().unwrap_or_default());
        let id = format!("{}/{}", message, ContentHash::of(said.as_bytes()).short(16));
        let data = json!({
            "from": from.to_lowercase(),
            "name": name,
            "to": to.to_lowercase(),
            "subject": subject,
            "date": date,
            "text": text,
            "cut": text.len() < plain.len(),
            "message": message,
            "reply": one_line(mail.in_reply_to().as_text().unwrap_or_default()),
            "attachments": attachments(&mail),
        });
        Some(Letter { id, data })
    }
}

fn attachments(mail: &Message<'_>) -> Vec<String> {
    let (count, length) = MOST_ATTACHMENTS;
    let name = |name: Option<&str>| cut(&one_line(name.unwrap_or("without a name")), length).to_owned();
    mail.attachments().take(count).map(|part| name(part.attachment_name())).collect()
}

/// A header without what could end it.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(text.trim(), MOST_HEADER).to_owned()
}

/// At most so many bytes of a text.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "From: =?utf-8?Q?Zo=C3=AB?= Maas <Zoe@Quay.example>\r\nTo: ada@peil.example\r\nSubject: A dashboard\r\nMessage-ID: <7@quay.example>\r\nDate: Fri, 20 Nov 2026 09:00:00 +0100\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello,\r\ncould you?\r\n";

    #[test]
    fn what_is_told() {
        let letter = Letter::read(MAIL.as_bytes()).unwrap();
        let data = &letter.data;
        assert_eq!((&data["from"], &data["name"]), (&"zoe@quay.example".into(), &"Zoë Maas".into()));
        assert_eq!((&data["subject"], &data["text"]), (&"A dashboard".into(), &"Hello,\ncould you?".into()));
        assert_eq!(data["message"], "7@quay.example");
        assert!(letter.id.starts_with("7@quay.example/"), "{}", letter.id);
        // Another way here is the same mail; another text under its id is another mail.
        let again = format!("Received: from x by y; Fri, 20 Nov 2026 09:00:01 +0100\r\n{MAIL}");
        assert_eq!(Letter::read(again.as_bytes()).unwrap(), letter);
        let other = MAIL.replace("could you?", "pay me!");
        assert_ne!(Letter::read(other.as_bytes()).unwrap().id, letter.id);
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_no_mail_is_none() {
        let long = format!("{MAIL}{}", "é".repeat(MOST_TEXT));
        let data = Letter::read(long.as_bytes()).unwrap().data;
        assert_eq!(data["cut"], true);
        assert!(data.to_string().len() < 64 * 1024);
        assert_eq!(Letter::read(b""), None);
        assert_eq!(Letter::read(&[0xff, 0xfe, 0]), None);
    }
}
