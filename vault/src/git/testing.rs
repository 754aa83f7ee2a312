//! A fresh repository and the `git` program, for tests.

use std::path::Path;
use std::process::Command;

/// A new vault folder with its repository.
pub(super) fn repository() -> (tempfile::TempDir, git2::Repository) {
    let dir = tempfile::tempdir().unwrap();
    let repo = super::open_or_init(dir.path()).unwrap();
    (dir, repo)
}

/// Runs git in a folder and gives what it prints; None, said on stderr, where there is no git.
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "gc.auto=0"])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", if cfg!(windows) { "NUL" } else { "/dev/null" })
        .output();
    match output {
        Ok(output) => {
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "git {arguments:?}: {err}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped `git {}`: no git program here", arguments.join(" "));
            None
        }
        Err(e) => panic!("cannot run git: {e}"),
    }
}

/// A loose commit of the empty tree.
pub(super) fn commit_of(repo: &git2::Repository, parents: &[git2::Oid], seconds: i64) -> git2::Oid {
    use super::{Loose, Objects};
    let mut objects = Loose::new(repo, false).unwrap();
    let tree = objects.write(git2::ObjectType::Tree, &[]).unwrap();
    commit_tree(&mut objects, tree, parents, seconds)
}

/// A commit of a tree.
pub(super) fn commit_tree(
    objects: &mut dyn super::Objects,
    tree: git2::Oid,
    parents: &[git2::Oid],
    seconds: i64,
) -> git2::Oid {
    let author = super::Signature::new("t", "t@t", seconds);
    let commit = super::Commit {
        tree,
        parents: parents.to_vec(),
        committer: author.clone(),
        author,
        encoding: None,
        message: b"Change\n".to_vec(),
    };
    objects.write(git2::ObjectType::Commit, &commit.to_bytes()).unwrap()
}
