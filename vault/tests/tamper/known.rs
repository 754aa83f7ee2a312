//! What a rebuild finds out again, or takes over, of what this device knows of itself and of the others.

use super::{Sample, answers, check, quiet, rebuilt};
use aios_vault::rebuild::rebuild;
use aios_vault::{Error, Vault};
use std::path::Path;

fn peers(root: &Path) -> Vec<aios_vault::peer::Peer> {
    let vault = Vault::open(root).unwrap();
    let me = vault.device();
    vault.peers().unwrap().into_iter().filter(|(device, _)| *device != me).map(|(_, peer)| peer).collect()
}

#[test]
fn what_the_others_have_said_outlives_a_rebuild() {
    let sample = Sample::new();
    let root = sample.copy();
    let vault = Vault::open(&root).unwrap();
    let other = *vault.members().0.keys().find(|device| **device != vault.device()).unwrap();
    vault.note_acknowledged(&other, vault.view()).unwrap();
    assert!(vault.synced().unwrap());
    drop(vault);
    let known = peers(&root);
    rebuilt(&root);
    assert_eq!(peers(&root), known);
    assert!(Vault::open(&root).unwrap().synced().unwrap());

    std::fs::remove_file(root.join(".aios/cache.sqlite")).unwrap();
    rebuilt(&root);
    let now = peers(&root);
    assert!(now.iter().all(|peer| peer.forgotten && peer.seen.is_none()), "{now:?}");
    assert!(!Vault::open(&root).unwrap().synced().unwrap());
    rebuilt(&root);
    assert_eq!(peers(&root), now, "nor is it known after one more");
    let vault = Vault::open(&root).unwrap();
    vault.note_acknowledged(&other, vault.view()).unwrap();
    drop(vault);
    assert!(peers(&root).iter().all(|peer| !peer.forgotten));
}

#[test]
fn a_replicas_name_that_is_damaged_is_found_again() {
    let sample = Sample::new();
    let name = sample.root().join(".aios/replica.json");
    let good = std::fs::read(&name).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let flipped = |key: &str| {
        let at = text.find(key).unwrap() + key.len() + 10;
        let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    let broken = [
        "".into(),
        text[..text.len() / 2].to_owned(),
        text.replace('{', "["),
        flipped("\"vault\""),
        flipped("\"device\""),
    ];
    for text in broken {
        let root = sample.copy();
        let want = answers(&root).unwrap();
        std::fs::write(root.join(".aios/replica.json"), &text).unwrap();
        let out = rebuild(&root, Some("d0"), &mut quiet()).unwrap();
        assert!(out.mended[0].starts_with("the replica's name") && out.lost.is_empty(), "{text}: {out:#?}");
        assert_eq!(std::fs::read(root.join(".aios/replica.json")).unwrap(), good);
        let kept = super::below(&root.join(".aios/aside"));
        assert!(
            kept.iter().any(|path| std::fs::read_to_string(path).is_ok_and(|kept| kept == text)),
            "{kept:?}"
        );
        assert!(check(&root, true).ok);
        assert_eq!(answers(&root).unwrap(), want);
    }
    let root = sample.copy();
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    std::fs::write(root.join(".aios/replica.json"), &newer).unwrap();
    assert!(matches!(rebuild(&root, Some("d0"), &mut quiet()), Err(Error::NewerFormat { .. })));
    assert_eq!(std::fs::read_to_string(root.join(".aios/replica.json")).unwrap(), newer);
}
