//! The git commit of a record, as far as it follows from the record alone. See `docs/formats.md`, Git.

use crate::id::{GitId, RecordId};
use crate::record::{Author, Body, Header};

/// Author and committer, time and message of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legend {
    /// Author and committer.
    pub author: Author,
    /// Seconds since the Unix epoch, zone +0000.
    pub time: u64,
    /// The whole message, with trailers and a final line end.
    pub message: String,
}

impl Legend {
    /// Of the record that ends a transaction.
    pub fn of_record(id: &RecordId, header: &Header, body: &Body) -> Legend {
        let message = match body.message.trim_end() {
            "" => "Change",
            text => text,
        };
        let mut message = format!(
            "{message}\n\nAios-Record: {id}\nAios-Device: {}\nAios-Actor: {}\n",
            header.device,
            one_line(&header.actor)
        );
        let trailers = [("Task", &body.task), ("Run", &body.run), ("Approved-By", &body.approved_by)];
        for (name, value) in trailers {
            if let Some(value) = value {
                message.push_str(&format!("Aios-{name}: {}\n", one_line(value)));
            }
        }
        let name = match clean(&body.author.name) {
            name if name.is_empty() => "aios".to_owned(),
            name => name,
        };
        let author = Author { name, email: clean(&body.author.email) };
        Legend { author, time: header.wall / 1000, message }
    }

    /// Of the merge of several lines of work, given the records at their ends and the greatest `wall` among them.
    pub fn of_merge(heads: &[RecordId], wall: u64) -> Legend {
        let mut sorted = heads.to_vec();
        sorted.sort();
        let lines: String = sorted.iter().map(|id| format!("Aios-Merge: {id}\n")).collect();
        let author = Author { name: "aios".into(), email: "merge@aios".into() };
        Legend {
            author,
            time: wall / 1000,
            message: format!("Merge {} lines of work\n\n{lines}", sorted.len()),
        }
    }

    /// The records that a merge of [`Legend::of_merge`] says it joins; of any other message, none.
    pub fn merged(message: &str) -> Vec<RecordId> {
        let lines = message.strip_prefix("Merge ").and_then(|rest| rest.split_once("\n\n"));
        let ids = lines.iter().flat_map(|(_, lines)| lines.lines());
        ids.filter_map(|line| line.strip_prefix("Aios-Merge: ")?.parse().ok()).collect()
    }

    /// The bytes of the commit object.
    pub fn commit(&self, tree: &GitId, parents: &[GitId]) -> Vec<u8> {
        let who = format!("{} <{}> {} +0000", self.author.name, self.author.email, self.time);
        let mut out = format!("tree {tree}\n");
        for parent in parents {
            out.push_str(&format!("parent {parent}\n"));
        }
        out.push_str(&format!("author {who}\ncommitter {who}\n\n{}", self.message));
        out.into_bytes()
    }
}

/// Without the characters that git's own syntax needs, trimmed.
fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control() && *c != '<' && *c != '>').collect();
    kept.trim().to_owned()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
