//! What models answered to agents whose files say `cache`: who asks the same to the letter hears the same, and pays nothing. It may be deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aios_agents::agent::talk;
use aios_agents::event::digest;
use aios_agents::model::{Answer, Request, Stop};
use aios_core::id::ContentHash;
use aios_vault::disk::durable;
use serde_json::json;

use crate::caller::Line;

/// How long an answer is good for.
const GOOD_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most answers that are kept.
const MOST: usize = 2_000;

/// The answers of a vault.
#[derive(Debug, Default)]
pub struct Answers {
    folder: PathBuf,
}

impl Answers {
    /// Those of the vault whose folder is at `root`.
    pub fn of(root: &Path) -> Answers {
        Answers { folder: root.join(".aios/answers") }
    }

    /// What a model answered to the same; nothing where it was not asked, or too long ago.
    pub fn find(&self, line: &Line, request: &Request) -> Option<Answer> {
        let path = self.folder.join(name(line, request));
        let age = SystemTime::now().duration_since(fs::metadata(&path).ok()?.modified().ok()?).ok()?;
        let bytes = fs::read(path).ok().filter(|_| age < GOOD_FOR)?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps an answer. Where that fails it is asked for again.
    pub fn keep(&self, line: &Line, request: &Request, answer: &Answer) {
        let kept = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            self.make_room()?;
            let bytes = serde_json::to_vec(answer)?;
            durable::replace(&self.folder.join(name(line, request)), &bytes).map_err(std::io::Error::other)
        };
        if !matches!(answer.stop, Stop::End | Stop::Tools) {
            return;
        }
        if let Err(e) = kept() {
            tracing::debug!("{}: {e}", self.folder.display());
        }
    }

    /// Of too many, the tenth that is the oldest goes.
    fn make_room(&self) -> std::io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
        if found.len() < MOST {
            return Ok(());
        }
        found.sort();
        found.iter().take(MOST / 10).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// What is asked, and of whom.
fn name(line: &Line, request: &Request) -> String {
    let asked: ContentHash = talk::asked(request);
    digest(&json!([line.provider.url, line.model.1, asked])).short(32)
}

#[cfg(test)]
mod tests {
    use aios_agents::model::Api;
    use aios_agents::model::settings::Provider;

    use super::*;

    fn line(model: &str) -> Line {
        let provider = Provider {
            api: Api::Chat,
            url: "http://127.0.0.1:1".into(),
            key: false,
            silence: 1,
            at_once: None,
            per_minute: None,
            poll: 1,
        };
        Line { model: ("test".into(), model.into()), provider, key: None }
    }

    fn request(system: &str) -> Request {
        let (model, system, messages) = (String::new(), system.to_owned(), Vec::new());
        Request { model, system, messages, tools: Vec::new(), schema: None, most: 7 }
    }

    #[test]
    fn the_same_is_what_is_the_same_to_the_letter() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Answers::of(dir.path());
        let said = Answer { text: "Hello".into(), calls: Vec::new(), usage: None, stop: Stop::End };
        assert_eq!(answers.find(&line("one"), &request("a")), None);
        answers.keep(&line("one"), &request("a"), &said);
        // How long the answer may be is no part of the question.
        assert_eq!(answers.find(&line("one"), &Request { most: 9, ..request("a") }), Some(said.clone()));
        assert_eq!(answers.find(&line("two"), &request("a")), None);
        assert_eq!(answers.find(&line("one"), &request("a ")), None);
        // What was cut off is no answer to keep, and what is damaged is none.
        answers.keep(&line("one"), &request("b"), &Answer { stop: Stop::Length, ..said });
        assert_eq!(answers.find(&line("one"), &request("b")), None);
        for entry in fs::read_dir(dir.path().join(".aios/answers")).unwrap() {
            fs::write(entry.unwrap().path(), "{").unwrap();
        }
        assert_eq!(answers.find(&line("one"), &request("a")), None);
    }

    #[test]
    fn there_are_only_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Answers::of(dir.path());
        let said = Answer { text: "x".into(), calls: Vec::new(), usage: None, stop: Stop::End };
        fs::create_dir_all(dir.path().join(".aios/answers")).unwrap();
        for n in 0..MOST {
            fs::write(dir.path().join(format!(".aios/answers/{n}")), "").unwrap();
        }
        answers.keep(&line("one"), &request("a"), &said);
        assert_eq!(fs::read_dir(dir.path().join(".aios/answers")).unwrap().count(), MOST - MOST / 10 + 1);
        assert_eq!(answers.find(&line("one"), &request("a")), Some(said));
    }
}
