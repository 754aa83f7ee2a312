//! Which remotes this device has: a small file in `.aios`, of this device alone.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use aios_vault::disk::durable;
use aios_vault::layout::Layout;
use serde::{Deserialize, Serialize};

use super::RemoteError;

/// The format of the file that this program writes.
const FORMAT: u32 = 1;

/// What a remote is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A folder of files.
    Folder,
    /// A git repository.
    Git,
}

/// A remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it is: an absolute path, or an address that git knows.
    pub url: String,
    /// Things that look like secrets and may be published there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed: BTreeSet<String>,
}

impl Remote {
    /// Where it is, without what may be a secret: a token can stand where a user's name does.
    pub fn shown(&self) -> String {
        let Some((scheme, rest)) =
            self.url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))
        else {
            return self.url.clone();
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
    }

    /// A remote at `url`, for somebody who has no vault yet. What it is follows from `url` unless `kind` says so.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn anywhere(name: &str, url: &str, kind: Option<Kind>) -> Result<Remote, RemoteError> {
        let kind = kind.unwrap_or_else(|| kind_of(url));
        let url = match kind {
            Kind::Git if is_address(url) => checked_address(url)?,
            _ => text_of(&existing(url, kind)?)?,
        };
        Ok(Remote { name: name.to_owned(), kind, url, allowed: BTreeSet::new() })
    }
}

/// The remotes of a device, as `.aios/remotes.json` has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remotes {
    format: u32,
    remotes: Vec<Remote>,
    #[serde(skip)]
    root: PathBuf,
}

impl Remotes {
    /// Those of the vault at `root`.
    ///
    /// # Errors
    /// [`RemoteError::Config`].
    pub fn load(root: &Path) -> Result<Self, RemoteError> {
        let path = path(root);
        let bad = |why: String| RemoteError::Config { path: path.clone(), why };
        let mut out = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Remotes>(&text).map_err(|e| bad(e.to_string()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Remotes { format: FORMAT, remotes: Vec::new(), root: PathBuf::new() }
            }
            Err(e) => return Err(bad(e.to_string())),
        };
        if out.format > FORMAT {
            return Err(bad("a newer aios wrote it; upgrade aios on this device".into()));
        }
        root.clone_into(&mut out.root);
        Ok(out)
    }

    /// All of them, in the order in which they were added.
    pub fn all(&self) -> &[Remote] {
        &self.remotes
    }

    /// The one of this name.
    pub fn find(&self, name: &str) -> Option<&Remote> {
        self.remotes.iter().find(|remote| remote.name == name)
    }

    /// Adds one, durably. What it is follows from `url` unless `kind` says so; `devices` are the names that members have.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn add(
        &mut self,
        name: &str,
        url: &str,
        kind: Option<Kind>,
        devices: &[String],
    ) -> Result<Remote, RemoteError> {
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 32 || !name.chars().all(sound) || name.starts_with(['-', '.']) {
            return Err(RemoteError::Name(name.escape_debug().to_string()));
        }
        // Its name is that of a file too, and there are disks that do not tell case.
        if self.remotes.iter().any(|remote| remote.name.eq_ignore_ascii_case(name)) {
            return Err(RemoteError::Taken(name.to_owned()));
        }
        if devices.iter().any(|device| device.eq_ignore_ascii_case(name)) {
            return Err(RemoteError::Device(name.to_owned()));
        }
        let kind = kind.unwrap_or_else(|| kind_of(url));
        let url = match kind {
            Kind::Git if is_address(url) => checked_address(url)?,
            _ => self.checked_path(url, kind)?,
        };
        if let Some(same) = self.remotes.iter().find(|remote| remote.url == url) {
            return Err(RemoteError::Same { name: same.name.clone(), url });
        }
        let remote = Remote { name: name.to_owned(), kind, url, allowed: BTreeSet::new() };
        self.remotes.push(remote.clone());
        self.save()?;
        Ok(remote)
    }

    /// Takes one away, durably. What it holds stays there.
    ///
    /// # Errors
    /// [`RemoteError::Unknown`]; what the disk answers.
    pub fn remove(&mut self, name: &str) -> Result<Remote, RemoteError> {
        let Some(at) = self.remotes.iter().position(|remote| remote.name == name) else {
            return Err(RemoteError::Unknown(name.to_owned()));
        };
        let removed = self.remotes.remove(at);
        self.save()?;
        Ok(removed)
    }

    /// Lets these be published to a remote, durably.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn allow(&mut self, name: &str, found: impl IntoIterator<Item = String>) -> Result<(), RemoteError> {
        if let Some(remote) = self.remotes.iter_mut().find(|remote| remote.name == name) {
            remote.allowed.extend(found);
        }
        self.save()
    }

    fn save(&self) -> Result<(), RemoteError> {
        let path = path(&self.root);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| RemoteError::Config { path: path.clone(), why: e.to_string() })?;
        Ok(durable::replace(&path, &text)?)
    }

    fn checked_path(&self, url: &str, kind: Kind) -> Result<String, RemoteError> {
        let path = existing(url, kind)?;
        let root = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        if path.starts_with(&root) {
            return Err(RemoteError::Inside(path));
        }
        if root.starts_with(&path) {
            return Err(RemoteError::Around(path));
        }
        text_of(&path)
    }
}

/// The folder at `url`, if it is one of that kind.
fn existing(url: &str, kind: Kind) -> Result<PathBuf, RemoteError> {
    let given = Path::new(url);
    let path = std::fs::canonicalize(given).map_err(|_| RemoteError::Nothing(plain(given)))?;
    if !path.is_dir() {
        return Err(RemoteError::Nothing(path));
    }
    // A folder with a clone in it is meant as a repository, and cannot be pushed to.
    if (kind == Kind::Git || path.join(".git").exists()) && !is_bare(&path) {
        return Err(RemoteError::NotBare(path));
    }
    Ok(path)
}

fn text_of(path: &Path) -> Result<String, RemoteError> {
    path.to_str().map(str::to_owned).ok_or_else(|| RemoteError::Address(path.display().to_string()))
}

fn path(root: &Path) -> PathBuf {
    Layout::new(root).own().join("remotes.json")
}

/// An absolute path without `.` and `..`, for what does not exist.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::ParentDir => _ = out.pop(),
            other => out.push(other),
        }
    }
    out
}

/// What the remote at `url` is, unless somebody says so.
pub fn kind_of(url: &str) -> Kind {
    let path = Path::new(url);
    if is_address(url) || url.trim_end_matches('/').ends_with(".git") || is_bare(path) {
        return Kind::Git;
    }
    Kind::Folder
}

/// Whether it is an address that only git can reach.
fn is_address(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if let Some(scheme) = scheme {
        return matches!(scheme, "ssh" | "git+ssh" | "https" | "http" | "git" | "file");
    }
    // user@host:path, as ssh writes it: a colon before the first slash.
    let host = url.split('/').next().unwrap_or_default();
    !url.starts_with(['.', '/']) && host.split_once(':').is_some_and(|(host, _)| host.len() > 1)
}

/// Whether a bare git repository lies at `path`.
fn is_bare(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

fn checked_address(url: &str) -> Result<String, RemoteError> {
    let bad = || RemoteError::Address(url.escape_debug().to_string());
    // A leading dash is an option to git, and `::` names a program that is run.
    if url.starts_with('-') || url.contains("::") || url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(bad());
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(url.to_owned()) };
    let host = rest.split('/').next().unwrap_or_default();
    if host.starts_with('-') || (host.is_empty() && scheme != "file") {
        return Err(bad());
    }
    let user = host.rsplit_once('@').map(|(user, _)| user);
    match user.is_some_and(|user| user.contains(':')) {
        true => Err(RemoteError::Password),
        false => Ok(url.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let bare = dir.path().join("bare");
        for part in ["objects", "refs"] {
            std::fs::create_dir_all(bare.join(part)).unwrap();
        }
        std::fs::write(bare.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        for git in
            ["ssh://h/x", "https://h/x", "git@h:x", "host:x", "file:///x", "x.git", bare.to_str().unwrap()]
        {
            assert_eq!(kind_of(git), Kind::Git, "{git}");
        }
        for folder in ["/media/x", "./a:b", "../x", "x", dir.path().to_str().unwrap()] {
            assert_eq!(kind_of(folder), Kind::Folder, "{folder}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for (url, shown) in [
            ("https://ghp_abc@example.org/a/b.git", "https://example.org/a/b.git"),
            ("https://example.org?token=abc", "https://example.org"),
            ("ssh://git@example.org/a", "ssh://git@example.org/a"),
            ("/media/a@b", "/media/a@b"),
        ] {
            let remote =
                Remote { name: "x".into(), kind: Kind::Git, url: url.into(), allowed: BTreeSet::new() };
            assert_eq!(remote.shown(), shown);
        }
    }

    #[test]
    fn what_cannot_be_a_remote_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("vault");
        for part in [".aios", "inside", "../usb", "../work/.git"] {
            std::fs::create_dir_all(root.join(part)).unwrap();
        }
        let mut remotes = Remotes::load(&root).unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        remotes.add("usb", &path("usb"), None, &[]).unwrap();
        let devices = ["phone".to_owned()];
        let mut add = |name: &str, url: &str, kind| remotes.add(name, url, kind, &devices).unwrap_err();
        assert!(matches!(add("USB", &path("usb"), None), RemoteError::Taken(_)));
        assert!(matches!(add("phone", &path("usb"), None), RemoteError::Device(_)));
        assert!(matches!(add("../x", &path("usb"), None), RemoteError::Name(_)));
        assert!(matches!(add("a", &path("vault/inside"), None), RemoteError::Inside(_)));
        assert!(matches!(add("a", &path(""), None), RemoteError::Around(_)));
        assert!(matches!(add("a", &path("none"), None), RemoteError::Nothing(_)));
        assert!(matches!(add("a", &path("work"), Some(Kind::Git)), RemoteError::NotBare(_)));
        assert!(matches!(add("a", "https://me:pw@h/x", None), RemoteError::Password));
        assert!(matches!(add("a", "ssh://-oProxy/x", None), RemoteError::Address(_)));
        assert!(matches!(add("a", "https://h/ x", None), RemoteError::Address(_)));
        let again = Remotes::load(&root).unwrap();
        assert_eq!(again.all().len(), 1);
        assert_eq!((again.all()[0].kind, again.find("usb").is_some()), (Kind::Folder, true));
    }
}
