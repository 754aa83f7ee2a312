//! Connectors: files that say which device does something to the world, and how.

use crate::mistake::{At, Mistake, Mistakes};
use crate::node::Front;

/// How a connector does what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mails are files in a folder, called by the keys of their effects: one that is written twice is there once.
    Outbox,
    /// Mails are put into a maildir, from which whoever reads it takes them.
    Maildir,
}

const KINDS: [(&str, Kind); 2] = [("outbox", Kind::Outbox), ("maildir", Kind::Maildir)];

impl Kind {
    /// Whether the far side does a thing once however often it is told, by its key.
    pub fn knows_keys(self) -> bool {
        match self {
            Kind::Outbox => true,
            // A mail that was taken out leaves nothing by which it would be known.
            Kind::Maildir => false,
        }
    }

    /// What it can do.
    pub fn provides(self) -> &'static [&'static str] {
        match self {
            Kind::Outbox | Kind::Maildir => &["mail.send"],
        }
    }
}

/// A connector as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// What it can do, such as `mail.send`.
    pub provides: String,
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
                out.hint(node.at, "there is no such kind of connector", "it is `outbox` or `maildir`");
            }
            found.map(|(_, kind)| *kind)
        }
        None => {
            out.hint(At::START, "it has no `kind`", "write `kind: outbox` or `kind: maildir`");
            None
        }
    };
    let provides = match root.get("provides") {
        Some(node) => {
            let name = node.text("provides", out)?;
            if let Some(kind) = kind.filter(|kind| !kind.provides().contains(&name.as_str())) {
                out.add(node.at, format!("it can {} and not `{name}`", kind.provides().join(", ")));
            }
            Some(name)
        }
        None => {
            out.hint(At::START, "it has no `provides`", "write `provides: mail.send`");
            None
        }
    };
    let home = match root.get("home") {
        Some(node) => Some(node.text("home", out)?),
        None => None,
    };
    Some(Connector { provides: provides?, kind: kind?, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_who_does_what() {
        let text = "---\ntype: connector\nprovides: mail.send\nkind: maildir\nhome: worker\n---\n";
        let home = Some("worker".to_owned());
        let connector = Connector { provides: "mail.send".into(), kind: Kind::Maildir, home };
        assert_eq!(Connector::read(text), Ok(connector));
    }

    #[test]
    fn every_mistake_is_told() {
        let text = "---\ntype: connecter\nprovides: mail.sent\nkind: outbox\nhom: x\n---\n";
        let said: Vec<String> =
            Connector::read(text).unwrap_err().iter().map(|it| format!("{} {}", it.at, it.what)).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(Connector::read("---\ntype: connector\n---\n").unwrap_err().len() == 2);
        assert!(Connector::read("no frontmatter").is_err());
    }
}
