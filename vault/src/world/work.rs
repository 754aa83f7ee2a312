//! Files that work writes, beside those of whoever sits at the device.

use super::World;
use super::members::{save, write};
use crate::author::Draft;
use crate::page::Made;

fn draft(mark: &str) -> Draft {
    let (actor, message, run) = ("aios".into(), format!("Make\n\n{mark}"), Some("r1".to_owned()));
    Draft { actor, message, run, ..Draft::default() }
}

fn on_disk(world: &World, n: usize, path: &str) -> String {
    std::fs::read_to_string(world.root(n).join(path)).unwrap_or_default()
}

#[test]
fn a_file_is_made_where_none_is_and_known_by_its_mark() {
    let mut world = World::of_equals(2);
    save(&mut world, 0, "a.md", "one\n");
    let vault = &mut world.replicas[0];
    let Made::New(doc) = vault.make_page("invoices/x.md", "mine\n", draft("Aios-Effect: 7")).unwrap() else {
        panic!("none is there")
    };
    assert_eq!(vault.make_page("Invoices/X.md", "other\n", draft("8")).unwrap(), Made::Taken(doc));
    assert_eq!(vault.wrote("Aios-Effect: 7", 0).unwrap(), Some(doc));
    assert_eq!(vault.wrote("Aios-Effect: 8", 0).unwrap(), None);
    assert_eq!(vault.wrote("Aios-Effect: 7", u64::MAX).unwrap(), None, "later than all there is");
    for bad in ["../x.md", ".git/x.md", "", "a//b.md"] {
        assert!(vault.make_page(bad, "x", draft("9")).is_err(), "{bad}");
    }
    assert!(vault.owes_files().unwrap());
    world.sync();
    assert!(!world.replicas[0].owes_files().unwrap());
    for n in 0..2 {
        assert_eq!(on_disk(&world, n, "invoices/x.md"), "mine\n");
    }
}

/// What was saved and not taken in yet is neither overwritten nor undone (I2, I6).
#[test]
fn what_lies_in_the_folder_comes_first() {
    let mut world = World::of_equals(1);
    save(&mut world, 0, "a.md", "---\nstate: sent\n---\nDear\n");
    write(&world, 0, "a.md", "---\nstate: sent\n---\nDear Bram\n");
    write(&world, 0, "new.md", "by hand\n");
    let vault = &mut world.replicas[0];
    let page = vault.page("a.md").unwrap().expect("it is there");
    assert!(page.text.ends_with("Dear Bram\n"), "{}", page.text);
    vault.change_page(&page, &page.text.replace("sent", "paid"), draft("1")).unwrap();
    assert!(matches!(vault.make_page("new.md", "by work\n", draft("2")).unwrap(), Made::Taken(_)));
    world.sync();
    assert_eq!(on_disk(&world, 0, "a.md"), "---\nstate: paid\n---\nDear Bram\n");
    assert_eq!(on_disk(&world, 0, "new.md"), "by hand\n");
}

#[test]
fn files_are_found_by_their_path() {
    let mut world = World::of_equals(1);
    for folder in ["a", "b"] {
        std::fs::create_dir(world.root(0).join(folder)).unwrap();
    }
    for path in ["a/1.md", "a/2.md", "a/[x].md", "b/3.md"] {
        write(&world, 0, path, path);
    }
    world.commit(0);
    let vault = &mut world.replicas[0];
    let mut found = |pattern: &str, most: usize| {
        let pages = vault.pages(pattern, most).unwrap();
        pages.map(|pages| pages.into_iter().map(|page| page.text).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(found("a/*.md", 3).as_deref(), Some("a/1.md a/2.md a/[x].md"));
    assert_eq!(found("a/*.md", 2), None);
    assert_eq!(found("a/[x].md", 2).as_deref(), Some("a/[x].md"));
    assert_eq!(found("*/3.md", 2).as_deref(), Some("b/3.md"));
    assert_eq!(found("c/*", 2).as_deref(), Some(""));
}
