//! Connectors: files that say which device does something to the world, or hears from it, and how.

use crate::mistake::{At, Mistake, Mistakes};
use crate::node::{Front, Node};

/// Makes a file.
pub const CREATE: &str = "file.create";
/// Changes fields of a file, or adds a line to it.
pub const SET: &str = "file.set";
/// Hears of mails.
pub const RECEIVED: &str = "mail.received";
/// Sends a mail.
pub const SEND: &str = "mail.send";

/// Whether a capability writes files of the vault.
pub fn is_of_files(capability: &str) -> bool {
    matches!(capability, CREATE | SET)
}

/// How a connector does what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mails are files in a folder, called by the keys of their effects: one that is written twice is there once.
    Outbox,
    /// Mails are put into a maildir, from which whoever reads it takes them.
    Maildir,
    /// Files of the vault are written.
    Files,
    /// Mails that come are taken from a maildir: each becomes an event.
    Inbox,
}

const KINDS: [(&str, Kind); 4] =
    [("outbox", Kind::Outbox), ("maildir", Kind::Maildir), ("files", Kind::Files), ("inbox", Kind::Inbox)];

/// What can be done to the world, by connectors of whatever kind.
pub fn deeds() -> impl Iterator<Item = &'static str> {
    let acting = KINDS.iter().map(|(_, kind)| *kind).filter(|kind| *kind != Kind::Inbox);
    acting.flat_map(|kind| kind.provides().iter().copied())
}

impl Kind {
    /// Whether the far side does a thing once however often it is told, by its key.
    pub fn knows_keys(self) -> bool {
        match self {
            // The record that writes a file names the key.
            Kind::Outbox | Kind::Files => true,
            // A mail that was taken out leaves nothing by which it would be known.
            Kind::Maildir => false,
            // It does nothing to the world.
            Kind::Inbox => true,
        }
    }

    /// Whether nothing leaves the vault by it.
    pub fn is_inward(self) -> bool {
        matches!(self, Kind::Files | Kind::Inbox)
    }

    /// What it can do.
    pub fn provides(self) -> &'static [&'static str] {
        match self {
            Kind::Outbox | Kind::Maildir => &[SEND],
            Kind::Files => &[CREATE, SET],
            Kind::Inbox => &[RECEIVED],
        }
    }
}

/// A connector as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// What it can do, such as `mail.send`.
    pub provides: Vec<String>,
    /// How.
    pub kind: Kind,
    /// The name of the device that does it; none: the one that does it now, first the one that made the vault.
    pub home: Option<String>,
}

impl Connector {
    /// Reads a connector's file.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn read(text: &str) -> Result<Connector, Vec<Mistake>> {
        let front = Front::read(text).map_err(|mistake| vec![mistake])?;
        let mut out = Mistakes::default();
        let found = connector(&front, &mut out);
        match (found, out.count()) {
            (Some(connector), 0) => Ok(connector),
            _ => Err(out.into_vec()),
        }
    }
}

fn connector(front: &Front, out: &mut Mistakes) -> Option<Connector> {
    let root = &front.root;
    root.map("the frontmatter", out)?;
    root.only("a connector", &["type", "title", "provides", "kind", "home"], out);
    match root.get("type") {
        Some(kind) if kind.as_text() == Some("connector") => {}
        Some(kind) => out.add(kind.at, "this is no connector: `type` must be `connector`"),
        None => out.hint(At::START, "it has no `type`", "write `type: connector`"),
    }
    let kind = match root.get("kind") {
        Some(node) => {
            let found = KINDS.iter().find(|(name, _)| node.as_text() == Some(*name));
            if found.is_none() {
                let hint = "it is `outbox`, `maildir`, `files` or `inbox`";
                out.hint(node.at, "there is no such kind of connector", hint);
            }
            found.map(|(_, kind)| *kind)
        }
        None => {
            let hint = "write `kind: outbox`, `kind: maildir`, `kind: files` or `kind: inbox`";
            out.hint(At::START, "it has no `kind`", hint);
            None
        }
    };
    let provides = match root.get("provides") {
        Some(node) => provided(node, kind, out)?,
        None => {
            let first = kind.and_then(|kind| kind.provides().first()).unwrap_or(&SEND);
            out.hint(At::START, "it has no `provides`", format!("write `provides: {first}`"));
            return None;
        }
    };
    let home = match root.get("home") {
        Some(node) => Some(node.text("home", out)?),
        None => None,
    };
    Some(Connector { provides, kind: kind?, home })
}

/// One capability, or a list.
fn provided(node: &Node, kind: Option<Kind>, out: &mut Mistakes) -> Option<Vec<String>> {
    let nodes = match node.as_text() {
        Some(_) => std::slice::from_ref(node),
        None => node.list("provides", out)?,
    };
    let mut names = Vec::new();
    for node in nodes {
        let name = node.text("provides", out)?;
        if let Some(kind) = kind.filter(|kind| !kind.provides().contains(&name.as_str())) {
            out.add(node.at, format!("it can {} and not `{name}`", kind.provides().join(", ")));
        }
        names.push(name);
    }
    if names.is_empty() {
        out.add(node.at, "it provides nothing");
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_who_does_what() {
        let text = "---\ntype: connector\nprovides: mail.send\nkind: maildir\nhome: worker\n---\n";
        let home = Some("worker".to_owned());
        let connector = Connector { provides: vec!["mail.send".into()], kind: Kind::Maildir, home };
        assert_eq!(Connector::read(text), Ok(connector));
        let text = "---\ntype: connector\nprovides: [file.create, file.set]\nkind: files\n---\n";
        assert_eq!(Connector::read(text).map(|it| it.provides.len()), Ok(2));
    }

    #[test]
    fn every_mistake_is_told() {
        let text = "---\ntype: connecter\nprovides: mail.sent\nkind: outbox\nhom: x\n---\n";
        let said: Vec<String> =
            Connector::read(text).unwrap_err().iter().map(|it| format!("{} {}", it.at, it.what)).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(Connector::read("---\ntype: connector\n---\n").unwrap_err().len() == 2);
        assert!(Connector::read("no frontmatter").is_err());
        let none = "---\ntype: connector\nprovides: []\nkind: inbox\n---\n";
        assert_eq!(Connector::read(none).unwrap_err().len(), 1);
    }
}
