//! The pages of the guide, and the transcript in README, do what they say.

use std::path::Path;

use aios_tests::{binary, console};

fn check(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(&path).expect("the page is there");
    let steps = console::steps(&text);
    assert!(!steps.is_empty(), "{page} has no console blocks");
    let dir = tempfile::tempdir().expect("a folder to work in");
    let bin = binary::aios();
    let bin = bin.parent().expect("the binary lies in a folder");
    if let Err(difference) = console::run(&steps, dir.path(), bin) {
        panic!("{page}, {difference}");
    }
}

#[test]
fn first_vault() {
    check("docs/guide/first-vault.md");
}

#[test]
fn second_device() {
    check("docs/guide/second-device.md");
}

#[test]
fn conflicts() {
    check("docs/guide/conflicts.md");
}

#[test]
fn repair() {
    check("docs/guide/repair.md");
}

#[test]
fn readme() {
    check("README.md");
}
