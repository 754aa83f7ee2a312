//! Making a vault, and making a folder a replica of one.

use std::path::Path;

use aios_core::authority::Authority;
use aios_core::event::Event;
use aios_core::id::{DeviceId, VaultId};
use aios_core::item::Item;
use aios_core::phrase::Phrase;

use crate::absorb::{AbsorbOptions, Absorbed};
use crate::accept::{is_gated, is_rules};
use crate::author::Draft;
use crate::disk::{self, Lock, RuleSource, Rules, Scan, durable};
use crate::error::Error;
use crate::keys::Keys;
use crate::layout::{FORMAT, Layout, Replica};
use crate::vault::{PATIENCE, Progress, Vault};
use crate::{db, git, place, recovery};

/// The roles of the device that makes a vault.
pub const MAKER_ROLES: [&str; 6] = ["write", "carry", "approve", "coordinate", "credentials", "administer"];

/// How to make a vault.
#[derive(Debug, Clone, Default)]
pub struct NewVault {
    /// The vault's name; the folder's where absent.
    pub name: Option<String>,
    /// The device's name; the machine's where absent.
    pub device: Option<String>,
    /// The recovery phrase from which the root key follows; without one nobody has a way back who has lost all devices.
    pub phrase: Option<Phrase>,
    /// Whether what is written is encrypted for those who may read it.
    pub sealed: bool,
    /// Gated files that were put there by somebody else than the operator: they are in force only once accepted (I11).
    pub waiting: std::collections::BTreeSet<String>,
}

/// The branch of the repository at `root` that goes on as `main` when it becomes a vault, if it is another one.
pub fn branch_before(root: &Path) -> Option<String> {
    let repo = git2::Repository::open(root).ok()?;
    match git::state(&repo).ok()? {
        git::State::OtherBranch(name) if git::read_ref(&repo, &name).ok()?.is_some() => {
            Some(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned())
        }
        _ => None,
    }
}

/// Whether the last commit in a folder is one that aios made: a clone of what a vault published.
pub fn published_by_a_vault(root: &Path) -> bool {
    let repo = git2::Repository::open(root).ok();
    let last = repo.as_ref().and_then(|repo| repo.head().ok()?.peel_to_commit().ok());
    last.is_some_and(|commit| !crate::held::named(commit.message_bytes()).is_empty())
}

/// Files that decide what is gated: path and bytes of each.
type RuleTexts = Vec<(String, Vec<u8>)>;

impl Vault {
    /// Makes `root` a vault, importing the files and the git history in it.
    ///
    /// # Errors
    /// For a folder that [`place::check`] refuses, before anything is made.
    pub fn create(root: &Path, new: &NewVault, progress: Progress<'_>) -> Result<(Vault, Absorbed), Error> {
        place::check(root)?;
        std::fs::create_dir_all(root).map_err(|e| Error::io("make", root, e))?;
        let root = &std::fs::canonicalize(root).map_err(|e| Error::io("use", root, e))?;
        let layout = Layout::new(root);
        let own = layout.own();
        if own.join("replica.json").exists() {
            return Self::resume(layout, new, progress);
        }
        if crate::mirror::exists(root) {
            return Err(Error::LostReplica(root.clone()));
        }
        let repo = git::open_or_init(root)?;
        if new.sealed && repo.head().is_ok() {
            return Err(Error::Usage(
                "git history that is there already cannot be sealed: move `.git` away first, or make the vault without --sealed".into(),
            ));
        }
        take_main(&repo)?;
        std::fs::create_dir_all(&own).map_err(|e| Error::io("make", &own, e))?;
        let lock = Lock::take(&layout.lock(), PATIENCE)?;
        let keys = Keys::create(true)?;
        let name = new.name.clone().unwrap_or_else(|| folder_name(root));
        let (replica, nonce) = begin(&layout, keys.device.public(), name, new)?;
        let db = db::open(&layout.database())?;
        let mut vault = Vault::assemble(layout, replica, keys, db, lock)?;
        let absorbed = vault.found(new, &nonce, progress)?;
        Ok((vault, absorbed))
    }

    /// Goes on with a vault whose making was cut short before its first record.
    fn resume(layout: Layout, new: &NewVault, progress: Progress<'_>) -> Result<(Vault, Absorbed), Error> {
        let root = layout.root().to_owned();
        let begun = std::fs::read_to_string(layout.own().join("nonce")).unwrap_or_default();
        let mut vault = Self::open_layout(layout, PATIENCE)?;
        let own = begun.lines().any(|line| made(&vault.device(), line) == Some(vault.id()));
        if !vault.view().is_empty() || !own {
            return Err(Error::AlreadyAVault(root));
        }
        // Its phrase was told to nobody: it becomes a vault with another.
        let name = new.name.clone().unwrap_or_else(|| folder_name(&root));
        let (replica, nonce) = begin(&vault.layout, vault.device(), name, new)?;
        vault.authority = std::sync::Arc::new(Authority::new(replica.vault));
        vault.replica = replica;
        let absorbed = vault.found(new, &nonce, progress)?;
        Ok((vault, absorbed))
    }

    /// Writes the first record: the vault, its member, the history beneath, and the files there are.
    fn found(&mut self, new: &NewVault, nonce: &str, progress: Progress<'_>) -> Result<Absorbed, Error> {
        let Some(operator) = self.operator()? else { return Err(Error::NoOperator("make a vault")) };
        let device_name = new.device.clone().unwrap_or_else(machine_name);
        let (vault, place) = (self.replica.vault, self.next_place()?);
        let root = new.phrase.as_ref().map(Phrase::root_key);
        let mut draft = Draft::operator("Begin the vault");
        draft.push(Item::Event(Event::VaultCreated {
            name: self.replica.name.clone(),
            nonce: nonce.to_owned(),
            device_name,
            operator: operator.public(),
            roles: MAKER_ROLES.map(str::to_owned).to_vec(),
            root: root.as_ref().map(|root| recovery::named(&vault, root, place)),
        }));
        if new.sealed {
            // In a record of its own: whoever carries the vault has to read who made it.
            draft.push(Item::Event(self.first_epoch(root.map(|root| root.public()).as_ref())?));
            let begin = std::mem::replace(&mut draft, Draft::operator("Begin the vault"));
            self.transaction(|vault| vault.author_records(begin).map(drop))?;
        }
        let (rules, texts, mut scan) = self.rules_on_disk()?;
        for (path, bytes) in texts.iter().filter(|(path, _)| !new.waiting.contains(path)) {
            draft.push(self.acceptance(&draft, path, &aios_core::id::ContentHash::of(bytes))?);
        }
        git::write_excludes(&self.repo, rules.exclude())?;
        if let Some(tip) = git::read_ref(&self.repo, git::MAIN)? {
            self.keep_history(tip)?;
            draft.push(Item::History { tip: crate::project::git_id(&tip) });
            db::set_meta(&self.db, "main", tip.as_bytes())?;
        }
        self.add_tracked(&mut scan)?;
        let files = self.files()?;
        let survey = self.survey_scan(scan, &files, Vec::new(), false, progress)?;
        let mut out = Absorbed::default();
        self.transaction(|vault| {
            vault.absorb_into(draft, survey, &AbsorbOptions::default(), &mut out)?;
            vault.refresh(progress)
        })?;
        Ok(out)
    }

    /// The ignore rules as the files on disk have them, and what there is under them, for the import: whoever makes a vault accepts what is there.
    fn rules_on_disk(&self) -> Result<(Rules, RuleTexts, Scan), Error> {
        let mut texts = RuleTexts::new();
        let mut unread = std::collections::HashSet::new();
        loop {
            let ignoring: Vec<(&str, std::borrow::Cow<'_, str>)> = texts
                .iter()
                .filter(|(path, _)| is_rules(path))
                .map(|(path, bytes)| (path.as_str(), String::from_utf8_lossy(bytes)))
                .collect();
            let sources: Vec<RuleSource<'_>> =
                ignoring.iter().map(|(path, text)| RuleSource { path, text }).collect();
            let rules = Rules::new(&sources);
            let scan = disk::scan::scan(self.root(), &rules);
            let known: std::collections::HashSet<&str> =
                texts.iter().map(|(path, _)| path.as_str()).collect();
            let mut more = Vec::new();
            for found in scan
                .entries
                .iter()
                .filter(|found| is_gated(&found.path) && !known.contains(found.path.as_str()))
                .filter(|found| !unread.contains(&found.path))
                .collect::<Vec<_>>()
            {
                let read = disk::read::read(self.writer.root(), &found.path, disk::read::LARGE);
                match read.map(|read| read.content) {
                    Ok(disk::Content::Bytes(bytes)) => {
                        more.push((found.path.clone(), bytes));
                    }
                    // No one could know what unread rules hide; the import names any other file that it cannot read.
                    Err(e) if is_rules(&found.path) => return Err(e.into()),
                    Ok(_) | Err(_) => {
                        unread.insert(found.path.clone());
                    }
                }
            }
            if more.is_empty() {
                // What this scan could not see it says; another might see it, and import what rules in it would hide.
                return Ok((rules, texts, scan));
            }
            texts.extend(more);
        }
    }

    /// Adds what git tracks although a rule hides it: rules never remove a file.
    fn add_tracked(&self, scan: &mut disk::Scan) -> Result<(), Error> {
        let known: std::collections::HashSet<String> =
            scan.entries.iter().map(|found| found.path.clone()).collect();
        for (path, _, _) in git::Index::read(&self.repo)?.iter() {
            let Ok(path) = std::str::from_utf8(path) else { continue };
            if !known.contains(path)
                && let Ok(Some(found)) = disk::scan::look(self.writer.root(), path)
            {
                scan.entries.push(found);
            }
        }
        scan.entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        Ok(())
    }

    /// Makes `root` a replica of a vault, as the device of `keys`; nothing is in it before the first sync.
    ///
    /// # Errors
    /// For a folder that [`place::check`] refuses, before anything is made.
    pub fn replicate(root: &Path, vault: VaultId, name: &str, keys: Keys) -> Result<Vault, Error> {
        place::check(root)?;
        std::fs::create_dir_all(root).map_err(|e| Error::io("make", root, e))?;
        let root = &std::fs::canonicalize(root).map_err(|e| Error::io("use", root, e))?;
        let layout = Layout::new(root);
        if layout.own().join("replica.json").exists() {
            let here = layout.replica()?;
            if here.vault != vault {
                return Err(Error::AlreadyAVault(root.clone()));
            }
            return Self::open_layout(layout, PATIENCE);
        }
        let repo = git::open_or_init(root)?;
        take_main(&repo)?;
        let own = layout.own();
        std::fs::create_dir_all(&own).map_err(|e| Error::io("make", &own, e))?;
        let lock = Lock::take(&layout.lock(), PATIENCE)?;
        let replica = Replica { format: FORMAT, vault, device: keys.device.public(), name: name.to_owned() };
        let db = db::open(&layout.database())?;
        if let Some(tip) = git::read_ref(&repo, git::MAIN)? {
            // `main` will be the vault's: what the folder had committed is kept beside it.
            keep_aside(&repo, tip)?;
            db::set_meta(&db, "main", tip.as_bytes())?;
        }
        // Last: a folder that is a replica and does not know what it had committed would hand it to all.
        layout.write_replica(&replica)?;
        Vault::assemble(layout, replica, keys, db, lock)
    }
}

/// Notes what the vault's id is made with, then which replica the folder is. Whoever is killed in between begins anew.
fn begin(
    layout: &Layout,
    device: DeviceId,
    name: String,
    new: &NewVault,
) -> Result<(Replica, String), Error> {
    let nonce = data_encoding::HEXLOWER.encode(&crate::chance::random()?[..16]);
    let root = new.phrase.as_ref().map(|phrase| phrase.root_key().public());
    let path = layout.own().join("nonce");
    let mut begun = std::fs::read_to_string(&path).unwrap_or_default();
    begun.push_str(&format!("{nonce} {}\n", root.map(|root| root.hex()).unwrap_or_default()));
    durable::replace(&path, begun.as_bytes())?;
    let vault = VaultId::of(&device, &nonce, root.as_ref());
    let replica = Replica { format: FORMAT, vault, device, name };
    layout.write_replica(&replica)?;
    Ok((replica, nonce))
}

/// The vault that `device` made with what was noted.
fn made(device: &DeviceId, noted: &str) -> Option<VaultId> {
    let (nonce, root) = noted.split_once(' ')?;
    let root = match root {
        "" => None,
        root => Some(root.parse().ok()?),
    };
    Some(VaultId::of(device, nonce, root.as_ref()))
}

/// The ref that keeps commits which are not the vault's on this device.
fn set_aside(tip: &git2::Oid) -> String {
    format!("{}{tip}", git::ASIDE_PREFIX)
}

/// Keeps commits that are not the vault's, such as those of a folder that becomes a replica. Gives the ref.
pub(crate) fn keep_aside(repo: &git2::Repository, tip: git2::Oid) -> Result<String, Error> {
    let name = set_aside(&tip);
    if git::read_ref(repo, &name)?.is_none() {
        let by = git::Signature::new("aios", "aios@localhost", (crate::chance::now_ms() / 1000) as i64);
        git::set_ref(repo, &name, tip, None, &by, "aios")?;
    }
    Ok(name)
}

/// Where the commits of a folder will be kept that is to become a replica, if it has any on the branch that HEAD is on.
pub fn kept_aside(root: &Path) -> Option<String> {
    let repo = git2::Repository::open(root).ok()?;
    let tip = repo.head().ok()?.target()?;
    Some(set_aside(&tip))
}

/// Sees to it that HEAD is on `main`: a repository on a branch of another name goes on from there under that name.
fn take_main(repo: &git2::Repository) -> Result<(), Error> {
    match git::state(repo)? {
        git::State::Normal => Ok(()),
        git::State::OtherBranch(name) if git::read_ref(repo, git::MAIN)?.is_none() => {
            if let Some(tip) = git::read_ref(repo, &name)? {
                let by = git::Signature::new("aios", "aios@localhost", 0);
                git::set_ref(repo, git::MAIN, tip, None, &by, "aios")?;
            }
            repo.set_head(git::MAIN).map_err(crate::vault::git_error)
        }
        other => Err(Error::Paused(format!("git is not on branch main ({other:?})"))),
    }
}

/// What a vault is called that was given no name.
pub(crate) fn folder_name(root: &Path) -> String {
    root.file_name().map_or_else(|| "vault".into(), |name| name.to_string_lossy().into_owned())
}

/// The machine's name, for a device that was given none.
pub fn machine_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    match name.split('.').next() {
        Some(short) if !short.is_empty() => short.to_owned(),
        _ => "device".into(),
    }
}
