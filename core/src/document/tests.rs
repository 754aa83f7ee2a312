use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::id::DeviceId;
use crate::markdown;

const DOC: DocId = DocId([7; 32]);

/// Ranks given by the tests, by change.
#[derive(Default)]
struct Ranks(RefCell<HashMap<ChangeHash, u64>>);

impl Ranks {
    fn set(&self, change: ChangeHash, rank: u64) {
        self.0.borrow_mut().insert(change, rank);
    }

    fn rank(&self) -> impl Fn(&ChangeHash) -> Option<Stamp> + '_ {
        |change| Some(Stamp(*self.0.borrow().get(change)?, 0, DeviceId([0; 32]), 1))
    }
}

fn md(contents: &[&str]) -> Document {
    Document::new(DOC, Epoch::default(), Kind::Md, contents).unwrap()
}

fn head(document: &Document, content: &str) -> ChangeHash {
    document.content_head(&ContentHash::of(content.as_bytes())).unwrap()
}

fn actor(n: u8) -> [u8; 16] {
    [n; 16]
}

/// What `base` reads as after `a` and `b` were written from it at once, `a` with rank `ranks.0`.
fn merge_ranked(base: &str, a: &str, b: &str, ranks: (u64, u64)) -> Reading {
    let mut mine = md(&[base]);
    let mut other = md(&[base]);
    let start = [head(&mine, base)];
    let order = Ranks::default();
    let left = mine.edit(&start, &order.rank(), a, &actor(1)).unwrap().unwrap();
    let right = other.edit(&start, &order.rank(), b, &actor(2)).unwrap().unwrap();
    order.set(left.hash, ranks.0);
    order.set(right.hash, ranks.1);
    other.apply(&[left.change]).unwrap();
    mine.apply(&[right.change]).unwrap();
    let heads = [left.hash, right.hash];
    let reading = mine.read(&heads, &order.rank()).unwrap();
    assert_eq!(reading, other.read(&heads, &order.rank()).unwrap());
    assert_eq!(mine.read(&[left.hash], &order.rank()).unwrap().text, a);
    assert_eq!(mine.read(&[right.hash], &order.rank()).unwrap().text, b);
    assert_eq!(mine.read(&start, &order.rank()).unwrap().text, base);
    reading
}

fn merge(base: &str, a: &str, b: &str) -> Reading {
    merge_ranked(base, a, b, (1, 2))
}

fn clean(reading: Reading) -> String {
    assert!(reading.conflicts.is_empty() && !reading.front_conflict, "{reading:?}");
    reading.text
}

const NOTE: &str =
    "---\ntitle: one # c\ntags: [a, b]\nlinks:\n  - x\n  - y\n---\nBody \u{1f980} text\n\nlast\n";

#[test]
fn derived_changes_are_pinned() {
    let text = Document::new(DOC, Epoch::default(), Kind::Text, &["hello\nworld\n"]).unwrap();
    let note = md(&[NOTE, "---\ntitle: two\n---\nlast\nother\n"]);
    let empty = md(&[""]);
    let (x, y) = {
        let mut contents = note.contents();
        (contents.next().unwrap(), contents.next().unwrap())
    };
    let skeleton = note.origin.skeleton().unwrap().get_heads()[0];
    let join = change(&note.engine, &note.join_head(&y, &x).unwrap()).unwrap();
    let found = [
        skeleton.to_string(),
        head(&text, "hello\nworld\n").to_string(),
        head(&note, NOTE).to_string(),
        head(&note, "---\ntitle: two\n---\nlast\nother\n").to_string(),
        join.hash().to_string(),
        head(&empty, "").to_string(),
        data_encoding::HEXLOWER.encode(join.raw_bytes()),
    ];
    assert_eq!(found, GOLDEN);
    let rank = |_: &ChangeHash| None;
    assert_eq!(text.read(&[head(&text, "hello\nworld\n")], &rank).unwrap().text, "hello\nworld\n");
    assert_eq!(note.read(&[head(&note, NOTE)], &rank).unwrap().text, NOTE);
}

/// Skeleton, plain text, two contents of one document and their join, an empty content, the join's bytes.
const GOLDEN: [&str; 7] = [
    "d975bb6783bd97b3a53624b25cd227706efebb2ffee934f3353591e193a58a2c",
    "c63fd6ccdb828cb9f36811a9e5780338fbda56a19b629d4eed293a9c8538be19",
    "4e06a81b74f7b7b5b71d6a8e9ca0a8ca83b257765527be78e2eef99a3ffd4d22",
    "2ebadfa28ecf8090606965477df6a64e448dec3ffd079641df5a03d584df84c9",
    "3d104f627971056030c1f119a18ea0ba54971458443e98c555dd2b45f5703512",
    "a43eed96129b2f4d847da8196fbe3508cad6bf98e8ecf86db71f2848b227d645",
    "856f4a833d104f6201a501022ebadfa28ecf8090606965477df6a64e448dec3ffd079641df5a03d584df84c9\
     4e06a81b74f7b7b5b71d6a8e9ca0a8ca83b257765527be78e2eef99a3ffd4d2210eeee645048b03519d67318\
     dc26709942012300000210bc40f80ebaa60dc92000573fe3ec04df10d2f7cfc167d5ac69f92c261e696f0fec\
     0a01020202110213043401420256027002710273040501050105027f0904010505030500050105027f090401",
];

#[test]
fn adjacent_keys_both_stand() {
    let base = "---\na: 1\nb: 2\n---\nx\n";
    let text = clean(merge(base, "---\na: 10\nb: 2\n---\nx\n", "---\na: 1\nb: 20\n---\nx\n"));
    assert_eq!(text, "---\na: 10\nb: 20\n---\nx\n");
}

#[test]
fn of_one_key_the_greater_rank_stands_whatever_the_actor() {
    let (base, a, b) = ("---\na: 1\n---\n", "---\na: 2\n---\n", "---\na: 3\n---\n");
    for (ranks, winner, loser) in [((1, 2), "a: 3\n", "a: 2\n"), ((2, 1), "a: 2\n", "a: 3\n")] {
        let reading = merge_ranked(base, a, b, ranks);
        assert_eq!(reading.text, format!("---\n{winner}---\n"));
        let [conflict] = reading.conflicts.as_slice() else { panic!("{reading:?}") };
        assert_eq!((&conflict.register, conflict.winner.as_str()), (&Register::Key("a".into()), winner));
        assert_eq!(conflict.losers[0].0, loser);
    }
    assert_eq!(clean(merge(base, a, "---\na: 2\n---\nx\n")), "---\na: 2\n---\nx\n");
}

#[test]
fn a_later_edit_settles_a_key() {
    let base = "---\na: 1\n---\n";
    let mut document = md(&[base]);
    let order = Ranks::default();
    let start = [head(&document, base)];
    let left = document.edit(&start, &order.rank(), "---\na: 2\n---\n", &actor(1)).unwrap().unwrap();
    let right = document.edit(&start, &order.rank(), "---\na: 3\n---\n", &actor(2)).unwrap().unwrap();
    order.set(left.hash, 5);
    let both = [left.hash, right.hash];
    assert_eq!(document.read(&both, &order.rank()).unwrap().text, "---\na: 2\n---\n");
    let settled = document.edit(&both, &order.rank(), "---\na: 3\n---\n", &actor(2)).unwrap().unwrap();
    assert_eq!(clean(document.read(&[settled.hash], &order.rank()).unwrap()), "---\na: 3\n---\n");
    assert_eq!(document.edit(&both, &order.rank(), "---\na: 2\n---\n", &actor(2)).unwrap(), None);
}

#[test]
fn a_chosen_value_has_the_rank_of_the_choice() {
    let text = |value: &str| format!("---\nowner: {value}\n---\n");
    let base = text("none");
    let mut mine = md(&[&base]);
    let start = [head(&mine, &base)];
    let order = Ranks::default();
    let mut edit = |heads: &[ChangeHash], value: &str, rank: u64, by: u8| {
        let hash = mine.edit(heads, &order.rank(), &text(value), &actor(by)).unwrap().unwrap().hash;
        order.set(hash, rank);
        (hash, mine.clone())
    };
    let (ann, _) = edit(&start, "ann", 3, 1);
    let (bob, _) = edit(&start, "bob", 1, 2);
    let (other, _) = edit(&start, "eve", 4, 3);
    // Of ann and bob ann stands; bob is chosen after all, later than eve.
    let (chosen, merged) = edit(&[ann, bob], "bob", 5, 1);
    assert_eq!(merged.read(&[chosen, other], &order.rank()).unwrap().text, text("bob"));
}

#[test]
fn list_items_merge() {
    let flow = |items: &str| format!("---\ntags: [{items}]\n---\n");
    let merged = |a: &str, b: &str| clean(merge(&flow("a, b, c"), &flow(a), &flow(b)));
    assert_eq!(merged("x, a, b, c", "a, b, c, y"), flow("x, a, b, c, y"));
    assert_eq!(merged("a, c", "a, b, c, d"), flow("a, c, d"));
    assert_eq!(merged("a, b, c, n", "n, a, b, c"), flow("n, a, b, c"));
    assert_eq!(merged("", "a, b, c, d"), flow("d"));
    let block = |items: &[&str]| {
        let lines: String = items.iter().map(|item| format!("  - {item}\n")).collect();
        format!("---\nlinks:\n{lines}---\nx\n")
    };
    let (base, a, b) = (block(&["1", "2"]), block(&["0", "1", "2"]), block(&["1", "3"]));
    assert_eq!(clean(merge(&base, &a, &b)), block(&["0", "1", "3"]));
}

#[test]
fn an_item_moved_by_one_whose_line_end_another_turns_stands_once() {
    let block = |items: &[&str]| {
        let lines: String = items.iter().map(|item| format!("  - {item}\n")).collect();
        format!("---\nlinks:\n{lines}---\nx\n")
    };
    let base = block(&["1", "2", "3"]);
    let (moved, turned) = (block(&["3", "1", "2"]), base.replace('\n', "\r\n"));
    for (a, b, ranks) in [(&moved, &turned, (1, 2)), (&turned, &moved, (1, 2))] {
        let text = merge_ranked(&base, a, b, ranks).text;
        let mut items: Vec<&str> = text.lines().filter(|line| line.starts_with("  - ")).collect();
        items.sort_unstable();
        assert_eq!(items, ["  - 1", "  - 2", "  - 3"], "{text:?}");
    }
    let text = merge_ranked(&base, &moved, &turned, (1, 2)).text;
    assert!(text.lines().count() == text.matches("\r\n").count(), "{text:?}");
    // Whoever removes it removes both.
    let mut document = md(&[&base]);
    let rank = |_: &ChangeHash| None;
    let start = [head(&document, &base)];
    let left = document.edit(&start, &rank, &moved, &actor(1)).unwrap().unwrap().hash;
    let right = document.edit(&start, &rank, &turned, &actor(2)).unwrap().unwrap().hash;
    let merged = document.read(&[left, right], &rank).unwrap().text;
    let without: String = merged.split_inclusive('\n').filter(|line| !line.contains("- 3")).collect();
    let edit = document.edit(&[left, right], &rank, &without, &actor(3)).unwrap().unwrap().hash;
    assert_eq!(document.read(&[edit], &rank).unwrap().text, without);
}

#[test]
fn the_same_item_may_be_written_twice() {
    let flow = |items: &str| format!("---\ntags: [{items}]\n---\n");
    let mut document = md(&[&flow("a, b")]);
    let mut at = head(&document, &flow("a, b"));
    let rank = |_: &ChangeHash| None;
    for items in ["a, b, a", "b, a, a", "a, b", "b, b, b, a", "b, a", "", "b"] {
        at = document.edit(&[at], &rank, &flow(items), &actor(1)).unwrap().unwrap().hash;
    }
    assert_eq!(document.read(&[at], &rank).unwrap().text, flow("b"));
}

#[test]
fn an_item_added_twice_at_once_is_one() {
    let flow = |items: &str| format!("---\ntags: [{items}]\n---\n");
    let order = Ranks::default();
    let mut document = md(&[&flow("a")]);
    let start = head(&document, &flow("a"));
    let left = document.edit(&[start], &order.rank(), &flow("a, n"), &actor(1)).unwrap().unwrap().hash;
    let right = document.edit(&[start], &order.rank(), &flow("n, a"), &actor(2)).unwrap().unwrap().hash;
    let third = document.edit(&[start], &order.rank(), &flow("a, n, n"), &actor(3)).unwrap().unwrap().hash;
    let read = |document: &Document, heads: &[ChangeHash]| document.read(heads, &order.rank()).unwrap().text;
    assert_eq!(read(&document, &[left, right]), flow("n, a"));
    // One author may add it again to what two added; then it stands twice.
    for items in ["n, a, n", "a", "a, x, n", "", "n, n", "x, n, a, n"] {
        let edit = document.edit(&[left, right], &order.rank(), &flow(items), &actor(1)).unwrap().unwrap();
        assert_eq!(read(&document, &[edit.hash]), flow(items));
        let again = document.edit(&[edit.hash], &order.rank(), &flow("n, q, n"), &actor(2)).unwrap().unwrap();
        assert_eq!(read(&document, &[again.hash]), flow("n, q, n"));
    }
    let all = read(&document, &[left, right, third]);
    assert!(all == flow("n, a") || all == flow("n, a, n"), "{all}");
    for items in ["a", "n", "a, n, n, n"] {
        let heads = [left, right, third];
        let edit = document.edit(&heads, &order.rank(), &flow(items), &actor(4)).unwrap().unwrap();
        assert_eq!(read(&document, &[edit.hash]), flow(items));
    }
}

#[test]
fn lists_become_scalars_and_back() {
    let versions =
        ["---\nk: [a, b]\n---\n", "---\nk: a\n---\n", "---\nk:\n  - a\n  - c\n---\n", "---\n---\n"];
    let mut document = md(&[versions[0]]);
    let mut at = head(&document, versions[0]);
    let rank = |_: &ChangeHash| None;
    for text in versions.iter().cycle().skip(1).take(9) {
        at = document.edit(&[at], &rank, text, &actor(1)).unwrap().unwrap().hash;
    }
}

#[test]
fn an_edit_outlives_the_removal_of_its_key() {
    let base = "---\na: 1\nb: [x]\nc: 3\n---\n";
    let scalar = merge(base, "---\nb: [x]\nc: 3\n---\n", "---\na: 2\nb: [x]\nc: 3\n---\n");
    assert_eq!(clean(scalar), "---\na: 2\nb: [x]\nc: 3\n---\n");
    let list = merge(base, "---\na: 1\nc: 3\n---\n", "---\na: 1\nb: [x, y]\nc: 3\n---\n");
    assert_eq!(clean(list), "---\na: 1\nb: [x, y]\nc: 3\n---\n");
}

#[test]
fn a_list_stands_whole_against_one_value_for_it() {
    let (base, one, more) = ("---\nk: [a, b]\n---\n", "---\nk: none\n---\n", "---\nk: [a, b, c]\n---\n");
    for (ranks, stands, lost) in [((1, 2), more, "k: none\n"), ((2, 1), one, "k: [a, b, c]\n")] {
        let reading = merge_ranked(base, one, more, ranks);
        assert_eq!(reading.text, stands);
        assert_eq!(reading.conflicts[0].losers[0].0, lost);
    }
}

#[test]
fn of_two_lists_in_the_place_of_a_value_no_item_is_lost() {
    let flow = |items: &str| format!("---\nk: [{items}]\n---\n");
    let order = Ranks::default();
    let mut document = md(&[&flow("a, b")]);
    let start = head(&document, &flow("a, b"));
    let one = document.edit(&[start], &order.rank(), "---\nk: none\n---\n", &actor(1)).unwrap().unwrap().hash;
    let left = document.edit(&[one], &order.rank(), &flow("x"), &actor(1)).unwrap().unwrap().hash;
    let right = document.edit(&[one], &order.rank(), &flow("a, y"), &actor(2)).unwrap().unwrap().hash;
    let text = document.read(&[left, right], &order.rank()).unwrap().text;
    assert!(["x", "a", "y"].iter().all(|item| text.contains(item)) && !text.contains('b'), "{text}");
}

#[test]
fn a_key_changed_keeps_the_fences_that_another_takes_away() {
    let (base, bare) = ("---\na: 1\nb: 2\n---\nbody\n", "body\n");
    let changed = "---\na: 1\nb: 3\n---\nbody, more\n";
    assert_eq!(clean(merge(base, bare, changed)), "---\nb: 3\n---\nbody, more\n");
    assert_eq!(clean(merge(base, bare, "---\na: 1\n---\nbody\n")), bare);
    assert_eq!(clean(merge("---\n---\nx\n", "x\n", "---\na: 1\n---\nx\n")), "---\na: 1\n---\nx\n");
    // What was taken away may come again.
    let mut document = md(&[base]);
    let (mut at, rank) = (head(&document, base), |_: &ChangeHash| None);
    for text in [bare, "body, more\n", "---\n---\nbody\n", bare, base, "", "---\nc: 1\n---\n"] {
        at = document.edit(&[at], &rank, text, &actor(1)).unwrap().unwrap().hash;
        assert_eq!(document.read(&[at], &rank).unwrap().text, text);
    }
}

#[test]
fn fences_of_a_key_that_outlived_them_stand_for_good() {
    let (base, rank) = ("---\na: 1\n---\nx\n", |_: &ChangeHash| None);
    let mut document = md(&[base]);
    let start = [head(&document, base)];
    let bare = document.edit(&start, &rank, "x\n", &actor(1)).unwrap().unwrap().hash;
    let changed = document.edit(&start, &rank, "---\na: 2\n---\nx\n", &actor(2)).unwrap().unwrap().hash;
    let empty = document.edit(&[bare, changed], &rank, "---\n---\nx\n", &actor(3)).unwrap().unwrap().hash;
    assert_eq!(document.read(&[empty], &rank).unwrap().text, "---\n---\nx\n");
}

#[test]
fn line_ends_turned_change_nothing_else() {
    let base = "---\ntitle: t\ntags: [a]\nlinks:\n  - x\n---\nVetch climbs\nWillow bends\n";
    let turned = base.replace('\n', "\r\n");
    let other = "---\ntitle: u\ntags: [a, b]\nlinks:\n  - y\n  - x\n---\nVetch climbs high\nNew\nWillow bends low\nEnd";
    for ranks in [(1, 2), (2, 1)] {
        let text = clean(merge_ranked(base, &turned, other, ranks));
        assert_eq!(text, other.replace('\n', "\r\n"));
        let text = clean(merge_ranked(&turned, base, &other.replace('\n', "\r\n"), ranks));
        assert_eq!(text, other);
    }
}

#[test]
fn a_line_that_ends_otherwise_turns_no_other() {
    let base = "one\r\ntwo\r\nthree\r\n";
    let text = clean(merge(base, "one\r\ntwo\r\nthree\r\nfour\n", "one and\r\ntwo\r\nthree too\r\n"));
    assert_eq!(text, "one and\r\ntwo\r\nthree too\r\nfour\n");
    let text = clean(merge(base, "one\ntwo\r\nthree\r\n", "one\r\ntwo\r\nthree\r\nfour\r\n"));
    assert_eq!(text, "one\ntwo\r\nthree\r\nfour\r\n");
}

#[test]
fn an_edit_beside_a_list_that_a_merge_emptied_leaves_it_a_list() {
    let text = |list: &str, body: &str| format!("---\ntitle: t\n{list}---\n{body}");
    let base = text("links:\n  - a\n  - b\n", "body\n");
    let (mut mine, mut other) = (md(&[&base]), md(&[&base]));
    let start = [head(&mine, &base)];
    let order = Ranks::default();
    let drop =
        mine.edit(&start, &order.rank(), &text("links:\n  - a\n", "body\n"), &actor(1)).unwrap().unwrap();
    let clear =
        other.edit(&start, &order.rank(), &text("links:\n  - b\n", "body\n"), &actor(2)).unwrap().unwrap();
    mine.apply(&[clear.change]).unwrap();
    other.apply(&[drop.change]).unwrap();
    let heads = [drop.hash, clear.hash];
    assert_eq!(clean(mine.read(&heads, &order.rank()).unwrap()), text("links:\n", "body\n"));
    let add =
        other.edit(&heads, &order.rank(), &text("links:\n  - c\n", "body\n"), &actor(2)).unwrap().unwrap();
    let body = mine.edit(&heads, &order.rank(), &text("links:\n", "more\n"), &actor(1)).unwrap().unwrap();
    order.set(add.hash, 1);
    order.set(body.hash, 2);
    mine.apply(&[add.change]).unwrap();
    let merged = mine.read(&[add.hash, body.hash], &order.rank()).unwrap();
    assert_eq!(clean(merged), text("links:\n  - c\n", "more\n"));
}

#[test]
fn lines_typed_at_an_entry_that_outlived_its_fences_all_stand() {
    let base = "---\ntitle: t\n---\n";
    let (mut mine, mut other) = (md(&[base]), md(&[base]));
    let start = [head(&mine, base)];
    let order = Ranks::default();
    let clear = mine.edit(&start, &order.rank(), "title: t\n", &actor(1)).unwrap().unwrap();
    let add = other.edit(&start, &order.rank(), "---\ntitle: t\nprio: 1\n---\n", &actor(2)).unwrap().unwrap();
    mine.apply(&[add.change]).unwrap();
    other.apply(&[clear.change]).unwrap();
    let heads = [clear.hash, add.hash];
    let text = "title: t\nprio: 1\n";
    assert_eq!(clean(mine.read(&heads, &order.rank()).unwrap()), text);
    let above = mine.edit(&heads, &order.rank(), &format!("above\n{text}"), &actor(1)).unwrap().unwrap();
    let below = other.edit(&heads, &order.rank(), &format!("{text}below\n"), &actor(2)).unwrap().unwrap();
    mine.apply(&[below.change]).unwrap();
    let merged = clean(mine.read(&[above.hash, below.hash], &order.rank()).unwrap());
    assert!(["above\n", "below\n", "prio: 1\n"].iter().all(|line| merged.contains(line)), "{merged:?}");
}

#[test]
fn keys_are_added_and_ordered() {
    let base = "---\na: 1\nz: 2\n---\n";
    let text = clean(merge(base, "---\na: 1\nm: 0\nz: 2\n---\n", "---\nz: 2\na: 1\n---\n"));
    assert_eq!(text.len(), "---\na: 1\nm: 0\nz: 2\n---\n".len());
    let front = clean(merge("x\n", "---\na: 1\n---\nx\n", "---\nb: 1\n---\nx\ny\n"));
    assert!(
        front.contains("a: 1\n") && front.contains("b: 1\n") && front.ends_with("---\nx\ny\n"),
        "{front}"
    );
}

#[test]
fn a_deleted_fence_and_an_edited_body() {
    let base = "---\na: 1\n---\nbody\n";
    let reading = merge(base, "---\na: 1\nbody\n", "---\na: 1\n---\nbody and more\n");
    assert_eq!(clean(reading), "---\na: 1\nbody and more\n");
    // The fence comes back to its own register.
    let mut document = md(&[base]);
    let rank = |_: &ChangeHash| None;
    let at = head(&document, base);
    let at = document.edit(&[at], &rank, "---\na: 1\nbody\n", &actor(1)).unwrap().unwrap().hash;
    let at = document.edit(&[at], &rank, base, &actor(1)).unwrap().unwrap().hash;
    let view = document.view(&document.version(&[at]).unwrap(), &rank).unwrap();
    assert_eq!(view.parts, markdown::split(base));
}

#[test]
fn text_typed_before_the_frontmatter_keeps_the_body_apart() {
    let base = "---\na: 1\n---\nbody\n";
    let reading = merge(base, "intro\n---\na: 1\n---\nbody\n", "---\na: 1\n---\nbody!\n");
    assert_eq!(clean(reading), "intro\n---\na: 1\n---\nbody!\n");
}

#[test]
fn a_frontmatter_that_only_the_merge_broke_is_that_of_the_greatest_rank() {
    use automerge::transaction::Transactable as _;
    let base = "---\ntags: [a]\n---\nbody\n";
    let mut document = md(&[base]);
    let start = [head(&document, base)];
    let broken = foreign(&document, |tx, objects| {
        tx.put(&objects.front, "tags", "[tags:\n\0\0").unwrap();
        tx.delete(&objects.items, 0).unwrap();
        tx.insert(&objects.items, 0, "tags\0- a\n").unwrap();
    });
    let order = Ranks::default();
    let b = "---\ntags: [a, b]\n---\nthe body\n";
    let right = document.edit(&start, &order.rank(), b, &actor(1)).unwrap().unwrap().hash;
    let left = document.apply(&[broken]).unwrap()[0];
    order.set(left, 2);
    order.set(right, 1);
    let reading = document.read(&[left, right], &order.rank()).unwrap();
    assert!(reading.front_conflict);
    assert_eq!(reading.conflicts, [], "no values that nobody wrote");
    assert_eq!(reading.text, "---\ntags:\n- a\n---\nthe body\n");
}

#[test]
fn a_list_written_in_another_form_keeps_what_others_do_to_its_items() {
    let flow = |items: &str, k: u8| format!("---\nt: [{items}]\nk: {k}\n---\n");
    let lines = |sep: &str, items: &[&str], k: u8| {
        let items: String = items.iter().map(|item| format!("{sep}{item}\n")).collect();
        format!("---\nt:\n{items}k: {k}\n---\n")
    };
    for ranks in [(1, 2), (2, 1)] {
        let text = |base: &str, a: &str, b: &str| merge_ranked(base, a, b, ranks).text;
        // Which form stands is the later save's to say; the items are everybody's.
        let of = |k: u8| [flow("b, c", k), lines("  - ", &["b", "c"], k)];
        let merged = text(&flow("a, b", 1), &lines("  - ", &["a", "b"], 1), &flow("b, c", 2));
        assert_eq!(merged, of(2)[usize::from(ranks.0 > ranks.1)]);
        let base = lines("- ", &["a", "b", "c"], 1);
        for (items, merged) in
            [(["a", "c"].as_slice(), ["a", "c"].as_slice()), (&["a", "b", "c", "d"], &["a", "b", "c", "d"])]
        {
            let sep = if ranks.0 > ranks.1 { "  - " } else { "- " };
            let text = text(&base, &lines("  - ", &["a", "b", "c"], 2), &lines("- ", items, 1));
            assert_eq!(text, lines(sep, merged, 2));
        }
    }
    // Made on both in two forms.
    let merged = merge("", &flow("x", 1), &lines("  - ", &["y"], 1)).text;
    assert!(merged == lines("  - ", &["x", "y"], 1) || merged == lines("  - ", &["y", "x"], 1), "{merged}");
    let merged = merge_ranked("", &flow("x", 1), &lines("  - ", &["y: 1\n    z: 2"], 1), (2, 1)).text;
    assert!(merged.contains("  - x\n") && merged.contains("  - y: 1\n    z: 2\n"), "{merged}");
    // A save that changes something else leaves such a list as it is.
    let base = flow("a", 1);
    let mut document = md(&[&base]);
    let (start, order) = (head(&document, &base), Ranks::default());
    let left = document
        .edit(&[start], &order.rank(), &lines("  - ", &["a", "b: 1"], 1), &actor(1))
        .unwrap()
        .unwrap()
        .hash;
    let right = document.edit(&[start], &order.rank(), &flow("a, c", 2), &actor(2)).unwrap().unwrap().hash;
    order.set(right, 9);
    let merged = document.read(&[left, right], &order.rank()).unwrap().text;
    let saved = format!("{merged}body\n");
    let edit = document.edit(&[left, right], &order.rank(), &saved, &actor(3)).unwrap().unwrap().hash;
    assert_eq!(document.read(&[edit], &order.rank()).unwrap().text, saved);
}

#[test]
fn text_below_a_last_fence_without_a_line_end_is_below_it() {
    let base = "---\na: 1\n---\n";
    for ranks in [(1, 2), (2, 1)] {
        let reading = merge_ranked(base, "---\na: 1\n---", "---\na: 1\n---\nbody\n", ranks);
        assert_eq!(clean(reading), "---\na: 1\n---\nbody\n");
    }
}

#[test]
fn bodies_merge_by_word() {
    let text = clean(merge("one two three\n", "one TWO three\n", "one two 3\n"));
    assert_eq!(text, "one TWO 3\n");
    let same = clean(merge("status pending here\n", "status closed here\n", "status done here\n"));
    assert!(same == "status closeddone here\n" || same == "status doneclosed here\n", "{same}");
    let emoji = clean(merge("\u{1f980} a\n\u{e9} b\n", "\u{1f980} A\n\u{e9} b\n", "\u{1f980} a\n\u{e9} B\n"));
    assert_eq!(emoji, "\u{1f980} A\n\u{e9} B\n");
}

#[test]
fn a_box_is_ticked_beside_a_line_put_in() {
    let base = "# T\n- [ ] pay rent\n- [ ] call bank\n";
    let both = "# T\n- [ ] Kphone thing\n- [x] pay rent\n- [ ] call bank\n";
    let text = clean(merge(base, both, "# T\n- [x] pay rent\n- [ ] call bank\n"));
    assert_eq!(text, "# T\n- [ ] Kphone thing\n- [x] pay rent\n- [ ] call bank\n");
    let text = clean(merge(base, both, "# T\n- [ ] pay rent\n- [x] call bank\n"));
    assert_eq!(text, "# T\n- [ ] Kphone thing\n- [x] pay rent\n- [x] call bank\n");
}

#[test]
fn a_long_file_changed_in_every_line_merges_with_a_line_put_in() {
    let lines: Vec<String> =
        (0..2000).map(|n| format!("x line {n} of the long file with some words\n")).collect();
    let (base, every) = (lines.concat(), lines.concat().replace("x line", "y line"));
    let put = |text: &str| {
        let at = text.match_indices('\n').nth(1799).unwrap().0 + 1;
        format!("{}one more\n{}", &text[..at], &text[at..])
    };
    assert!(
        clean(merge(&base, &every, &put(&base))) == put(&every),
        "every line but one more is as it was changed"
    );
}

#[test]
fn one_actor_may_edit_old_versions_again_and_again() {
    let base: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let mut document = md(&[&base]);
    let mut other = document.clone();
    let rank = |_: &ChangeHash| None;
    let start = head(&document, &base);
    let mut edits = Vec::new();
    for text in ["small\n", "line 0\nother\n", &format!("{base}end\n"), "", &base.replace("line 7", "l 7")] {
        edits.push(document.edit(&[start], &rank, text, &actor(1)).unwrap().unwrap());
        let newest = document.edit(&[edits[0].hash], &rank, text, &actor(1)).unwrap();
        edits.extend(newest);
    }
    let batch: Vec<_> = edits.iter().rev().map(|edit| edit.change.clone()).collect();
    other.apply(&batch).unwrap();
    for edit in &edits {
        assert_eq!(document.read(&[edit.hash], &rank), other.read(&[edit.hash], &rank));
    }
    assert_eq!(document.heads(), other.heads());
    let loaded = Document::load(DOC, Epoch::default(), Kind::Md, &document.save()).unwrap();
    assert_eq!(loaded.read(&loaded.heads(), &rank), other.read(&other.heads(), &rank));
}

#[test]
fn creates_join_without_doubled_lines() {
    let (x, y, z) = ("a\nb\nc\n", "b\nc\nd\n", "c\nd\ne\n");
    let rank = |_: &ChangeHash| None;
    let all = md(&[x, y, z, x]);
    assert_eq!(all.contents().count(), 3);
    let heads: Vec<_> = [x, y, z].iter().map(|text| head(&all, text)).collect();
    let text = all.read(&heads, &rank).unwrap().text;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b", "c", "d", "e"]);
    assert_eq!(all.read(&heads[..1], &rank).unwrap().text, x);

    // The first of the two texts is whole.
    let one = "# Day\n\none\n";
    for other in ["# Day\n\ntwo\n", "---\na: 1\n---\n# Day\n\ntwo\nthree\n"] {
        let day = md(&[one, other]);
        let text = day.read(&[head(&day, one), head(&day, other)], &rank).unwrap().text;
        let body = text.trim_start_matches("---\na: 1\n---\n");
        assert!(body.starts_with("# Day\n\n") && body.matches("# Day").count() == 1, "{text}");
    }

    // A create that arrives after an edit.
    let mut late = md(&[z]);
    let edit = late.edit(&[head(&late, z)], &rank, "c\nd\nE\n", &actor(1)).unwrap().unwrap();
    late.add_content(x).unwrap();
    late.add_content(y).unwrap();
    let mut early = all.clone();
    early.apply(&[edit.change]).unwrap();
    let heads = [edit.hash, heads[0], heads[1]];
    let merged = late.read(&heads, &rank).unwrap();
    assert_eq!(merged, early.read(&heads, &rank).unwrap());
    assert!(merged.text.contains("E\n") && merged.text.contains("a\n"), "{merged:?}");
    let after = late.edit(&heads, &rank, "all new\n", &actor(1)).unwrap().unwrap();
    early.apply(&[after.change]).unwrap();
    assert_eq!(early.read(&[after.hash], &rank).unwrap().text, "all new\n");
}

#[test]
fn creates_of_keys_compete_by_rank_and_lists_unite() {
    let x = "---\nt: 1\ntags: [a, b]\n---\nsame\n";
    let y = "---\nt: 2\ntags: [b, c]\n---\nsame\n";
    let document = md(&[x, y]);
    let order = Ranks::default();
    order.set(head(&document, x), 1);
    let reading = document.read(&[head(&document, x), head(&document, y)], &order.rank()).unwrap();
    assert!(reading.text.starts_with("---\nt: 1\n") && reading.text.ends_with("---\nsame\n"), "{reading:?}");
    assert_eq!(reading.conflicts.len(), 1);
    let list: Vec<_> = ["a", "b", "c"].iter().filter(|item| reading.text.contains(*item)).collect();
    assert_eq!(list.len(), 3);
    assert_eq!(reading.text.matches('b').count(), 1);
}

#[test]
fn what_cannot_be_applied_leaves_the_document_alone() {
    let base = "a\n";
    let mut document = md(&[base]);
    let mut other = document.clone();
    let rank = |_: &ChangeHash| None;
    let first = other.edit(&[head(&other, base)], &rank, "a b\n", &actor(1)).unwrap().unwrap();
    let second = other.edit(&[first.hash], &rank, "a b c\n", &actor(1)).unwrap().unwrap();
    let before = document.heads();
    let missing = document.apply(std::slice::from_ref(&second.change)).unwrap_err();
    assert_eq!(missing, DocumentError::Missing { change: second.hash, missing: first.hash });
    let garbage = document.apply(&[first.change.clone(), b"garbage".to_vec()]).unwrap_err();
    assert!(matches!(garbage, DocumentError::Malformed { index: 1, .. }));
    assert_eq!(document.heads(), before);
    assert_eq!(document.read(&[first.hash], &rank).unwrap_err(), DocumentError::UnknownHead(first.hash));
    assert_eq!(document.edit(&[], &rank, "x", &actor(1)).unwrap_err(), DocumentError::NoHeads);
    let batch = [second.change, first.change];
    assert_eq!(document.apply(&batch).unwrap(), [second.hash, first.hash]);
    assert_eq!(document.apply(&batch).unwrap(), [second.hash, first.hash]);
    assert_eq!(document.read(&[second.hash], &rank).unwrap().text, "a b c\n");
}

/// A change made with Automerge alone on a document of ours.
fn foreign(
    document: &Document,
    operations: impl FnOnce(&mut automerge::transaction::Transaction<'_>, &Objects),
) -> Vec<u8> {
    let mut engine = document.engine.clone();
    engine.set_actor(automerge::ActorId::from(&[9; 16][..]));
    let mut tx = engine.transaction();
    operations(&mut tx, &document.objects);
    let hash = tx.commit().0.unwrap();
    engine.get_change_by_hash(&hash).unwrap().raw_bytes().to_vec()
}

#[test]
fn changes_that_break_the_model_are_read_all_the_same() {
    use automerge::transaction::Transactable as _;
    use automerge::{ObjType, ROOT};
    let base = "---\na: 1\nl: [x]\n---\nbody\n";
    let mut document = md(&[base]);
    let breaking = foreign(&document, |tx, objects| {
        tx.delete(ROOT, "body").unwrap();
        tx.put_object(ROOT, "order", ObjType::Map).unwrap();
        tx.put_object(&objects.front, "a", ObjType::Text).unwrap();
        tx.put(&objects.front, "l", 5).unwrap();
        tx.put(&objects.front, "n", "").unwrap();
        tx.insert(&objects.order, 0, 1.5).unwrap();
        tx.insert_object(&objects.items, 0, ObjType::Map).unwrap();
        tx.insert(&objects.items, 0, "no separator").unwrap();
        tx.split_block(&objects.body, 2).unwrap();
        tx.put(ROOT, "open", true).unwrap();
    });
    let at = document.apply(&[breaking]).unwrap();
    let rank = |_: &ChangeHash| None;
    let text = document.read(&at, &rank).unwrap().text;
    assert!(text.contains("bo") && text.contains("dy\n"), "{text:?}");
    let fixed = document.edit(&at, &rank, base, &actor(1)).unwrap().unwrap();
    assert_eq!(document.read(&[fixed.hash], &rank).unwrap().text, base);
}

#[test]
fn changes_that_automerge_asserts_against_are_refused() {
    let donor = md(&["abc\n"]);
    let at = head(&donor, "abc\n");
    let edit = foreign(&donor, |tx, objects| {
        use automerge::transaction::Transactable as _;
        tx.splice_text(&objects.body, 2, 0, "!").unwrap();
    });
    // The same operations, said to rest on the skeleton alone, refer to characters that are not there.
    let mut expanded = Change::try_from(edit.as_slice()).unwrap().decode();
    let mut document = md(&["other\n"]);
    let skeleton = change(&document.engine, &head(&document, "other\n")).unwrap().deps().to_vec();
    assert_eq!(change(&donor.engine, &at).unwrap().deps(), skeleton);
    expanded.deps = skeleton;
    let forged: Change = expanded.into();
    let before = document.save();
    let result = document.apply(&[forged.raw_bytes().to_vec()]);
    assert!(matches!(result, Err(DocumentError::Engine { .. } | DocumentError::Refused(_))), "{result:?}");
    assert_eq!(document.save(), before);
}

#[test]
fn a_cache_reads_back_and_a_damaged_one_is_refused() {
    let mut document = md(&[NOTE, "other\nlast\n"]);
    let rank = |_: &ChangeHash| None;
    let edit = document.edit(&[head(&document, NOTE)], &rank, "new\n", &actor(3)).unwrap().unwrap();
    let bytes = document.save();
    let load = |bytes: &[u8]| Document::load(DOC, Epoch::default(), Kind::Md, bytes);
    let mut loaded = load(&bytes).unwrap();
    assert_eq!(loaded.heads(), document.heads());
    assert_eq!(loaded.contents().collect::<Vec<_>>(), document.contents().collect::<Vec<_>>());
    assert_eq!(loaded.joins, document.joins);
    let a = loaded.edit(&[edit.hash], &rank, "newer\n", &actor(3)).unwrap();
    assert_eq!(a, document.edit(&[edit.hash], &rank, "newer\n", &actor(3)).unwrap());
    assert!(Document::load(DocId([8; 32]), Epoch::default(), Kind::Md, &bytes).is_err());
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let _ = load(&damaged);
        let _ = load(&bytes[..at]);
    }
}

#[test]
fn blobs_have_no_document() {
    let made = Document::new(DOC, Epoch::default(), Kind::Blob, &["x"]);
    assert_eq!(made.unwrap_err(), DocumentError::Kind(Kind::Blob));
    assert_eq!(Document::new(DOC, Epoch::default(), Kind::Md, &[]).unwrap_err(), DocumentError::Empty);
}

fn line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "---\n",
        "---\n",
        "a: 1\n",
        "a: 2\n",
        "b: [x, y]\n",
        "b: [y]\n",
        "b: []\n",
        "b: [x,z,x]\n",
        "c:\n",
        "  - p\n",
        "  - q\n",
        "# note\n",
        "d: &r 1\n",
        "e: *r\n",
        "\n",
        "one two three\n",
        "one 2 three\n",
        "\u{1f980}\n",
        "...\n",
        "e\u{301}",
        "tail",
        "---\r\n",
    ])
}

fn file() -> impl Strategy<Value = String> {
    let entries = (
        prop::sample::select(vec!["", "a: 1\n", "a: 2\n", "# c\na: 3\n"]),
        prop::sample::select(vec!["", "b: [x, y]\n", "b: [y, x]\n", "b: [x]\n", "b: [x, y, x]\n", "b: x\n"]),
        prop::sample::select(vec!["", "c:\n  - p\n", "c:\n  - p\n  - q\n", "c:\n  - q\n  - r\n", "c: 1\n"]),
        prop::sample::select(vec!["", "d: &r 1\n", "d: 1\n"]),
        prop::sample::select(vec!["", "e: *r\n", "e: 2\n"]),
        any::<bool>(),
    );
    let body = || prop::collection::vec(line(), 0..5).prop_map(|lines| lines.concat());
    let fenced = (entries, body()).prop_map(|((a, b, c, d, e, swap), body)| {
        let front = if swap { [c, a, b, d, e] } else { [a, b, c, d, e] };
        format!("---\n{}---\n{body}", front.concat())
    });
    prop_oneof![4 => fenced, 1 => body()]
}

#[derive(Debug, Clone)]
enum Step {
    /// A replica saves a text read at some of the edits it has.
    Save { replica: usize, bases: Vec<prop::sample::Index>, text: String },
    /// A replica receives what another has.
    Pull { from: usize, to: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>();
    prop_oneof![
        3 => (0..3usize, prop::collection::vec(index, 1..3), file())
            .prop_map(|(replica, bases, text)| Step::Save { replica, bases, text }),
        1 => (0..3usize, 0..3usize).prop_map(|(from, to)| Step::Pull { from, to }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn replicas_converge(
        contents in prop::collection::vec(file(), 1..3),
        steps in prop::collection::vec(step(), 0..14),
        order in any::<prop::sample::Index>(),
    ) {
        let texts: Vec<&str> = contents.iter().map(String::as_str).collect();
        let ranks = Ranks::default();
        let mut replicas = vec![md(&texts); 3];
        // Every edit by its number: change, hash; and which each replica has.
        let mut edits: Vec<Edit> = Vec::new();
        let mut has: Vec<Vec<usize>> = vec![Vec::new(); 3];
        let starts: Vec<ChangeHash> = texts.iter().map(|text| head(&replicas[0], text)).collect();
        for step in steps {
            match step {
                Step::Save { replica, bases, text } => {
                    let known: Vec<ChangeHash> =
                        starts.iter().copied().chain(has[replica].iter().map(|&n| edits[n].hash)).collect();
                    let heads: Vec<ChangeHash> = bases.iter().map(|base| *base.get(&known)).collect();
                    let made = replicas[replica].edit(&heads, &ranks.rank(), &text, &actor(replica as u8 + 1));
                    let made = made.unwrap_or_else(|error| panic!("{error}"));
                    if let Some(edit) = made {
                        ranks.set(edit.hash, edits.len() as u64 * 7 % 5);
                        let read = replicas[replica].read(&[edit.hash], &ranks.rank()).unwrap();
                        prop_assert_eq!(read.text, text);
                        has[replica].push(edits.len());
                        edits.push(edit);
                    }
                }
                Step::Pull { from, to } => {
                    let lacking: Vec<usize> =
                        has[from].iter().copied().filter(|n| !has[to].contains(n)).collect();
                    let batch: Vec<Vec<u8>> = lacking.iter().rev().map(|&n| edits[n].change.clone()).collect();
                    replicas[to].apply(&batch).unwrap();
                    has[to].extend(lacking);
                }
            }
        }
        let mut batch: Vec<Vec<u8>> = edits.iter().map(|edit| edit.change.clone()).collect();
        if !batch.is_empty() {
            let turn = order.index(batch.len());
            batch.rotate_left(turn);
        }
        let heads: Vec<ChangeHash> = starts.into_iter().chain(edits.iter().map(|edit| edit.hash)).collect();
        let mut readings = Vec::new();
        for replica in &mut replicas {
            replica.apply(&batch).unwrap();
            readings.push(replica.read(&heads, &ranks.rank()).unwrap());
            batch.reverse();
        }
        let mut fresh = md(&texts.iter().rev().copied().collect::<Vec<_>>());
        fresh.apply(&batch).unwrap();
        readings.push(fresh.read(&heads, &ranks.rank()).unwrap());
        for reading in &readings[1..] {
            prop_assert_eq!(reading, &readings[0]);
        }
    }

    #[test]
    fn damaged_changes_do_no_harm(
        text in file(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut document = md(&["a\n"]);
        let mut other = document.clone();
        let rank = |_: &ChangeHash| None;
        let start = head(&other, "a\n");
        let Some(edit) = other.edit(&[start], &rank, &text, &actor(1)).unwrap() else { return Ok(()) };
        let mut bytes = Change::try_from(edit.change.as_slice()).unwrap().raw_bytes().to_vec();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Ok(hashes) = document.apply(&[bytes]) {
            let _ = document.read(&hashes, &rank);
            let _ = document.edit(&hashes, &rank, &text, &actor(2));
        }
        prop_assert_eq!(document.read(&[start], &rank).unwrap().text, "a\n");
    }
}

#[test]
fn text_written_over_the_frontmatter_gives_way_to_no_key() {
    let base = "---\ntitle: one\nstatus: two\ntags: [ga]\n---\n";
    let mine = "k11x lorem11x ipsum11x\nk10x lorem10x ipsum10x\n";
    let other = base.replace("[ga]", "[ga, gc]");
    for ranks in [(1, 2), (2, 1)] {
        let reading = merge_ranked(base, mine, &other, ranks);
        assert!(reading.text.contains(mine), "{reading:?}");
    }
}

#[test]
fn a_line_parted_again_from_one_it_was_glued_to_is_not_torn() {
    let line = |n: u32| format!("k{n} lorem{n} ipsum{n}\n");
    let rank = |_: &ChangeHash| None;
    let mut document = Document::new(DOC, Epoch::default(), Kind::Text, &[&line(1)]).unwrap();
    let start = document.heads();
    let mut edit = |heads: &[ChangeHash], text: &str, by: u8| {
        document.edit(heads, &rank, text, &actor(by)).unwrap().unwrap().hash
    };
    let emptied = edit(&start, "", 1);
    let replaced = edit(&start, &line(2), 2);
    let both = line(1) + &line(3);
    let added = edit(&start, &both, 3);
    let fresh = edit(&[emptied], &line(4), 1);
    // The line end went with the line; whoever added a line saves what they had once more.
    let insisted = edit(&[emptied, replaced, added], &both, 3);
    let text = document.read(&[insisted, fresh], &rank).unwrap().text;
    for n in [1, 3, 4] {
        assert!(text.contains(&line(n)), "{text:?}");
    }
}

#[test]
fn a_line_that_another_was_glued_to_is_not_torn() {
    let line = |n: u32| format!("k{n} lorem{n} ipsum{n}\n");
    let rank = |_: &ChangeHash| None;
    let base = line(5) + &line(6);
    let mut document = Document::new(DOC, Epoch::default(), Kind::Text, &[&base]).unwrap();
    let start = document.heads();
    let mut edit = |heads: &[ChangeHash], text: &str, by: u8| {
        document.edit(heads, &rank, text, &actor(by)).unwrap().unwrap().hash
    };
    // The line end went with the line that another rewrote.
    let removed = edit(&start, &line(6), 1);
    let replaced = edit(&start, &(line(11) + &line(6)), 2);
    let added = edit(&start, &(line(5) + &line(12) + &line(6)), 3);
    let again = edit(&[removed, replaced], &line(6), 1);
    let text = document.read(&[again, added], &rank).unwrap().text;
    for n in [6, 12] {
        assert!(text.contains(&line(n)), "{text:?}");
    }
}

proptest! {
    /// One puts a line in, another rewrites a line or its first word: both stand whole, wherever that is and whoever comes first.
    #[test]
    fn a_line_put_in_beside_one_that_is_rewritten_is_not_torn(
        lines in 1..5usize, new in 0..5usize, changed in 0..5usize, whole: bool, actors: bool,
    ) {
        let (new, changed) = (new % (lines + 1), changed % lines);
        let line = |n: usize| format!("k{n} lorem{n} ipsum{n}\n");
        let base: Vec<String> = (0..lines).map(line).collect();
        let rewritten = match whole {
            true => line(99),
            false => base[changed].replacen(&format!("k{changed}"), "k99", 1),
        };
        let mut inserted = base.clone();
        inserted.insert(new, line(77));
        let mut edited = base.clone();
        edited[changed].clone_from(&rewritten);
        let mut want = edited.clone();
        want.insert(new, line(77));
        let rank = |_: &ChangeHash| None;
        let mut document = md(&[&base.concat()]);
        let start = [head(&document, &base.concat())];
        let by = if actors { [1, 2] } else { [2, 1] };
        let one = document.edit(&start, &rank, &inserted.concat(), &actor(by[0])).unwrap().unwrap().hash;
        let other = document.edit(&start, &rank, &edited.concat(), &actor(by[1])).unwrap().unwrap().hash;
        prop_assert_eq!(document.read(&[one, other], &rank).unwrap().text, want.concat());
    }
}

#[test]
fn a_file_may_begin_with_anything_where_its_frontmatter_was() {
    let rank = |_: &ChangeHash| None;
    let texts =
        ["---\ntags: -# c\nvorde: []\n---\n", "---\na: 1\n...\nb: 2\n- ]--\n", "\0\0# c\nvorde: []\n", ""];
    let mut document = md(&[texts[0]]);
    let mut at = head(&document, texts[0]);
    for text in texts.iter().cycle().skip(1).take(11) {
        at = document.edit(&[at], &rank, text, &actor(1)).unwrap().unwrap().hash;
        assert_eq!(&document.read(&[at], &rank).unwrap().text, text);
    }
}

#[test]
fn entries_left_without_fences_get_none_that_were_taken_away_before() {
    let rank = |_: &ChangeHash| None;
    let full = "---\na: 1\n---\nx\n";
    let mut document = md(&[full]);
    let mut at = head(&document, full);
    for text in ["x\n", full, "a: 1\nx\n", "a: 2\nx\n", full, "x\n", ""] {
        at = document.edit(&[at], &rank, text, &actor(1)).unwrap().unwrap().hash;
        assert_eq!(document.read(&[at], &rank).unwrap().text, text);
    }
}

#[test]
fn what_two_change_alike_stands_once_whatever_else_they_change() {
    let base = "# Plan\n- [ ] pay rent\n- [ ] call bank\nDraft of it\n";
    let a = "# Plan\n- [x] pay rent\n- [ ] call bank\nReport of it\n";
    let b = "# Plan B\n- [x] pay rent\n- [ ] call bank\nReport of it\n";
    assert_eq!(clean(merge(base, a, b)), b);
    let (a, b) = ("one\ntwo\n- milk\n", "one!\ntwo\n- milk\n");
    assert_eq!(clean(merge("one\ntwo\n", a, b)), b);
    // What differs stands as ever.
    assert_eq!(clean(merge("one\n", "one\n- milk\n", "one\n- milk!\n")).matches("milk").count(), 2);
}

#[test]
fn of_lines_that_two_add_the_first_that_are_alike_stand_once() {
    let base = "# Log\n- one\n";
    let (two, three) = ("# Log\n- one\n- two\n", "# Log\n- one\n- two\n- three\n");
    assert_eq!(clean(merge(base, two, three)), three);
    assert_eq!(clean(merge(base, three, two)), three);
    let (two, three) = ("# Log\n- one\n- two", "# Log\n- one\n- two\n- three");
    assert_eq!(clean(merge("# Log\n- one", two, three)), three);
    // Both went on, each otherwise.
    assert_eq!(clean(merge(base, three, "# Log\n- one\n- two\n- four\n")).matches("two").count(), 2);
    assert_eq!(clean(merge("a\nz\n", "a\n\nz\n", "a\n\nb\nz\n")).matches('\n').count(), 5);
}

/// Two who tick one box, one of them with a word of his own.
fn twins() -> (Document, Ranks, [ChangeHash; 2]) {
    let mut document = md(&["- [ ] rent\n"]);
    let ranks = Ranks::default();
    let start = [head(&document, "- [ ] rent\n")];
    let mut edit =
        |text: &str, n: u8| document.edit(&start, &ranks.rank(), text, &actor(n)).unwrap().unwrap().hash;
    let heads = [edit("- [x] rent\n", 1), edit("- [x] rent now\n", 2)];
    heads.into_iter().zip(1..).for_each(|(head, rank)| ranks.set(head, rank));
    (document, ranks, heads)
}

#[test]
fn an_edit_of_what_stands_once_leaves_nothing_of_it_behind() {
    for new in
        ["- [-] rent now\n", "- [ ] rent now\n", "- [x] rent now!\n", "---\na: b\n---\n- [x] rent now\n", ""]
    {
        let (mut document, ranks, heads) = twins();
        assert_eq!(document.read(&heads, &ranks.rank()).unwrap().text, "- [x] rent now\n");
        let after = document.edit(&heads, &ranks.rank(), new, &actor(3)).unwrap().unwrap();
        assert_eq!(document.read(&[after.hash], &ranks.rank()).unwrap().text, new);
        assert_eq!(document.read(&document.heads(), &ranks.rank()).unwrap().text, new);
    }
}

/// Writes `text` at `heads`, with the rank `rank`.
fn write(document: &mut Document, ranks: &Ranks, heads: &[ChangeHash], text: &str, rank: u8) -> ChangeHash {
    let hash = document.edit(heads, &ranks.rank(), text, &actor(rank)).unwrap().unwrap().hash;
    ranks.set(hash, rank.into());
    assert_eq!(document.read(&[hash], &ranks.rank()).unwrap().text, text);
    hash
}

#[test]
fn of_what_stands_once_no_word_is_lost_when_one_writes_on() {
    let (mut document, ranks, [x, y]) = twins();
    let again = write(&mut document, &ranks, &[y], "- [-] rent now\n", 3);
    let text = document.read(&[x, again], &ranks.rank()).unwrap().text;
    assert!(text == "- [x-] rent now\n" || text == "- [-x] rent now\n", "{text}");
    // A third who saw both, and one who saw the first alone.
    let (mut document, ranks, heads) = twins();
    let both = write(&mut document, &ranks, &heads, "- [x] rent now, both\n", 3);
    let first = write(&mut document, &ranks, &heads[..1], "- [x] the rent\n", 4);
    let text = document.read(&[both, first], &ranks.rank()).unwrap().text;
    assert_eq!(text, "- [x] the rent now, both\n");
}

#[test]
fn who_knows_of_one_twin_alone_may_write_in_it_or_remove_it() {
    for (elsewhere, saved, expected) in [
        (
            "TOP\na\nz\n",
            "top\na\n- [x] rent\nz!\n",
            ["TOP\na\n- [ ] rent\n- [x] rent\nz!\n", "TOP\na\n- [x] rent\n- [ ] rent\nz!\n"],
        ),
        ("TOP\na\nz\n", "top\na\nz!\n", ["TOP\na\n- [ ] rent\nz!\n"; 2]),
    ] {
        let mut document = md(&["top\na\nz\n"]);
        let ranks = Ranks::default();
        let start = [head(&document, "top\na\nz\n")];
        let one = write(&mut document, &ranks, &start, "top\na\n- [ ] rent\nz\n", 1);
        let other = write(&mut document, &ranks, &start, "top\na\n- [ ] rent\nz!\n", 2);
        let both = elsewhere.replace("z\n", "- [ ] rent\nz!\n");
        let both = write(&mut document, &ranks, &[one, other], &both, 3);
        for known in [one, other] {
            let saved = if known == one { saved.replace('!', "") } else { saved.to_owned() };
            let mut document = document.clone();
            let alone = write(&mut document, &ranks, &[known], &saved, 4);
            let text = document.read(&[both, alone], &ranks.rank()).unwrap().text;
            assert!(expected.contains(&text.as_str()), "{text}");
        }
    }
}

#[test]
fn what_is_written_in_two_saves_or_by_three_stands_once_too() {
    let mut document = md(&["a\nz\n"]);
    let ranks = Ranks::default();
    let start = [head(&document, "a\nz\n")];
    let one = write(&mut document, &ranks, &start, "a\n- two\nz\n", 1);
    let other = write(&mut document, &ranks, &start, "a\n- two\nz\n", 2);
    let other = write(&mut document, &ranks, &[other], "a\n- two\n- three\nz\n", 2);
    assert_eq!(document.read(&[one, other], &ranks.rank()).unwrap().text, "a\n- two\n- three\nz\n");
    // What is taken out around the hidden one goes, wherever it stands.
    for new in [
        "a\n- two\n",
        "a\n- two\n- th\n",
        "z\n",
        "a\n- two\n- threez\n",
        "a\n- two\nnew\nz\n",
        "a\n- t\n",
        "\n",
    ] {
        write(&mut document.clone(), &ranks, &[one, other], new, 3);
    }

    let mut document = md(&["It is blue today.\n"]);
    let start = [head(&document, "It is blue today.\n")];
    let texts = ["It is green today.\n", "It is red today.\n", "It is green today!\n"];
    let heads: Vec<_> =
        (1..).zip(texts).map(|(n, text)| write(&mut document, &ranks, &start, text, n)).collect();
    let text = document.read(&heads, &ranks.rank()).unwrap().text;
    assert!(text.matches("green").count() == 1 && text.contains("red"), "{text}");
}

#[test]
fn lines_that_come_together_are_no_twins() {
    let mut document = md(&["a\nmid\nz\n"]);
    let ranks = Ranks::default();
    let start = [head(&document, "a\nmid\nz\n")];
    let one = write(&mut document, &ranks, &start, "a\nfoo\nmid\nz\n", 1);
    let other = write(&mut document, &ranks, &start, "a\nmid\nfoo\nz\n", 2);
    write(&mut document, &ranks, &[one, other], "a\nfoo\nfoo\nz\n", 3);
}

#[test]
fn what_is_put_in_beside_twins_or_in_them_stands_there() {
    for new in [
        "a\n- foo\nnew\nz!\n",
        "a\nnew\n- foo\nz!\n",
        "a\n- foo\n- foo\nz!\n",
        "new\na\n- foo\nz!?\n",
        "a\n- fo\nz!\n",
        "a\n- fxoo\nz!\n",
        "a\nz!\n",
        "a\n- foonew\nz!\n",
        "a\n- foo\n",
        "a\n- foo\nnew!\n",
        "anew foo\nz!\n",
        "",
        "a\n- foo\nz\n",
    ] {
        let mut document = md(&["a\nz\n"]);
        let ranks = Ranks::default();
        let start = [head(&document, "a\nz\n")];
        let one = write(&mut document, &ranks, &start, "a\n- foo\nz\n", 1);
        let other = write(&mut document, &ranks, &start, "a\n- foo\nz!\n", 2);
        assert_eq!(document.read(&[one, other], &ranks.rank()).unwrap().text, "a\n- foo\nz!\n");
        let after = write(&mut document, &ranks, &[one, other], new, 3);
        let saved = Document::load(DOC, Epoch::default(), Kind::Md, &document.save()).unwrap();
        assert_eq!(saved.read(&[after], &ranks.rank()).unwrap().text, new);
    }
}
