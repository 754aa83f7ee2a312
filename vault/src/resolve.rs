//! What merges could not show in the files, listed for the operator, and decided.

use aios_core::event::Event;
use aios_core::history::History;
use aios_core::id::{GitId, RecordId};
use aios_core::item::{Base, Item};
use aios_core::markdown;
use aios_core::namespace::Namespace;
use aios_core::path;
use rusqlite::OptionalExtension;
use serde::Serialize;

use crate::audit::time;
use crate::author::Draft;
use crate::change::PathChange;
use crate::conflict::{Conflict, ConflictKind};
use crate::error::Error;
use crate::vault::Vault;
use crate::written::Written;

/// One value of a conflict, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedValue {
    /// The value.
    pub value: String,
    /// The name of the device it is from, where known.
    pub device: Option<String>,
    /// When it was made (RFC 3339), where known.
    pub time: Option<String>,
}

/// A conflict, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The file.
    pub path: String,
    /// The frontmatter key, for values.
    pub key: Option<String>,
    /// What kind.
    pub kind: ConflictKind,
    /// The values to choose from.
    pub values: Vec<ListedValue>,
    /// Which of them stands.
    pub kept: usize,
    /// The command that reverses the choice.
    pub reverse: String,
}

/// A conflict that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// Its id.
    pub id: String,
    /// The file.
    pub path: String,
    /// The record that decided it.
    pub record: RecordId,
}

impl Vault {
    /// Every open conflict, in order of path.
    pub fn conflicts(&mut self) -> Result<Vec<Listed>, Error> {
        let mut out = Vec::new();
        for conflict in self.conflict_rows()? {
            out.push(self.listed(&conflict)?);
        }
        out.sort_by(|a, b| (&a.path, &a.id).cmp(&(&b.path, &b.id)));
        Ok(out)
    }

    fn listed(&mut self, conflict: &Conflict) -> Result<Listed, Error> {
        let path =
            self.placement(&conflict.doc)?.map_or_else(|| conflict.doc.short(12), |placement| placement.path);
        let mut values = Vec::new();
        for value in &conflict.values {
            let text = match conflict.kind {
                ConflictKind::Front => self.front_of(&value.value)?.unwrap_or_else(|| value.value.clone()),
                ConflictKind::Stale => "merged as an edit of an older version".to_owned(),
                _ => value.value.clone(),
            };
            let n = value.place.map(|place| self.number(&place)).transpose()?.flatten();
            let wall = n.map(|n| self.row(n)).transpose()?.map(|row| time(row.wall));
            values.push(ListedValue {
                value: text,
                device: value.place.map(|place| self.members().name(&place.device)),
                time: wall,
            });
        }
        if conflict.kind == ConflictKind::Stale {
            values.push(ListedValue { value: "undone".into(), device: None, time: None });
        }
        Ok(Listed {
            id: conflict.id.clone(),
            path,
            key: conflict.key.clone(),
            kind: conflict.kind,
            values,
            kept: 0,
            reverse: format!("aios conflicts resolve {} --keep 1", conflict.id),
        })
    }

    /// The frontmatter of the file that a value names by blob.
    fn front_of(&mut self, value: &str) -> Result<Option<String>, Error> {
        let Some(git) = blob_of(value) else { return Ok(None) };
        let Some(bytes) = self.blob(&git)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let parts = markdown::split(&text);
        Ok(Some(text[..text.len() - parts.body.len()].to_owned()))
    }

    fn find_conflict(&self, id: &str) -> Result<Conflict, Error> {
        let found: Vec<Conflict> =
            self.conflict_rows()?.into_iter().filter(|conflict| conflict.id.starts_with(id)).collect();
        match &found[..] {
            [one] if !id.is_empty() => Ok(one.clone()),
            [] | [_] => Err(Error::Unknown { what: "conflict", name: id.to_owned() }),
            _ => {
                Err(Error::Usage(format!("`{id}` is the start of several conflicts' ids; write more of it")))
            }
        }
    }

    /// Puts the paths that files have into changes that name those they came with; gives what could not have its name:
    /// the name and where it is.
    pub fn named_otherwise(&self, changed: &mut [PathChange]) -> Result<Vec<(String, String)>, Error> {
        let mut out = Vec::new();
        for conflict in self.conflict_rows()?.iter().filter(|conflict| conflict.kind == ConflictKind::Name) {
            let [now, claim] = &conflict.values[..] else { continue };
            let folded = path::fold(&claim.value);
            let mut met = false;
            for change in changed.iter_mut() {
                let at = path::fold(&change.path);
                met |= at == folded || path::below(&at, &folded).is_some();
                if change.path == claim.value && change.change != "deleted" {
                    change.path.clone_from(&now.value);
                }
            }
            if met {
                out.push((claim.value.clone(), now.value.clone()));
            }
        }
        Ok(out)
    }

    /// Decides a conflict: value number `keep` stands from here on, 0 being the one that stands already.
    pub fn resolve(&mut self, id: &str, keep: usize) -> Result<Resolved, Error> {
        let conflict = self.find_conflict(id)?;
        let choices = match conflict.kind {
            ConflictKind::Stale => 2,
            _ => conflict.values.len(),
        };
        if keep >= choices {
            return Err(Error::Usage(format!(
                "conflict {} has values 0 to {}",
                conflict.id,
                choices.saturating_sub(1)
            )));
        }
        let path = self.placement(&conflict.doc)?.map(|placement| placement.path).unwrap_or_default();
        let mut record = None;
        if conflict.kind == ConflictKind::Stale && keep == 1 {
            let place = conflict.values.first().and_then(|value| value.place);
            let n = place.map(|place| self.number(&place)).transpose()?.flatten();
            let Some(n) = n else {
                return Err(Error::Unknown { what: "record of conflict", name: conflict.id });
            };
            record = self.undo_of(n, &conflict.doc)?.records.last().copied();
        } else {
            let items = self.decision(&conflict, keep)?;
            if !items.is_empty() {
                let mut draft = Draft::operator(format!("Resolve conflict {} of {path}", conflict.id));
                draft.items = items;
                record = Some(self.write(draft)?);
            }
        }
        if conflict.kind == ConflictKind::Name
            && let Some(wanted) = conflict.values.get(keep)
            && let Some(placed) = self.placement(&conflict.doc)?
            && placed.path != wanted.value
        {
            return Err(Error::NotPlaced { path: placed.path, name: wanted.value.clone() });
        }
        let open: Option<i64> = {
            let mut get = self.db.prepare_cached("SELECT 1 FROM conflict WHERE id = ?")?;
            get.query_row([&conflict.id], |row| row.get(0)).optional()?
        };
        let record = match (record, open) {
            (Some(record), None) => record,
            _ => {
                let mut draft = Draft::operator(format!("Settle conflict {} of {path}", conflict.id));
                draft.push(Item::Event(Event::ConflictSettled { id: conflict.id.clone() }));
                self.write(draft)?
            }
        };
        Ok(Resolved { id: conflict.id, path, record })
    }

    fn write(&mut self, draft: Draft) -> Result<RecordId, Error> {
        self.transaction(|vault| {
            let record = vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})?;
            Ok(record)
        })
    }

    /// The items that make a choice true; none where it is so already.
    fn decision(&mut self, conflict: &Conflict, keep: usize) -> Result<Vec<(Item, Vec<u8>)>, Error> {
        let doc = conflict.doc;
        let Some(placement) = self.placement(&doc)? else { return Ok(Vec::new()) };
        let Some(chosen) = conflict.values.get(keep).cloned() else { return Ok(Vec::new()) };
        let plain = |item| Ok(vec![(item, Vec::new())]);
        match conflict.kind {
            ConflictKind::Value if keep > 0 => {
                let text = self.text_of(&placement.content.git)?;
                let key = conflict.key.as_deref().unwrap_or_default();
                let Some(new) = with_value(&text, key, &chosen.value) else {
                    return Err(Error::Usage(format!(
                        "{} has no frontmatter to put `{key}` into; edit the file instead",
                        placement.path
                    )));
                };
                self.rewrite(conflict, &placement.path, new)
            }
            ConflictKind::Front if keep > 0 => {
                let Some(front) = self.front_of(&chosen.value)? else { return Ok(Vec::new()) };
                let now = self.text_of(&placement.content.git)?;
                let new = front + &markdown::split(&now).body;
                self.rewrite(conflict, &placement.path, new)
            }
            ConflictKind::Content => {
                let Some(place) = chosen.place else { return Ok(Vec::new()) };
                let touches = self.touches_of(&doc, &place)?;
                let Some(head) =
                    touches.iter().rev().find_map(|touch| Some((touch.index, touch.act.content()?)))
                else {
                    return Ok(Vec::new());
                };
                let (index, content) = head;
                let history = self.history();
                let all = history.touches(&doc)?;
                let mut view = touches
                    .iter()
                    .find(|touch| touch.index == index)
                    .map(|touch| (*touch.seen).clone())
                    .unwrap_or_default();
                view.add(place);
                let kind =
                    aios_core::fold::fold(&all, &[], &view).map_or(placement.kind, |found| found.text.kind());
                let payload = match kind.inline() {
                    true => match self.blob(&content.git)? {
                        Some(bytes) => bytes.to_vec(),
                        None => return Err(Error::Apart(content.git)),
                    },
                    false => Vec::new(),
                };
                Ok(vec![(Item::Replace { doc, kind, content, base: Base::default() }, payload)])
            }
            ConflictKind::Path => plain(Item::Move { doc, path: chosen.value }),
            ConflictKind::Name if keep == 0 => plain(Item::Move { doc, path: placement.path }),
            ConflictKind::Name => {
                // The two change names: whoever has the path now, in whatever case, takes a suffix.
                let folded = path::fold(&chosen.value);
                let history = self.history();
                let mut names = Namespace::new(&history, self.view.clone())?;
                if !names.below(&folded)?.is_empty() {
                    return Err(Error::FolderHolds { path: placement.path, name: chosen.value });
                }
                let mut items = Vec::new();
                for other in names.claiming(&folded)?.into_iter().filter(|other| *other < doc) {
                    let Some(claim) = names.doc(&other)?.map(|other| other.claim.clone()) else { continue };
                    let path = path::suffixed(&claim, &other, 6);
                    items.push((Item::Move { doc: other, path }, Vec::new()));
                }
                items.push((Item::Move { doc, path: chosen.value }, Vec::new()));
                Ok(items)
            }
            ConflictKind::Delete if keep > 0 => plain(Item::Delete { doc }),
            _ => Ok(Vec::new()),
        }
    }

    fn rewrite(
        &mut self,
        conflict: &Conflict,
        path: &str,
        new: String,
    ) -> Result<Vec<(Item, Vec<u8>)>, Error> {
        let edited = self.edit_at(&conflict.doc, path, Written::file(new.into_bytes()), None)?;
        Ok(edited.map(|edited| (edited.item, edited.payload)).into_iter().collect())
    }

    fn text_of(&mut self, git: &GitId) -> Result<String, Error> {
        match self.blob(git)? {
            Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            None => Err(Error::Apart(*git)),
        }
    }
}

/// The blob id at the end of a value such as `content ID`.
fn blob_of(value: &str) -> Option<GitId> {
    value.rsplit(' ').next()?.parse().ok()
}

/// A Markdown text with the source of one frontmatter entry, or of a fence, replaced.
fn with_value(text: &str, key: &str, raw: &str) -> Option<String> {
    let mut parts = markdown::split(text);
    if let Some(entry) = parts.entries.iter_mut().find(|entry| entry.name == key) {
        entry.value = markdown::Value::Scalar(raw.to_owned());
        return Some(parts.render());
    }
    match key {
        _ if !parts.has_front() => return None,
        "opening fence" => parts.open = raw.to_owned(),
        "closing fence" => parts.close = raw.to_owned(),
        _ => parts
            .entries
            .push(markdown::Entry { name: key.to_owned(), value: markdown::Value::Scalar(raw.to_owned()) }),
    }
    Some(parts.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_where_their_key_is() {
        let text = "---\na: 1\nb: 2\n---\nbody\n";
        assert_eq!(with_value(text, "a", "a: 9\n").unwrap(), "---\na: 9\nb: 2\n---\nbody\n");
        assert_eq!(with_value(text, "c", "c: 3\n").unwrap(), "---\na: 1\nb: 2\nc: 3\n---\nbody\n");
        assert_eq!(with_value("body\n", "a", "a: 9\n"), None);
    }
}
