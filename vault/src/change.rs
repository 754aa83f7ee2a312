//! What changed, in words for people.

use serde::Serialize;

/// One changed path, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PathChange {
    /// Where.
    pub path: String,
    /// `added`, `modified`, `deleted`, `renamed from X`, `mode`.
    pub change: String,
}

impl PathChange {
    pub(crate) fn new(path: &str, change: impl Into<String>) -> Self {
        PathChange { path: path.to_owned(), change: change.into() }
    }
}

/// A message for changes that came without one.
pub(crate) fn describe(changed: &[PathChange]) -> String {
    let verb = |change: &str| match change {
        "added" => "Add",
        "deleted" => "Delete",
        "modified" => "Edit",
        "mode" => "Change mode of",
        _ => "Rename",
    };
    if let [one] = changed {
        return match one.change.split_once("renamed from ") {
            Some((_, from)) => format!("Rename {from} to {}", one.path),
            None => format!("{} {}", verb(&one.change), one.path),
        };
    }
    let mut parts = Vec::new();
    for word in ["Add", "Edit", "Rename", "Delete", "Change mode of"] {
        let count = changed.iter().filter(|change| verb(&change.change) == word).count();
        if count > 0 {
            parts.push(format!(
                "{} {count}",
                if parts.is_empty() { word.to_owned() } else { word.to_lowercase() }
            ));
        }
    }
    format!("{} files", parts.join(", "))
}
