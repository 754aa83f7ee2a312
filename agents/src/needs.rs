//! Where work is done: what a workflow needs of a device, what a device offers, and which of them fits.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::failure::read_span;
use crate::mistake::Mistakes;
use crate::node::Node;
use crate::span::Millis;

/// What a workflow needs of the device that works on it. Without any, it stays where it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files that it reads: they have to be there, and not be fetched first.
    pub paths: Vec<String>,
    /// What its connectors can do: the device has to be where that happens.
    pub connectors: Vec<String>,
    /// Whether it takes a device that is there for such work.
    pub heavy: bool,
    /// The tier of a model.
    pub model: Option<String>,
    /// MB of memory.
    pub memory: u64,
    /// For so long nothing may be heard of the device; then another works on it.
    pub lease: Option<Millis>,
}

/// What a device says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Whether it keeps all files, and not only those that were used there.
    #[serde(default)]
    pub whole: bool,
    /// Whether it is there for heavy work.
    #[serde(default)]
    pub heavy: bool,
    /// The tiers of models that it reaches.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub models: BTreeSet<String>,
    /// MB of memory.
    #[serde(default)]
    pub memory: u64,
}

impl Needs {
    /// Reads `needs:`.
    pub fn read(node: &Node, out: &mut Mistakes) -> Needs {
        let mut needs = Needs::default();
        if node.map("needs", out).is_none() {
            return needs;
        }
        node.only("`needs`", &["paths", "connectors", "heavy", "model", "memory_mb", "lease"], out);
        let mut texts = |name: &str| -> Vec<String> {
            let items = node.get(name).map(Node::items).unwrap_or_default();
            items.iter().filter_map(|item| item.text(name, out)).collect()
        };
        needs.paths = texts("paths");
        needs.connectors = texts("connectors");
        needs.model = texts("model").pop();
        needs.heavy = node.get("heavy").and_then(|it| it.boolean("heavy", out)).unwrap_or(false);
        let memory = node.get("memory_mb").and_then(|it| it.whole("memory_mb", 1, 1 << 24, out));
        needs.memory = memory.unwrap_or(0);
        needs.lease = read_span(node, "lease", out);
        if let (Some(at), Some(0..60_000)) = (node.get("lease"), needs.lease) {
            out.add(at.at, "a lease is at least a minute: so long a device may be busy");
        }
        needs
    }

    /// Whether it matters where the work is done.
    pub fn any(&self) -> bool {
        *self != Needs { lease: self.lease, ..Needs::default() }
    }

    /// What a device lacks, for people; nothing where it fits. `does` is whether something of connectors happens there.
    pub fn lacks(&self, offer: &Offer, does: impl Fn(&str) -> bool) -> Option<String> {
        let connector = self.connectors.iter().find(|name| !does(name));
        match connector {
            _ if self.heavy && !offer.heavy => Some("a device for heavy work".to_owned()),
            Some(name) => Some(format!("the device where `{name}` happens")),
            _ if self.model.as_ref().is_some_and(|tier| !offer.models.contains(tier)) => {
                self.model.as_ref().map(|tier| format!("a device with a model of the tier `{tier}`"))
            }
            _ if offer.memory < self.memory => Some(format!("a device with {} MB of memory", self.memory)),
            _ if !self.paths.is_empty() && !offer.whole => {
                Some(format!("a device that keeps {}", self.paths.join(", ")))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Front;

    fn read(yaml: &str) -> (Needs, Vec<String>) {
        let front = Front::read(&format!("---\nneeds: {yaml}\n---\n")).unwrap();
        let mut out = Mistakes::default();
        let needs = Needs::read(front.root.get("needs").unwrap(), &mut out);
        (needs, out.into_vec().into_iter().map(|it| format!("{} {}", it.at, it.what)).collect())
    }

    #[test]
    fn a_device_fits_or_it_is_said_what_it_lacks() {
        let (needs, mistakes) =
            read("{heavy: true, memory_mb: 4000, paths: clients/*, connectors: [mail.send], model: large}");
        assert_eq!(mistakes, Vec::<String>::new());
        assert!(needs.any());
        let models = BTreeSet::from(["large".to_owned()]);
        let fit = Offer { whole: true, heavy: true, models, memory: 8000 };
        assert_eq!(needs.lacks(&fit, |_| true), None);
        for (offer, does, what) in [
            (Offer { heavy: false, ..fit.clone() }, true, "heavy work"),
            (fit.clone(), false, "`mail.send` happens"),
            (Offer { models: BTreeSet::new(), ..fit.clone() }, true, "tier `large`"),
            (Offer { memory: 3999, ..fit.clone() }, true, "4000 MB"),
            (Offer { whole: false, ..fit.clone() }, true, "keeps clients/*"),
        ] {
            assert!(needs.lacks(&offer, |_| does).is_some_and(|it| it.contains(what)), "{what}");
        }
        let (none, _) = read("{lease: 10m}");
        assert!(!none.any() && none.lacks(&Offer::default(), |_| false).is_none());
    }

    #[test]
    fn mistakes_have_places() {
        let (_, mistakes) = read("{heavvy: true, lease: 1s, memory_mb: much}");
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    }
}
