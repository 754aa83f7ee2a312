//! Who wrote each line of a file: walked along the document's own history, so renames do not matter.

use std::collections::HashMap;

use aios_core::align::{align, split_lines};
use aios_core::fold::{Head, fold};
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, History, Touch};
use aios_core::id::{DocId, RecordId};
use serde::Serialize;

use super::time;
use crate::error::Error;
use crate::vault::Vault;

/// One line of a file and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number, from 1.
    pub line: usize,
    /// Its text, without line end.
    pub text: String,
    /// The record that wrote it as it is.
    pub record: RecordId,
    /// Who acted.
    pub actor: String,
    /// The name of the device.
    pub device: String,
    /// The run it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// When, by the device's clock (RFC 3339).
    pub time: String,
}

/// A content item.
type Key = (Place, u32);

/// What a content item's author had in front of them: nothing, or a merge of some items.
struct Base {
    text: String,
    heads: Vec<Head>,
}

impl Vault {
    /// Who wrote each line of the file at `path`.
    pub fn blame(&mut self, path: &str) -> Result<Vec<Line>, Error> {
        let Some(doc) = self.doc_at(path)? else {
            return Err(Error::Unknown { what: "file", name: path.to_owned() });
        };
        let touches = self.history().touches(&doc)?;
        let view = self.view.clone();
        let Some(now) = self.base(&doc, &touches, &view)? else {
            return Err(Error::Usage(format!("`{path}` is no text, so it has no lines")));
        };
        let mut known: HashMap<Key, Vec<Place>> = HashMap::new();
        // Depth first with a stack of its own: a history may be deeper than the thread's.
        let mut waiting: Vec<Head> = now.heads.clone();
        while let Some(head) = waiting.pop() {
            let key = (head.place, head.index);
            if known.contains_key(&key) {
                continue;
            }
            let seen = without(&head.seen, &head.place);
            let base = self.base(&doc, &touches, &seen)?;
            let missing: Vec<Head> = base
                .iter()
                .flat_map(|base| &base.heads)
                .filter(|head| !known.contains_key(&(head.place, head.index)))
                .cloned()
                .collect();
            if !missing.is_empty() && missing.iter().all(|other| (other.place, other.index) != key) {
                waiting.push(head);
                waiting.extend(missing);
                continue;
            }
            let text = String::from_utf8_lossy(&self.bytes_of_head(&doc, &head)?).into_owned();
            let origins = match &base {
                Some(base) => {
                    let old = self.merged_lines(&doc, base, &known)?;
                    inherit(&base.text, &old, &text, head.place)
                }
                None => vec![head.place; split_lines(&text).len()],
            };
            known.insert(key, origins);
        }
        let origins = self.merged_lines(&doc, &now, &known)?;
        self.lines(&now.text, &origins)
    }

    /// What a document reads as in a view, `None` if it is no text there.
    fn base(&mut self, doc: &DocId, touches: &[Touch], view: &View) -> Result<Option<Base>, Error> {
        let kept: Vec<Touch> = touches.iter().filter(|touch| touch.act != Act::Delete).cloned().collect();
        let Some(found) = fold(&kept, &[], view) else { return Ok(None) };
        let bytes = self.bytes_of_text(doc, touches, view, &found.text)?;
        if found.text.kind() == aios_core::item::Kind::Blob {
            return Ok(None);
        }
        let heads = match &found.text {
            aios_core::fold::Text::Whole { heads, .. } => heads.last().cloned().into_iter().collect(),
            text => text.heads().to_vec(),
        };
        Ok(std::str::from_utf8(&bytes).ok().map(|text| Base { text: text.to_owned(), heads }))
    }

    /// The origins of the lines of a merge: a line that a head has keeps its origin there, the least ranked first;
    /// one that the merge put together is by the head that ranks highest.
    fn merged_lines(
        &mut self,
        doc: &DocId,
        base: &Base,
        known: &HashMap<Key, Vec<Place>>,
    ) -> Result<Vec<Place>, Error> {
        let lines = split_lines(&base.text);
        let Some(last) = base.heads.last() else { return Ok(Vec::new()) };
        let mut out: Vec<Option<Place>> = vec![None; lines.len()];
        for head in &base.heads {
            let text = String::from_utf8_lossy(&self.bytes_of_head(doc, head)?).into_owned();
            let Some(origins) = known.get(&(head.place, head.index)) else { continue };
            for (i, j) in align(&split_lines(&text), &lines) {
                if out[j].is_none() {
                    out[j] = origins.get(i).copied();
                }
            }
        }
        Ok(out.into_iter().map(|origin| origin.unwrap_or(last.place)).collect())
    }

    fn lines(&mut self, text: &str, origins: &[Place]) -> Result<Vec<Line>, Error> {
        let mut records: HashMap<Place, (RecordId, String, String, Option<String>)> = HashMap::new();
        let mut out = Vec::new();
        for (n, (line, place)) in split_lines(text).into_iter().zip(origins).enumerate() {
            if !records.contains_key(place) {
                let Some(number) = self.number(place)? else {
                    return Err(Error::Damaged(format!("record {place} has no row")));
                };
                let row = self.row(number)?;
                let record = self.log.record(&place.device, row.spot)?;
                let run = record.body()?.run;
                records.insert(*place, (row.id, record.header.actor, time(row.wall), run));
            }
            let Some((record, actor, time, run)) = records.get(place).cloned() else { continue };
            let text = line.trim_end_matches(['\n', '\r']).to_owned();
            out.push(Line {
                line: n + 1,
                text,
                record,
                actor,
                device: self.members().name(&place.device),
                run,
                time,
            });
        }
        Ok(out)
    }
}

/// The origins of the lines of `new`: those of `old` where they stand in it, else `by`.
fn inherit(old: &str, origins: &[Place], new: &str, by: Place) -> Vec<Place> {
    let (old, new) = (split_lines(old), split_lines(new));
    let mut out = vec![by; new.len()];
    for (i, j) in align(&old, &new) {
        if let Some(origin) = origins.get(i) {
            out[j] = *origin;
        }
    }
    out
}

/// A view without the record at `place` and those after it.
fn without(view: &View, place: &Place) -> View {
    let cut = |end: Place| match end.device == place.device && end.seq >= place.seq {
        true => Place { seq: place.seq - 1, ..end },
        false => end,
    };
    view.iter().map(cut).collect()
}
