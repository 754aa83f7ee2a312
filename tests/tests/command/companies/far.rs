//! The far side of a company's connectors: it takes mails as soon as they are there, and counts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Who takes mails out of a maildir.
#[derive(Debug)]
pub struct Far {
    outbox: PathBuf,
    taken: RefCell<Vec<String>>,
}

impl Far {
    /// The one of the device whose vault is at `root`.
    pub fn of(root: &std::path::Path) -> Far {
        let name = root.file_name().expect("a name").to_string_lossy().into_owned();
        Far { outbox: root.with_file_name(format!("{name}.outbox")), taken: RefCell::default() }
    }

    /// Takes what there is: nobody who sends could know it again.
    pub fn take(&self) {
        for entry in std::fs::read_dir(self.outbox.join("new")).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            self.taken.borrow_mut().push(std::fs::read_to_string(&path).expect("a mail"));
            std::fs::remove_file(path).expect("it can be taken");
        }
    }

    /// Whether the effect of that key happened.
    pub fn knows(&self, key: &str) -> bool {
        self.take();
        let id = format!("Message-ID: <{key}@aios>");
        self.taken.borrow().iter().any(|mail| mail.contains(&id))
    }

    /// How often each business act happened, whatever the keys: to whom, and about what.
    pub fn acts(&self) -> BTreeMap<(String, String), usize> {
        self.take();
        let mut out = BTreeMap::new();
        for mail in self.taken.borrow().iter() {
            let head = |name: &str| {
                let found = mail.lines().find_map(|line| line.strip_prefix(name));
                found.unwrap_or_default().trim().to_owned()
            };
            *out.entry((head("To:"), head("Subject:"))).or_default() += 1;
        }
        out
    }
}
