//! Ref files that cannot be read, as a power cut leaves them or a disk that lost a bit: found and mended by their files
//! alone, since git and libgit2 open no repository whose HEAD is one of them.

use super::refs::{AIOS_PREFIX, MAIN};
use super::{Error, durable};
use std::path::{Path, PathBuf};

/// A file of refs that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The ref; `HEAD` or `packed-refs` for these.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

const HEAD: &str = "HEAD";
const PACKED: &str = "packed-refs";

/// Of the refs that aios needs, in the git folder `git`, those whose files cannot be read: HEAD, `main`, all under `refs/aios`, and
/// those that lie packed together.
pub fn torn(git: &Path) -> Vec<Torn> {
    let mut out = Vec::new();
    let mut look = |name: &str, check: &dyn Fn(&[u8]) -> Option<String>| {
        let path = git.join(name);
        // A lock, or one that went meanwhile; a HEAD of old is a link to the branch.
        let read = path.symlink_metadata().is_ok_and(|file| file.is_file()).then(|| std::fs::read(&path));
        let why = match read {
            None => None,
            Some(Ok(bytes)) => check(&bytes),
            Some(Err(e)) => Some(e.to_string()),
        };
        out.extend(why.map(|why| Torn { name: name.to_owned(), path, why }));
    };
    look(HEAD, &|bytes| match symbolic(bytes).is_some() || id(bytes) {
        true => None,
        false => Some(empty_or(bytes, "it names neither a branch nor a commit")),
    });
    look(PACKED, &|bytes| {
        let wrong = lines(bytes).filter(|line| !sound(line)).count();
        (wrong > 0).then(|| format!("{wrong} of its lines name no ref"))
    });
    let mut names = vec![MAIN.to_owned()];
    below(git, AIOS_PREFIX.trim_end_matches('/'), &mut names);
    for name in names {
        look(&name, &|bytes| match id(bytes) || (name == MAIN && symbolic(bytes).is_some()) {
            true => None,
            false => Some(empty_or(bytes, "it names no object")),
        });
    }
    out
}

fn below(git: &Path, folder: &str, out: &mut Vec<String>) {
    let mut found: Vec<_> = std::fs::read_dir(git.join(folder)).into_iter().flatten().flatten().collect();
    found.sort_by_key(std::fs::DirEntry::file_name);
    for entry in found {
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => below(git, &name, out),
            // Git's own rule for what is no ref.
            Ok(kind) if kind.is_file() && git2::Reference::is_valid_name(&name) => out.push(name),
            _ => {}
        }
    }
}

fn empty_or(bytes: &[u8], what: &str) -> String {
    match bytes.iter().all(|b| *b == 0 || b.is_ascii_whitespace()) {
        true => "it is empty".to_owned(),
        false => what.to_owned(),
    }
}

/// Whether this is what a ref's file holds: an id, and nothing or white space after it.
fn id(bytes: &[u8]) -> bool {
    let (id, rest) = bytes.split_at(bytes.len().min(40));
    id.len() == 40 && id.iter().all(u8::is_ascii_hexdigit) && rest.first().is_none_or(u8::is_ascii_whitespace)
}

fn symbolic(bytes: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(bytes.strip_prefix(b"ref:")?).ok()?.trim();
    git2::Reference::is_valid_name(name).then_some(name)
}

/// The lines of a file, with their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|b| *b == b'\n')
}

/// Whether a line of `packed-refs` is one that git reads.
fn sound(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\n") else { return false };
    match line {
        [b'#', rest @ ..] => !rest.contains(&0),
        [b'^', rest @ ..] => rest.len() == 40 && id(rest),
        _ => {
            let name = line.get(41..).and_then(|name| std::str::from_utf8(name).ok());
            id(line) && line.get(40) == Some(&b' ') && name.is_some_and(git2::Reference::is_valid_name)
        }
    }
}

/// Writes `packed-refs` again with those lines of `old` that can be read.
///
/// # Errors
/// What the system answers.
pub fn pack_again(git: &Path, old: &[u8]) -> Result<(), Error> {
    let mut kept = Vec::with_capacity(old.len());
    let mut last = true;
    for line in lines(old) {
        // The first line says that all are there and in order, which need not be so any more; what a tag
        // peels to belongs to the line before.
        last = sound(line) && line[0] != b'#' && (last || line[0] != b'^');
        if last {
            kept.extend_from_slice(line);
        }
    }
    durable::replace(&git.join(PACKED), &kept)
}

/// Writes HEAD again: on the branch that was checked out last, as its log says, else on `main`. Gives what it names now.
///
/// # Errors
/// What the system answers.
pub fn head_again(git: &Path) -> Result<String, Error> {
    let log = std::fs::read(git.join("logs/HEAD")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let on =
        log.lines().rev().find_map(|line| line.split_once("\tcheckout: moving from ")?.1.split_once(" to "));
    let named = match on {
        None => MAIN.to_owned(),
        Some((_, name)) => {
            let branch = format!("refs/heads/{name}");
            let packed = std::fs::read(git.join(PACKED)).unwrap_or_default();
            let is_packed = lines(&packed)
                .any(|line| line.get(41..).is_some_and(|at| at.trim_ascii() == branch.as_bytes()));
            // A commit was checked out: the last line tells which it is by now.
            let at =
                log.lines().last().and_then(|line| line.split(' ').nth(1)).filter(|at| id(at.as_bytes()));
            match (git.join(&branch).is_file() || is_packed, at) {
                (true, _) => branch,
                (false, Some(at)) => at.to_owned(),
                (false, None) => MAIN.to_owned(),
            }
        }
    };
    let text = match named.starts_with("refs/") {
        true => format!("ref: {named}\n"),
        false => format!("{named}\n"),
    };
    durable::replace(&git.join(HEAD), text.as_bytes())?;
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::{commit_of, git, repository};
    use crate::git::{LOG_PREFIX, Signature, set_ref};

    fn names(found: &[Torn]) -> Vec<&str> {
        found.iter().map(|torn| torn.name.as_str()).collect()
    }

    #[test]
    fn files_that_hold_no_ref_are_found_and_others_are_not() {
        let (dir, repo) = repository();
        let by = Signature::new("aios", "", 5);
        let id = commit_of(&repo, &[], 1);
        let log = format!("{LOG_PREFIX}{}", "ab".repeat(32));
        set_ref(&repo, MAIN, id, None, &by, "x").unwrap();
        set_ref(&repo, &log, id, None, &by, "x").unwrap();
        std::fs::write(repo.path().join("refs/aios/log/x.lock"), "").unwrap();
        assert_eq!(torn(repo.path()), []);
        for text in ["", "zz", &format!("{id}0\n"), &"\0".repeat(41), &format!("ref: {MAIN}\n")] {
            std::fs::write(repo.path().join(&log), text).unwrap();
            assert_eq!(names(&torn(repo.path())), [&*log], "{text:?}");
        }
        std::fs::write(repo.path().join(&log), format!("{id}\n")).unwrap();
        git(dir.path(), &["tag", "-a", "-m", "one", "one"]);
        git(dir.path(), &["pack-refs", "--all"]);
        assert_eq!(torn(repo.path()), []);
        let packed = std::fs::read(repo.path().join("packed-refs")).unwrap();
        for at in 0..packed.len() {
            let mut bad = packed.clone();
            bad[at] = 0;
            std::fs::write(repo.path().join("packed-refs"), &bad).unwrap();
            assert_eq!(names(&torn(repo.path())), ["packed-refs"], "{at}");
            pack_again(repo.path(), &bad).unwrap();
            assert_eq!(torn(repo.path()), [], "{at}");
            git(dir.path(), &["for-each-ref"]);
        }
    }

    #[test]
    fn head_is_put_back_on_the_branch_that_was_checked_out() {
        let (dir, repo) = repository();
        let by = Signature::new("aios", "", 5);
        let (one, two) = (commit_of(&repo, &[], 1), commit_of(&repo, &[], 2));
        set_ref(&repo, MAIN, one, None, &by, "x").unwrap();
        let torn_head = || {
            std::fs::write(repo.path().join("HEAD"), "").unwrap();
            assert_eq!(names(&torn(repo.path())), ["HEAD"]);
            let named = head_again(repo.path()).unwrap();
            assert_eq!(torn(repo.path()), []);
            named
        };
        assert_eq!(torn_head(), MAIN);
        git(dir.path(), &["checkout", "-q", "-f", "-b", "topic"]);
        assert_eq!(torn_head(), "refs/heads/topic");
        git(dir.path(), &["checkout", "-q", "-f", &two.to_string()]);
        assert_eq!(torn_head(), two.to_string());
        git(dir.path(), &["checkout", "-q", "-f", "main"]);
        assert_eq!(torn_head(), MAIN);
    }
}
