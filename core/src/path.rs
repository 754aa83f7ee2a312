//! Paths inside a vault: relative, `/`-separated, and how two of them count as the same.

use unicode_normalization::UnicodeNormalization;

use crate::id::DocId;

/// Why a text cannot be a document's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, or an empty component.
    #[error("`{0}` has an empty component")]
    Empty(String),
    /// `.` or `..`.
    #[error("`{0}` has a `.` or `..` component")]
    Dots(String),
    /// A NUL or a line end.
    #[error("`{0}` has a NUL or control character")]
    Control(String),
    /// Inside `.git` or `.aios`.
    #[error("`{0}` lies in a folder that belongs to git or aios")]
    Reserved(String),
    /// A component above 255 bytes, or more than 4,096 in all.
    #[error("`{0}` is too long")]
    Long(String),
}

/// Checks that `path` may name a document, so that nothing from the wire can point outside the vault.
pub fn check(path: &str) -> Result<(), PathError> {
    let shown = || path.chars().take(120).collect::<String>();
    if path.len() > 4096 {
        return Err(PathError::Long(shown()));
    }
    for part in path.split('/') {
        match part {
            "" => return Err(PathError::Empty(shown())),
            "." | ".." => return Err(PathError::Dots(shown())),
            _ if part.len() > 255 => return Err(PathError::Long(shown())),
            _ if part.chars().any(|c| c == '\0' || c == '\n' || c == '\r') => {
                return Err(PathError::Control(shown()));
            }
            _ => {}
        }
        if reserved(part) {
            return Err(PathError::Reserved(shown()));
        }
    }
    Ok(())
}

/// Whether `name` is, to some file system, `.git` or `.aios`: case, the code points HFS+ ignores, the
/// trailing dots and spaces and the short name that NTFS drops or adds (git's CVE-2014-9390).
pub fn reserved(name: &str) -> bool {
    if name.is_ascii() && !name.starts_with(['.', 'g', 'G', 'a', 'A']) {
        return false;
    }
    let plain: String = name
        .chars()
        .filter(|c| {
            !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        })
        .flat_map(char::to_lowercase)
        .collect();
    let plain = plain.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    matches!(plain, ".git" | ".aios" | "git~1" | "aios~1")
}

fn fold_component(part: &str) -> String {
    if part.is_ascii() {
        return part.to_ascii_lowercase();
    }
    let composed: String = part.nfc().collect();
    // Each by itself: a final sigma by its context would change with the suffix of a path that is taken.
    composed.chars().flat_map(char::to_lowercase).nfc().collect()
}

/// Folds a path: two paths with one folded form cannot both exist on every file system.
pub fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    path.split('/').map(fold_component).collect::<Vec<_>>().join("/")
}

/// The path of a document that cannot have `claim`: the first `digits` hex of its id before the extension.
pub fn suffixed(claim: &str, doc: &DocId, digits: usize) -> String {
    let (folder, name) = match claim.rsplit_once('/') {
        Some((folder, name)) => (Some(folder), name),
        None => (None, claim),
    };
    let hex = doc.short(digits);
    let name = match name.rfind('.') {
        Some(dot) if dot > 0 => format!("{}-{hex}{}", &name[..dot], &name[dot..]),
        _ => format!("{name}-{hex}"),
    };
    match folder {
        Some(folder) => format!("{folder}/{name}"),
        None => name,
    }
}

/// If `folded` could be a suffixed path, the folded claim it may come from.
pub fn unsuffixed(folded: &str) -> Option<String> {
    let (folder, name) = match folded.rsplit_once('/') {
        Some((folder, name)) => (Some(folder), name),
        None => (None, folded),
    };
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let (base, hex) = stem.rsplit_once('-')?;
    let plausible = [6, 12, 24, 64].contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if !plausible {
        return None;
    }
    let name = format!("{base}{extension}");
    Some(match folder {
        Some(folder) => format!("{folder}/{name}"),
        None => name,
    })
}

/// Whether folded path `path` lies below folded folder `folder`; the rest of it, without the slash.
pub fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// `path` with its leading folder `from` (compared folded) replaced by `to`, if it lies below it.
pub fn rebase(path: &str, from: &str, to: &str) -> Option<String> {
    let depth = from.split('/').count();
    let mut parts = path.splitn(depth + 1, '/');
    let head: Vec<&str> = parts.by_ref().take(depth).collect();
    let rest = parts.next()?;
    (head.len() == depth && fold(&head.join("/")) == fold(from)).then(|| format!("{to}/{rest}"))
}

/// The folders above `path`, from the root down: `a/b/c` gives `a`, `a/b`.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// The file name's extension in lower case, without the dot; empty for none.
pub fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rfind('.') {
        Some(dot) if dot > 0 => name[dot + 1..].to_ascii_lowercase(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks() {
        for good in ["a.md", "a/b c.md", ".aiosignore", "aios.md", "CON", "trailing.", "é.md", "😀"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a//b",
            "../x",
            "a/./b",
            ".git/config",
            "x/.GIT/y",
            ".aios/db",
            "x/.aios/f",
            "git~1/x",
            "a\nb",
            "a\0b",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&"x".repeat(256)).is_err());
    }

    #[test]
    fn folding() {
        assert_eq!(fold("Clients/ACME.md"), "clients/acme.md");
        assert_eq!(fold("e\u{301}.md"), fold("É.md"));
    }

    #[test]
    fn suffixes() {
        let id = DocId([0x3f; 32]);
        assert_eq!(suffixed("a/notes.md", &id, 6), "a/notes-3f3f3f.md");
        assert_eq!(suffixed(".env", &id, 6), ".env-3f3f3f");
        assert_eq!(unsuffixed("a/notes-3f3f3f.md").as_deref(), Some("a/notes.md"));
        assert_eq!(unsuffixed("a/notes-3f.md"), None);
    }

    #[test]
    fn folders() {
        assert_eq!(rebase("Old/x/y.md", "old", "New/z").as_deref(), Some("New/z/x/y.md"));
        assert_eq!(rebase("old", "old", "new"), None);
        assert_eq!(rebase("older/x", "old", "new"), None);
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(extension("a.b/C.MD"), "md");
    }
}
