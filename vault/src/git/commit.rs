//! Commit objects as bytes: exact, so that the same commit has the same id on every device.

use super::Error;
use git2::{ObjectType, Oid};

/// Who and when, as in an `author` or `committer` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name, in the commit's encoding.
    pub name: Vec<u8>,
    /// The address.
    pub email: Vec<u8>,
    /// Seconds since the Unix epoch.
    pub seconds: i64,
    /// Minutes east of UTC.
    pub offset: i32,
}

impl Signature {
    /// A signature at `+0000`. `<`, `>` and control characters are removed; an empty name becomes `aios`.
    pub fn new(name: &str, email: &str, seconds: i64) -> Self {
        let clean = |text: &str| -> String {
            text.chars().filter(|c| !matches!(c, '<' | '>') && !c.is_control()).collect()
        };
        let mut name = clean(name);
        if name.is_empty() {
            name.push_str("aios");
        }
        Signature { name: name.into_bytes(), email: clean(email).into_bytes(), seconds, offset: 0 }
    }

    /// `NAME <EMAIL> SECONDS ZONE`.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs();
        let mut out = self.name.clone();
        out.extend_from_slice(b" <");
        out.extend_from_slice(&self.email);
        let zone = format!("> {} {sign}{:02}{:02}", self.seconds, minutes / 60, minutes % 60);
        out.extend_from_slice(zone.as_bytes());
        out
    }

    /// Reads a line leniently, as git does: what cannot be read becomes empty or zero.
    fn parse(line: &[u8]) -> Self {
        let open = line.iter().position(|&b| b == b'<');
        let close = line.iter().rposition(|&b| b == b'>');
        let (name, email, rest) = match (open, close) {
            (Some(open), Some(close)) if open < close => {
                (&line[..open], &line[open + 1..close], &line[close + 1..])
            }
            _ => (line, &b""[..], &b""[..]),
        };
        let rest = String::from_utf8_lossy(rest);
        let mut words = rest.split_ascii_whitespace();
        let seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let zone: i32 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let offset = (zone / 100).saturating_mul(60).saturating_add(zone % 100);
        Signature { name: name.trim_ascii_end().to_vec(), email: email.to_vec(), seconds, offset }
    }
}

/// A commit's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The root tree.
    pub tree: Oid,
    /// The parents, in order.
    pub parents: Vec<Oid>,
    /// Who wrote it.
    pub author: Signature,
    /// Who committed it.
    pub committer: Signature,
    /// The value of the `encoding` header, if there is one; else names and message are UTF-8.
    pub encoding: Option<Vec<u8>>,
    /// All bytes after the headers.
    pub message: Vec<u8>,
}

impl Commit {
    /// The raw commit object, without git's object header.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("tree {}\n", self.tree).into_bytes();
        for parent in &self.parents {
            out.extend_from_slice(format!("parent {parent}\n").as_bytes());
        }
        let mut line = |key: &[u8], value: &[u8]| {
            for part in [key, b" ", value, b"\n"] {
                out.extend_from_slice(part);
            }
        };
        line(b"author", &self.author.to_bytes());
        line(b"committer", &self.committer.to_bytes());
        if let Some(encoding) = &self.encoding {
            line(b"encoding", encoding);
        }
        out.push(b'\n');
        out.extend_from_slice(&self.message);
        out
    }

    /// Reads a raw commit, `oid` being its id. Headers that are not needed (`gpgsig`, `mergetag`, unknown ones) are passed
    /// over, so [`Commit::to_bytes`] gives the same bytes back only for a commit that has none: keep the raw bytes too.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it has no tree, or an id that is none.
    pub fn parse(oid: Oid, raw: &[u8]) -> Result<Self, Error> {
        let bad = |why| Error::Malformed { kind: ObjectType::Commit, oid, why };
        let id = |value: &[u8]| {
            let text = std::str::from_utf8(value).map_err(|_| bad("an id is not hex"))?;
            if text.len() != 40 {
                return Err(bad("an id is not 40 characters long"));
            }
            Oid::from_str(text).map_err(|_| bad("an id is not hex"))
        };
        let (mut tree, mut author, mut committer) = (None, None, None);
        let (mut parents, mut encoding) = (Vec::new(), None);
        let mut rest = raw;
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or(&[]);
            if line.is_empty() {
                break;
            }
            let space = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
            let value = line.get(space + 1..).unwrap_or(&[]);
            match &line[..space] {
                b"tree" if tree.is_none() => tree = Some(id(value)?),
                b"parent" => parents.push(id(value)?),
                b"author" if author.is_none() => author = Some(Signature::parse(value)),
                b"committer" if committer.is_none() => committer = Some(Signature::parse(value)),
                b"encoding" if encoding.is_none() => encoding = Some(value.to_vec()),
                _ => {}
            }
        }
        let author = author.ok_or_else(|| bad("it has no author"))?;
        Ok(Commit {
            tree: tree.ok_or_else(|| bad("it has no tree"))?,
            parents,
            committer: committer.unwrap_or_else(|| author.clone()),
            author,
            encoding,
            message: rest.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::{git, repository};
    use crate::git::{Loose, MAIN, Objects, object_id, set_ref};

    #[test]
    fn bytes_are_those_of_git() {
        let (dir, repo) = repository();
        let mut objects = Loose::new(&repo, true).unwrap();
        let tree = objects.write(ObjectType::Tree, &[]).unwrap();
        let author = Signature::new("Zoë <\u{7}X>", "z@x", 1_700_000_000);
        let commit = Commit {
            tree,
            parents: vec![],
            committer: author.clone(),
            author: author.clone(),
            encoding: None,
            message: b"Change\n\nAios-Record: 1\n".to_vec(),
        };
        let raw = commit.to_bytes();
        let id = objects.write(ObjectType::Commit, &raw).unwrap();
        assert_eq!(id, object_id(ObjectType::Commit, &raw).unwrap());
        assert_eq!(Commit::parse(id, &raw).unwrap(), commit);
        set_ref(&repo, MAIN, id, None, &author, "first\nline").unwrap();
        git(dir.path(), &["fsck", "--strict"]);
        if let Some(out) = git(dir.path(), &["log", "-g", "--format=%H %an <%ae> %at %gs", "HEAD"]) {
            assert_eq!(out, format!("{id} Zoë X <z@x> 1700000000 first line\n"));
        }
        assert_eq!(Signature::new("<>", "", 0).name, b"aios");
    }

    #[test]
    fn foreign_headers_and_damage_are_survived() {
        let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let raw = format!(
            "tree {tree}\nparent {tree}\nauthor A B <a@b> 5 -0330\ncommitter C 9\nencoding latin1\n\
             gpgsig -----BEGIN\n \n tree x\n -----END\n\nHi\n\nthere"
        );
        let commit = Commit::parse(Oid::ZERO_SHA1, raw.as_bytes()).unwrap();
        assert_eq!(commit.parents.len(), 1);
        assert_eq!((commit.author.seconds, commit.author.offset), (5, -210));
        assert_eq!(commit.author.to_bytes(), b"A B <a@b> 5 -0330");
        assert_eq!(commit.encoding.as_deref(), Some(&b"latin1"[..]));
        assert_eq!(commit.message, b"Hi\n\nthere");
        for cut in 0..raw.len() {
            let _ = Commit::parse(Oid::ZERO_SHA1, &raw.as_bytes()[..cut]);
        }
        for bad in ["", "tree x\n\n", "author A <> 0 +0000\n\nx"] {
            assert!(Commit::parse(Oid::ZERO_SHA1, bad.as_bytes()).is_err());
        }
    }
}
