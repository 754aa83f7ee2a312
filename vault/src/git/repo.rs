//! Opening the repository at a vault's root and keeping what aios needs in `.git/info`.

use super::{Error, durable};
use git2::{Repository, RepositoryInitOptions, RepositoryOpenFlags};
use std::path::Path;

/// Switches off every conversion between work tree and blob, so that a blob is the file's bytes whatever `core.autocrlf`
/// or a `.gitattributes` says (I3). `.git/info/attributes` wins over those, and in it the last line wins.
const ATTRIBUTES: &[u8] = b"* -text -filter -ident -working-tree-encoding";

const BEGIN: &[u8] = b"# aios begin: written by aios, changes here are lost";
const END: &[u8] = b"# aios end";

/// Opens the repository whose work tree is exactly `root`, making one with branch `main` when there is none, and sees to its
/// attributes. A repository further up does not count.
///
/// # Errors
/// [`Error::Unsupported`] for a bare repository, a linked work tree or a submodule.
pub fn open_or_init(root: &Path) -> Result<Repository, Error> {
    let dot_git = root.join(".git");
    let repo = if dot_git.symlink_metadata().is_ok() {
        let none: [&std::ffi::OsStr; 0] = [];
        Repository::open_ext(root, RepositoryOpenFlags::NO_SEARCH, none).map_err(|e| {
            match super::torn(&dot_git).into_iter().find(|torn| torn.name == "HEAD") {
                Some(torn) => Error::BadRef { name: torn.name, why: torn.why },
                None => Error::git(format!("opening the repository {}", dot_git.display()))(e),
            }
        })?
    } else {
        let mut options = RepositoryInitOptions::new();
        options.initial_head("main").external_template(false).mkpath(true);
        Repository::init_opts(root, &options)
            .map_err(Error::git(format!("making the repository {}", dot_git.display())))?
    };
    let refuse = |why, help| Err(Error::Unsupported { path: root.into(), why, help });
    if repo.is_bare() {
        return refuse("its repository has no work tree", "set core.bare to false");
    }
    if repo.is_worktree() || !dot_git.is_dir() {
        return refuse("it is a linked work tree or a submodule", "use the main work tree, or a clone");
    }
    write_attributes(&repo)?;
    Ok(repo)
}

fn lines(path: &Path) -> Result<Vec<u8>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    if !out.is_empty() && out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
    out.extend_from_slice(line);
    out.push(b'\n');
}

fn replace(repo: &Repository, name: &str, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<(), Error> {
    let folder = repo.commondir().join("info");
    let path = folder.join(name);
    let old = lines(&path)?;
    let new = edit(&old);
    if new == old {
        return Ok(());
    }
    durable::create_folder(&folder)?;
    durable::replace(&path, &new)
}

fn write_attributes(repo: &Repository) -> Result<(), Error> {
    replace(repo, "attributes", |old| {
        let mut out = Vec::with_capacity(old.len() + ATTRIBUTES.len() + 1);
        for line in old.split_inclusive(|&b| b == b'\n') {
            if line.trim_ascii() != ATTRIBUTES {
                out.extend_from_slice(line);
            }
        }
        push_line(&mut out, ATTRIBUTES);
        out
    })
}

/// Writes `patterns` (gitignore lines) between two marker lines of `.git/info/exclude`, leaving every other line as it is.
///
/// # Errors
/// When the file cannot be read or written.
pub fn write_excludes(repo: &Repository, patterns: &[String]) -> Result<(), Error> {
    replace(repo, "exclude", |old| {
        let lines: Vec<&[u8]> = old.split_inclusive(|&b| b == b'\n').collect();
        let at = |mark: &[u8], from: usize| {
            lines.iter().skip(from).position(|line| line.trim_ascii() == mark).map(|i| i + from)
        };
        // A begin without an end marks nothing: the user's lines after it stay.
        let block = at(BEGIN, 0).and_then(|begin| Some((begin, at(END, begin)? + 1)));
        let (begin, end) = block.unwrap_or((lines.len(), lines.len()));
        let mut before = lines[..begin].concat();
        push_line(&mut before, BEGIN);
        for pattern in patterns {
            push_line(&mut before, pattern.as_bytes());
        }
        push_line(&mut before, END);
        before.extend_from_slice(&lines[end..].concat());
        before
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::git;

    #[test]
    fn it_is_made_inside_another_and_info_files_keep_the_users_lines() {
        let outer = tempfile::tempdir().unwrap();
        open_or_init(outer.path()).unwrap();
        let root = outer.path().join("vault");
        let repo = open_or_init(&root).unwrap();
        assert!(root.join(".git").is_dir());
        assert_eq!(std::fs::read(root.join(".git/HEAD")).unwrap(), b"ref: refs/heads/main\n");
        let info = root.join(".git/info");
        std::fs::write(info.join("attributes"), "*.md text\n").unwrap();
        std::fs::write(info.join("exclude"), "mine").unwrap();
        for _ in 0..2 {
            open_or_init(&root).unwrap();
            write_excludes(&repo, &["*.swp".into(), ".DS_Store".into()]).unwrap();
            let attributes = std::fs::read_to_string(info.join("attributes")).unwrap();
            assert_eq!(attributes, format!("*.md text\n{}\n", String::from_utf8_lossy(ATTRIBUTES)));
            let exclude = std::fs::read_to_string(info.join("exclude")).unwrap();
            let (begin, end) = (String::from_utf8_lossy(BEGIN), String::from_utf8_lossy(END));
            assert_eq!(exclude, format!("mine\n{begin}\n*.swp\n.DS_Store\n{end}\n"));
        }
        let exclude = std::fs::read_to_string(info.join("exclude")).unwrap();
        std::fs::write(info.join("exclude"), format!("{exclude}after\n")).unwrap();
        write_excludes(&repo, &["x".into()]).unwrap();
        let exclude = std::fs::read_to_string(info.join("exclude")).unwrap();
        assert!(
            exclude.starts_with("mine\n#") && exclude.ends_with("end\nafter\n") && !exclude.contains("swp")
        );
    }

    #[test]
    fn a_bare_repository_or_a_linked_work_tree_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("main");
        let repo = open_or_init(&main).unwrap();
        repo.config().unwrap().set_bool("core.bare", true).unwrap();
        assert!(matches!(open_or_init(&main), Err(Error::Unsupported { .. })));
        repo.config().unwrap().set_bool("core.bare", false).unwrap();
        if git(&main, &["commit", "--allow-empty", "-m", "x"]).is_some() {
            git(&main, &["worktree", "add", "../linked"]);
            let linked = open_or_init(&dir.path().join("linked"));
            assert!(matches!(linked, Err(Error::Unsupported { .. })));
        }
    }
}
