//! Folding one document: what its items mean in a view. A pure function of the items in the view (I1).
//!
//! See `docs/formats.md`, Documents and Content.

use std::sync::Arc;

use crate::frontier::{Place, View};
use crate::history::{Act, Touch};
use crate::item::{Content, Epoch, Kind, Mode};
use crate::moves::{Step, led};
use crate::planted::{Bug, planted};

/// A living document in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// The path it claims; where it lies is the namespace's to say.
    pub claim: String,
    /// Claims that lost, with the record that made them, and paths that moves of its folder which lost would have given it.
    pub lost_claims: Vec<(String, Place)>,
    /// File mode.
    pub mode: Mode,
    /// Where its content comes from.
    pub text: Text,
    /// The record of a delete that met an edit, where one did (I5).
    pub survived: Option<Place>,
}

/// A content item by where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The record that ends its transaction.
    pub place: Place,
    /// Position in the transaction.
    pub index: u32,
    /// The file as its author saw it.
    pub content: Content,
    /// What its author had seen. Not the item itself: a stale save's own number would pull in records of its author that
    /// it had not seen.
    pub seen: Arc<View>,
}

/// Where the content of a document in a view comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// One item's file.
    One {
        /// How it is held.
        kind: Kind,
        /// The epoch an edit of it belongs to.
        epoch: Epoch,
        /// The item.
        head: Head,
        /// Items of the same Automerge document that made the same file at once, least rank first: an edit of it rests on
        /// their changes too, lest what one of them deleted come back.
        twins: Vec<Head>,
    },
    /// The Automerge document of an epoch at these items.
    Characters {
        /// `md` or `text`.
        kind: Kind,
        /// The epoch.
        epoch: Epoch,
        /// The heads, least rank first.
        heads: Vec<Head>,
    },
    /// Merged by line, least rank first.
    Lines {
        /// The heads.
        heads: Vec<Head>,
    },
    /// The last wins whole, least rank first.
    Whole {
        /// How the winner is held.
        kind: Kind,
        /// The heads.
        heads: Vec<Head>,
    },
}

impl Text {
    /// The heads, least rank first.
    pub fn heads(&self) -> &[Head] {
        match self {
            Text::One { head, .. } => std::slice::from_ref(head),
            Text::Characters { heads, .. } | Text::Lines { heads } | Text::Whole { heads, .. } => heads,
        }
    }

    /// The heads, and those that count as one with them: what an edit of it rests on.
    pub fn all_heads(&self) -> impl Iterator<Item = &Head> {
        let twins = match self {
            Text::One { twins, .. } => twins.as_slice(),
            _ => &[],
        };
        self.heads().iter().chain(twins)
    }

    /// How it is held now.
    pub fn kind(&self) -> Kind {
        match self {
            Text::One { kind, .. } | Text::Characters { kind, .. } | Text::Whole { kind, .. } => *kind,
            Text::Lines { .. } => Kind::Lines,
        }
    }

    /// The content, where it is one item's file.
    pub fn settled(&self) -> Option<Content> {
        match self {
            Text::One { head, .. } => Some(head.content),
            Text::Whole { heads, .. } => heads.last().map(|head| head.content),
            _ => None,
        }
    }
}

/// Folds one document in `view`, where these moves of folders stand; `None` if it does not live there.
pub fn fold(touches: &[Touch], moves: &[Step], view: &View) -> Option<Doc> {
    let all: Vec<&Touch> = touches.iter().filter(|touch| view.has(&touch.place)).collect();
    if all.iter().any(|touch| touch.act == Act::Forget) {
        return None;
    }
    let (deletes, kept): (Vec<&Touch>, Vec<&Touch>) =
        all.into_iter().partition(|touch| touch.act == Act::Delete);
    let alive = |touch: &&&Touch| !deletes.iter().any(|delete| delete.covers(touch));
    kept.iter().find(alive)?;
    let survived = deletes.iter().max_by_key(|delete| (delete.rank, delete.index)).map(|delete| delete.place);

    let claims = maximal(kept.iter().copied().filter(|touch| touch.act.claim().is_some()));
    let led = |touch: &Touch| led(touch, touch.act.claim().unwrap_or_default(), moves);
    let (claim, beside) = led(claims.last()?);
    let losers = claims.iter().rev().skip(1).map(|touch| (led(touch).0, touch.place));
    let lost_claims = losers.chain(beside).filter(|(path, _)| *path != claim).collect();

    let modes = maximal(kept.iter().copied().filter(|touch| matches!(touch.act, Act::Mode { .. })));
    let first = kept.iter().filter(|touch| matches!(touch.act, Act::Create { .. }));
    let made = first.min_by_key(|touch| (touch.rank, touch.index));
    let mode = match (modes.last().or(made)?).act {
        Act::Mode { mode } | Act::Create { mode, .. } => mode,
        _ => Mode::File,
    };

    let text = text(&kept)?;
    let mode = match (text.kind(), mode) {
        (Kind::Link, _) => Mode::Link,
        (_, Mode::Link) => Mode::File,
        (_, mode) => mode,
    };
    Some(Doc { claim, lost_claims, mode, text, survived })
}

/// The touches that no other of them covers, least rank first.
fn maximal<'a>(touches: impl Iterator<Item = &'a Touch> + Clone) -> Vec<&'a Touch> {
    let mut out: Vec<&Touch> =
        touches.clone().filter(|touch| !touches.clone().any(|other| other.covers(touch))).collect();
    match planted(Bug::ClockWithoutDevice) {
        true => out.sort_by_key(|touch| touch.rank.clock()),
        false => out.sort_by_key(|touch| (touch.rank, touch.place, touch.index)),
    }
    out
}

fn text(kept: &[&Touch]) -> Option<Text> {
    let content = content_of(kept);
    let mut heads = heads(&content);
    // Creates of the same bytes are one, covered if any of them is (formats.md, Content).
    let mut made = std::collections::HashSet::new();
    heads.retain(|touch| match &touch.act {
        Act::Create { content: bytes, .. } => made.insert(bytes.hash) && !covered_by_equal(&content, touch),
        _ => true,
    });
    // So are all heads, if they are the same file: two who made the same edit. With another head beside them they are not,
    // for what they rest on may differ.
    let file = |touch: &Touch| touch.act.content().map(|made| (made.hash, kind_of(&content, touch).0));
    let mut twins = Vec::new();
    if heads.windows(2).all(|pair| file(pair[0]) == file(pair[1])) {
        twins = heads.split_off(1.min(heads.len()));
    }
    let last = heads.last()?;
    let kind_at = |touch: &Touch| kind_of(&content, touch);
    if let [only] = heads[..] {
        let (kind, epoch) = kind_at(only);
        if !twins.is_empty() && one_document(&content).is_none() {
            twins.clear();
        }
        let twins = twins.into_iter().map(head).collect();
        return Some(Text::One { kind, epoch, head: head(only), twins });
    }
    let shown: Vec<Head> = heads.iter().map(|touch| head(touch)).collect();
    if let Some((kind, epoch)) = one_document(&content) {
        return Some(Text::Characters { kind, epoch, heads: shown });
    }
    match heads.iter().all(|touch| kind_at(touch).0.is_text()) {
        true => Some(Text::Lines { heads: shown }),
        false => Some(Text::Whole { kind: kind_at(last).0, heads: shown }),
    }
}

fn content_of<'a>(kept: &[&'a Touch]) -> Vec<&'a Touch> {
    kept.iter().copied().filter(|touch| touch.act.content().is_some()).collect()
}

/// Whether a create of the same bytes is covered by another content item.
fn covered_by_equal(content: &[&Touch], create: &Touch) -> bool {
    let hash = create.act.content().map(|content| content.hash);
    let equals = content.iter().filter(|touch| {
        matches!(touch.act, Act::Create { .. }) && touch.act.content().map(|content| content.hash) == hash
    });
    equals.clone().any(|equal| content.iter().any(|other| other.covers(equal)))
}

fn head(touch: &Touch) -> Head {
    let content = touch.act.content().unwrap_or_else(|| Content::of(b""));
    Head { place: touch.place, index: touch.index, content, seen: touch.seen.clone() }
}

/// As [`maximal`], in near-linear time for long histories: walks from the newest stamp down and keeps what no
/// kept head covers. Sound because cover follows causality, and an item's rank does not decide it.
fn heads<'a>(content: &[&'a Touch]) -> Vec<&'a Touch> {
    let mut newest: Vec<&Touch> = content.to_vec();
    newest.sort_by_key(|touch| std::cmp::Reverse((touch.rank, touch.place, touch.index)));
    let mut out: Vec<&Touch> = Vec::new();
    for touch in &newest {
        if !out.iter().any(|head| head.covers(touch)) {
            out.push(touch);
        }
    }
    // A stale save ranks as its base does, so something ranked lower may still cover something kept.
    let kept = out.clone();
    out.retain(|touch| !kept.iter().any(|other| other.covers(touch)));
    match planted(Bug::ClockWithoutDevice) {
        true => out.sort_by_key(|touch| touch.rank.clock()),
        false => out.sort_by_key(|touch| (touch.rank, touch.place, touch.index)),
    }
    out
}

/// Kind and epoch of the document as the author of `touch` had it.
fn kind_of(content: &[&Touch], touch: &Touch) -> (Kind, Epoch) {
    match &touch.act {
        Act::Create { kind, .. } => (*kind, Epoch(None)),
        Act::Replace { kind, .. } => (*kind, Epoch(Some(touch.place))),
        Act::Edit { epoch, .. } => (kind_of_epoch(content, *epoch).unwrap_or(Kind::Lines), *epoch),
        _ => (Kind::Blob, Epoch(None)),
    }
}

fn kind_of_epoch(content: &[&Touch], epoch: Epoch) -> Option<Kind> {
    let kinds = content.iter().filter_map(|touch| match (&touch.act, epoch.0) {
        (Act::Create { kind, .. }, None) => Some((touch.rank, touch.index, *kind)),
        (Act::Replace { kind, .. }, Some(place)) if touch.place == place => {
            Some((touch.rank, touch.index, *kind))
        }
        _ => None,
    });
    kinds.min().map(|(.., kind)| kind)
}

/// Whether the items form one Automerge document; its kind and epoch.
fn one_document(content: &[&Touch]) -> Option<(Kind, Epoch)> {
    let replaces = maximal(content.iter().copied().filter(|touch| matches!(touch.act, Act::Replace { .. })));
    let epoch = match replaces[..] {
        [] => Epoch(None),
        [only] => {
            let of_it =
                |touch: &&Touch| matches!(touch.act, Act::Edit { epoch, .. } if epoch.0 == Some(only.place));
            let fits = |touch: &&Touch| *touch == only || only.covers(touch) || of_it(touch);
            if !content.iter().all(fits) {
                return None;
            }
            Epoch(Some(only.place))
        }
        _ => return None,
    };
    let kinds = content.iter().filter_map(|touch| match (&touch.act, epoch.0) {
        (Act::Create { kind, .. }, None) => Some(*kind),
        (Act::Replace { kind, .. }, Some(place)) if touch.place == place => Some(*kind),
        _ => None,
    });
    let kinds: std::collections::BTreeSet<Kind> = kinds.collect();
    let mut kinds = kinds.into_iter();
    let (kind, None) = (kinds.next()?, kinds.next()) else { return None };
    let characters = |touch: &&Touch| match &touch.act {
        Act::Edit { epoch: of, by_character, .. } => *of != epoch || *by_character,
        _ => true,
    };
    (kind.by_character() && content.iter().all(characters)).then_some((kind, epoch))
}
