//! Refs: where `main` and the log refs are, moved only from where the caller saw them.

use super::durable::{self, Lock};
use super::{Error, Signature};
use git2::{ErrorCode, Oid, ReferenceType, Repository, RepositoryState};
use std::path::Path;

/// The branch aios writes, whatever HEAD is at.
pub const MAIN: &str = "refs/heads/main";

/// What the names of all refs of aios begin with.
pub const AIOS_PREFIX: &str = "refs/aios/";

/// What a ref starts with that keeps commits from before or beside aios; the commit follows.
pub const HISTORY_PREFIX: &str = "refs/aios/history/";

/// What a device's log ref starts with; its device id in hex follows.
pub const LOG_PREFIX: &str = "refs/aios/log/";
/// What the message of a mirror of a log begins with; the device follows.
pub const LOG_MESSAGE: &str = "Log of device ";

/// What a ref starts with that was fetched from a git remote; the remote's name and the name of the ref there follow.
pub const REMOTE_PREFIX: &str = "refs/aios/remote/";

/// What a ref starts with that a repair took out of the way: the time in ms and the old name without `refs/` follow.
pub const ASIDE_PREFIX: &str = "refs/aios/aside/";

/// The commit of all records where the branch could not follow.
pub const PROJECTED: &str = "refs/aios/head";

/// Whether the work tree is at `main` and free for aios to read and write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// HEAD is `main`, which may have no commit yet, and nothing is in progress.
    Normal,
    /// HEAD is a commit, not a branch.
    Detached,
    /// HEAD is another branch: its full name.
    OtherBranch(String),
    /// A merge waits for its commit.
    Merging,
    /// A rebase or `git am` is under way.
    Rebasing,
    /// A bisect is under way.
    Bisecting,
    /// A cherry-pick waits for its commit.
    CherryPicking,
    /// A revert waits for its commit.
    Reverting,
}

/// What the user is doing with the work tree, an operation in progress before the place of HEAD.
///
/// # Errors
/// When HEAD cannot be read.
pub fn state(repo: &Repository) -> Result<State, Error> {
    Ok(match repo.state() {
        RepositoryState::Merge => State::Merging,
        RepositoryState::Revert | RepositoryState::RevertSequence => State::Reverting,
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => State::CherryPicking,
        RepositoryState::Bisect => State::Bisecting,
        RepositoryState::Rebase
        | RepositoryState::RebaseInteractive
        | RepositoryState::RebaseMerge
        | RepositoryState::ApplyMailbox
        | RepositoryState::ApplyMailboxOrRebase => State::Rebasing,
        RepositoryState::Clean => match head_branch(repo)? {
            None => State::Detached,
            Some(name) if name == MAIN => State::Normal,
            Some(name) => State::OtherBranch(name),
        },
    })
}

/// The branch HEAD names, None when it is a commit.
fn head_branch(repo: &Repository) -> Result<Option<String>, Error> {
    let bad = |e: git2::Error| Error::BadRef { name: "HEAD".into(), why: e.message().to_owned() };
    let head = repo.find_reference("HEAD").map_err(bad)?;
    Ok(head.symbolic_target_bytes().map(|name| String::from_utf8_lossy(name).into_owned()))
}

/// The id a ref is at, None when there is no such ref.
///
/// # Errors
/// [`Error::Unsupported`] when it is symbolic; [`Error::BadRef`] when it cannot be read.
pub fn read_ref(repo: &Repository, name: &str) -> Result<Option<Oid>, Error> {
    match repo.find_reference(name) {
        Ok(found) if found.kind() == Some(ReferenceType::Symbolic) => Err(Error::Unsupported {
            path: repo.path().join(name),
            why: "the ref is symbolic",
            help: "make it a plain branch with `git symbolic-ref --delete` and try again",
        }),
        Ok(found) => Ok(found.target()),
        Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
        Err(e) => Err(Error::BadRef { name: name.to_owned(), why: e.message().to_owned() }),
    }
}

/// Moves a ref to `new` if it is at `old` (None: if it does not exist, or cannot be read and so names nothing), under git's own lock and durably. A branch gets a
/// reflog line, and so does HEAD when it names this branch.
///
/// # Errors
/// [`Error::RefMoved`] when it is elsewhere, [`Error::RefBusy`] when another program holds it.
pub fn set_ref(
    repo: &Repository,
    name: &str,
    new: Oid,
    old: Option<Oid>,
    by: &Signature,
    message: &str,
) -> Result<(), Error> {
    if !git2::Reference::is_valid_name(name) || !name.starts_with("refs/") {
        return Err(Error::BadPath { path: name.into(), why: "it is no full ref name" });
    }
    let folder = repo.commondir();
    let target = folder.join(name);
    if let Some(parent) = target.parent() {
        durable::create_folder(parent)?;
    }
    let mut lock = Lock::take(folder, &target)?.ok_or_else(|| Error::RefBusy(Lock::path(&target)))?;
    let found = match read_ref(repo, name) {
        Err(Error::BadRef { .. }) if old.is_none() => None,
        found => found?,
    };
    if found != old {
        let [expected, found] = [old, found].map(|id| id.unwrap_or(Oid::ZERO_SHA1));
        return Err(Error::RefMoved { name: name.into(), expected, found });
    }
    lock.write(format!("{new}\n").as_bytes())?;
    // A folder left by a deleted branch `main/x` is in the way only when it is empty of refs; git removes it too.
    let _ = std::fs::remove_dir(&target);
    if name.starts_with("refs/heads/") && old != Some(new) {
        let mut line = format!("{} {new} ", old.unwrap_or(Oid::ZERO_SHA1)).into_bytes();
        line.extend_from_slice(&by.to_bytes());
        line.push(b'\t');
        line.extend(message.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
        line.push(b'\n');
        log(&folder.join("logs").join(name), &line)?;
        if head_branch(repo)?.as_deref() == Some(name) {
            log(&repo.path().join("logs").join("HEAD"), &line)?;
        }
    }
    lock.commit()
}

/// The refs of aios that can be read, and what they name.
///
/// # Errors
/// When git cannot list them.
pub fn own_refs(repo: &Repository) -> Result<Vec<(String, Oid)>, Error> {
    let refs = repo.references_glob(&format!("{AIOS_PREFIX}*")).map_err(Error::git("listing refs"))?;
    let mut out: Vec<(String, Oid)> = refs
        .flatten()
        .filter_map(|found| Some((String::from_utf8_lossy(found.name_bytes()).into_owned(), found.target()?)))
        .collect();
    out.sort();
    Ok(out)
}

/// That another program holds a ref, if one does.
pub fn busy(repo: &Repository, name: &str) -> Option<Error> {
    let lock = Lock::path(&repo.commondir().join(name));
    lock.exists().then_some(Error::RefBusy(lock))
}

fn log(path: &Path, line: &[u8]) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        durable::create_folder(parent)?;
    }
    durable::append(path, line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::{commit_of, git, repository};

    #[test]
    fn refs_move_only_from_where_they_were_seen() {
        let (dir, repo) = repository();
        let by = Signature::new("aios", "", 5);
        let (a, b) = (commit_of(&repo, &[], 1), commit_of(&repo, &[], 2));
        assert_eq!(state(&repo).unwrap(), State::Normal);
        assert_eq!(read_ref(&repo, MAIN).unwrap(), None);
        assert!(matches!(set_ref(&repo, MAIN, a, Some(b), &by, "x"), Err(Error::RefMoved { .. })));
        set_ref(&repo, MAIN, a, None, &by, "x").unwrap();
        assert!(
            matches!(set_ref(&repo, MAIN, b, None, &by, "x"), Err(Error::RefMoved { found, .. }) if found == a)
        );
        git(dir.path(), &["pack-refs", "--all"]);
        set_ref(&repo, MAIN, b, Some(a), &by, "x").unwrap();
        assert_eq!(read_ref(&repo, MAIN).unwrap(), Some(b));
        let log = format!("{LOG_PREFIX}{}", "ab".repeat(32));
        set_ref(&repo, &log, a, None, &by, "x").unwrap();
        assert_eq!(read_ref(&repo, &log).unwrap(), Some(a));
        std::fs::write(repo.path().join("refs/heads/main.lock"), "").unwrap();
        assert!(matches!(set_ref(&repo, MAIN, a, Some(b), &by, "x"), Err(Error::RefBusy(_))));
        std::fs::remove_file(repo.path().join("refs/heads/main.lock")).unwrap();
        assert!(set_ref(&repo, "refs/heads/../x", a, None, &by, "x").is_err());
        git(dir.path(), &["fsck", "--strict"]);
    }

    #[test]
    fn states_are_told_apart() {
        let (_dir, repo) = repository();
        let by = Signature::new("aios", "", 5);
        let id = commit_of(&repo, &[], 1);
        set_ref(&repo, MAIN, id, None, &by, "x").unwrap();
        set_ref(&repo, "refs/heads/topic/one", id, None, &by, "x").unwrap();
        repo.set_head("refs/heads/topic/one").unwrap();
        assert_eq!(state(&repo).unwrap(), State::OtherBranch("refs/heads/topic/one".into()));
        repo.set_head_detached(id).unwrap();
        assert_eq!(state(&repo).unwrap(), State::Detached);
        repo.set_head(MAIN).unwrap();
        for (file, expected) in [
            ("MERGE_HEAD", State::Merging),
            ("CHERRY_PICK_HEAD", State::CherryPicking),
            ("REVERT_HEAD", State::Reverting),
            ("BISECT_LOG", State::Bisecting),
        ] {
            std::fs::write(repo.path().join(file), format!("{id}\n")).unwrap();
            assert_eq!(state(&repo).unwrap(), expected);
            std::fs::remove_file(repo.path().join(file)).unwrap();
        }
        std::fs::create_dir(repo.path().join("rebase-merge")).unwrap();
        assert_eq!(state(&repo).unwrap(), State::Rebasing);
    }
}
