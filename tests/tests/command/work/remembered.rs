//! What is known of work is remembered, and nothing hangs on it.

use std::path::PathBuf;

use aios_tests::office::Office;

const MANY: &str = "---
type: workflow
steps:
  all:
    each: 'range(1, 280) | list'
    as: n
    at_once: 100
    steps:
      draft: {agent: writer, input: {client: '{{ n }}'}}
---
";

fn remembered(office: &Office) -> PathBuf {
    let devices = std::fs::read_dir(office.dir.path().join("keys/devices")).expect("the devices");
    devices.map(|it| it.expect("a device").path().join("work")).next().expect("a device")
}

/// The files beside it in which work lies.
fn runs(office: &Office) -> Vec<PathBuf> {
    let folder = remembered(office).parent().expect("a folder").to_owned();
    let paths = std::fs::read_dir(folder).expect("the folder").map(|it| it.expect("a file").path());
    paths.filter(|path| path.to_string_lossy().contains("/work-")).collect()
}

/// What a command says of the tasks, and of what it goes on from.
fn tasks(office: &Office) -> (String, bool) {
    let mut command = office.command(&["tasks", "--json"], "");
    let out = command.env("AIOS_LOG", "aios=debug").output().expect("aios runs");
    assert!(out.status.success(), "{out:?}");
    let from = String::from_utf8_lossy(&out.stderr).contains("events of work are remembered");
    (String::from_utf8_lossy(&out.stdout).into_owned(), from)
}

#[test]
fn who_starts_goes_on_from_what_is_remembered() {
    let office = Office::new(&[
        ("workflows/greet.md", super::GREET),
        ("workflows/many.md", MANY),
        ("agents/writer.md", super::WRITER),
    ]);
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    assert!(!remembered(&office).exists(), "little is known");
    // Something else waits, so work is not over.
    office.ends(&["run", "many", "--task", "many"], 0);
    let whole = std::fs::read(remembered(&office)).expect("much is known");
    let (said, from) = tasks(&office);
    assert!(from && said.contains("\"many\""), "{said}");
    // Cut off, of somebody else, or gone: it is the same.
    let mut broken = whole.clone();
    *broken.last_mut().expect("bytes") ^= 1;
    for bytes in [&whole[..whole.len() / 2], &broken, b""] {
        std::fs::write(remembered(&office), bytes).expect("it is written");
        assert_eq!(tasks(&office), (said.clone(), false));
        assert_eq!(std::fs::read(remembered(&office)).expect("it is there again").len(), whole.len());
    }
    // What is over lies beside it. Where that cannot be read nothing is said of it as if it were not there, and the next one reads the log.
    let run = runs(&office).pop().expect("a run");
    let mut bytes = std::fs::read(&run).expect("it is there");
    bytes[100] ^= 1;
    std::fs::write(&run, &bytes).expect("it is written");
    let refused = office.command(&["tasks", "--json"], "").output().expect("aios runs");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("remembered of work could not be read"), "{why}");
    assert_eq!(tasks(&office), (said.clone(), false));
    assert_eq!(tasks(&office), (said.clone(), true));
    std::fs::remove_file(&runs(&office)[0]).expect("it was there");
    assert_eq!(tasks(&office), (said.clone(), false));
    std::fs::remove_file(remembered(&office)).expect("it was there");
    assert_eq!(tasks(&office), (said, false));
    // What waited since before goes on.
    office.ends(&["approve", &office.asks("one").expect("it asks")], 0);
    assert_eq!(office.sent_to("ann"), 1);
    office.is_sound();
}
