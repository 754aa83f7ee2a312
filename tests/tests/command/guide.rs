//! The pages of the guide, and the transcript in README, do what they say.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aios_tests::batches::{Batches, chat};
use aios_tests::provider::Provider;
use aios_tests::{binary, console, reader};

fn check(page: &str) {
    check_with(page, |text| text);
}

/// The same of a page in which something is otherwise here.
fn check_with(page: &str, change: impl Fn(String) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = change(std::fs::read_to_string(&path).expect("the page is there"));
    let steps = console::steps(&text);
    assert!(!steps.is_empty(), "{page} has no console blocks");
    let dir = tempfile::tempdir().expect("a folder to work in");
    // The pages say `aios`, whatever the file is called.
    let bin = tempfile::tempdir().expect("a folder for the program");
    symlink(binary::aios(), bin.path().join("aios")).expect("a link to the program");
    if let Err(difference) = console::run(&steps, dir.path(), bin.path()) {
        panic!("{page}, {difference}");
    }
    let vaults = vaults(dir.path());
    assert!(!vaults.is_empty(), "{page} makes no vault");
    vaults.iter().for_each(|vault| reader::check(vault));
}

/// The vaults that a page has made in its folder.
fn vaults(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the page's folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    let is_vault = |path: &PathBuf| path.join(".aios").is_dir();
    match folders.iter().any(is_vault) {
        true => folders.into_iter().filter(is_vault).collect(),
        false => folders.iter().flat_map(|folder| vaults(folder)).collect(),
    }
}

#[test]
fn first_vault() {
    check("docs/guide/first-vault.md");
}

#[test]
fn recovery() {
    check("docs/guide/recovery.md");
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
fn remotes() {
    check("docs/guide/remotes.md");
}

#[test]
fn repair() {
    check("docs/guide/repair.md");
}

#[test]
fn sealed() {
    check("docs/guide/sealed.md");
}

#[test]
fn private() {
    check("docs/guide/private.md");
}

#[test]
fn reach() {
    check("docs/guide/reach.md");
}

#[test]
fn members() {
    check("docs/guide/members.md");
}

#[test]
fn health() {
    check("docs/guide/health.md");
}

#[test]
fn costs() {
    check("docs/guide/costs.md");
}

#[test]
fn dead_letters() {
    check("docs/guide/dead-letters.md");
}

#[test]
fn consent() {
    check("docs/guide/consent.md");
}

#[test]
fn workflows() {
    check("docs/guide/workflows.md");
}

#[test]
fn agents() {
    check("docs/guide/agents.md");
}

/// The sample of this page lies where aios was fetched to.
#[test]
fn components() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    check_with("docs/guide/components.md", |text| text.replace("~/src/aios", &source.display().to_string()));
}

/// The models of this page run on the reader's machine; here what they say was recorded.
#[test]
fn models() {
    let provider = Provider::recalls(include_str!("guide/models.json"));
    let batches = Batches::says(|_| chat("Happy holidays!"));
    batches.is_quick();
    check_with("docs/guide/models.md", |text| {
        let text = text.replace("127.0.0.1:11434", &provider.at.to_string());
        text.replace("127.0.0.1:11435", &batches.at.to_string())
    });
    assert_eq!((batches.made().len(), batches.told("POST /v1/chat")), (1, 0));
    assert_eq!(provider.unknown(), Vec::<String>::new());
}

#[test]
fn readme() {
    check("README.md");
}

#[test]
fn forget() {
    check("docs/guide/forget.md");
}

#[test]
fn phone() {
    check("docs/guide/phone.md");
}

#[test]
fn templates() {
    check("docs/guide/templates.md");
}
