//! The page `docs/merging.md` as data: its cases, what is done in them on which device, and the exact outcome.
//!
//! A case is a `##` heading and fenced blocks, told apart by their info strings:
//!
//! - `sh before`: run on the first device; then everybody syncs. `sh DEVICE`: run on that device while all are apart; then
//!   each device commits, in the order of [`DEVICES`], and everybody syncs. `sh DEVICE after`: likewise, once more.
//! - `text after PATH`: the bytes of a file then, in every replica. `\r` stands for a carriage return, `\0` for a zero byte,
//!   `*` in the path for six hex digits. `PATH or PATH` where it is not certain which. The flags `no-newline`, `executable`
//!   and `link` may follow. `text or`: what the file of the block before may hold instead.
//! - `text gone`: paths that must not exist. `conflicts`: a line `KIND PATH` or `KIND PATH KEY` each.
//!
//! Files and conflicts that the page does not name must not be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The devices of the page, in the order in which they joined.
pub const DEVICES: [&str; 3] = ["laptop", "phone", "worker"];

/// One case.
#[derive(Debug, Default)]
pub struct Case {
    /// Its heading.
    pub title: String,
    /// The folder it happens in, made from the heading.
    pub folder: String,
    /// What happens, in order; the first prepares the first device.
    pub rounds: Vec<Round>,
}

/// What is done while the devices are apart, and the outcome once they have synced.
#[derive(Debug, Default)]
pub struct Round {
    /// Device, by its place in [`DEVICES`], and shell script.
    pub steps: Vec<(usize, String)>,
    /// The files, all of them, if there are any.
    pub files: Vec<Expected>,
    /// Paths that must not exist.
    pub gone: Vec<String>,
    /// Conflicts, all of them, as lines.
    pub conflicts: BTreeSet<String>,
}

/// A file that must be there.
#[derive(Debug)]
pub struct Expected {
    /// Where: at one of these.
    pub paths: Vec<String>,
    /// What: one of these, all of one sort.
    pub files: Vec<File>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its bytes, or the target of a link.
    pub bytes: Vec<u8>,
    /// `executable`, `link` or empty.
    pub sort: String,
}

/// Takes a page apart.
///
/// # Errors
/// With the line, for a block that does not follow the rules above.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case {
                title: title.to_owned(),
                folder: folder(title),
                rounds: vec![Round::default()],
            });
        }
        let Some(info) = line.strip_prefix("```") else { continue };
        let content: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let block = content.iter().map(|line| format!("{line}\n")).collect::<String>();
        let Some(case) = cases.last_mut() else { continue };
        case.take(info, block).ok_or_else(|| format!("line {}: no block of a case: `{info}`", number + 1))?;
    }
    cases.retain(|case| case.rounds.len() > 1);
    Ok(cases)
}

/// A heading as a folder name.
fn folder(title: &str) -> String {
    let words: Vec<&str> =
        title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("-").to_lowercase()
}

impl Case {
    fn take(&mut self, info: &str, block: String) -> Option<()> {
        let words: Vec<&str> = info.split(' ').collect();
        match words[..] {
            ["sh", "before"] => self.rounds.first_mut()?.steps.push((0, block)),
            ["sh", device, ref rest @ ..] => {
                if self.rounds.len() == 1 || rest == ["after"] {
                    self.rounds.push(Round::default());
                }
                let device = DEVICES.iter().position(|name| *name == device)?;
                self.rounds.last_mut()?.steps.push((device, block));
            }
            ["text", "after", path, ref rest @ ..] => {
                let mut paths = vec![path.to_owned()];
                let mut rest = rest.iter();
                let (mut text, mut sort) = (block, String::new());
                while let Some(word) = rest.next() {
                    match *word {
                        "or" => paths.push((*rest.next()?).to_owned()),
                        "no-newline" => text.truncate(text.len().checked_sub(1)?),
                        "executable" | "link" => sort = (*word).to_owned(),
                        _ => return None,
                    }
                }
                let files = vec![File { bytes: unescaped(&text), sort }];
                self.rounds.last_mut()?.files.push(Expected { paths, files });
            }
            ["text", "or"] => {
                let files = &mut self.rounds.last_mut()?.files.last_mut()?.files;
                let sort = files.first()?.sort.clone();
                files.push(File { bytes: unescaped(&block), sort });
            }
            ["text", "gone"] => self.rounds.last_mut()?.gone.extend(block.lines().map(str::to_owned)),
            ["conflicts"] => self.rounds.last_mut()?.conflicts.extend(block.lines().map(str::to_owned)),
            _ => return None,
        }
        Some(())
    }
}

impl Round {
    /// Runs what the page does on one device, in `folder`.
    ///
    /// # Errors
    /// The script, when it fails.
    pub fn run(&self, device: usize, folder: &Path) -> Result<(), String> {
        for (_, script) in self.steps.iter().filter(|(at, _)| *at == device) {
            std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
            let done = Command::new("sh").args(["-e", "-c", script]).current_dir(folder).status();
            if !done.is_ok_and(|status| status.success()) {
                return Err(format!("in {}: {script}", folder.display()));
            }
        }
        Ok(())
    }

    /// Whether the page says what must be there after this round.
    pub fn is_checked(&self) -> bool {
        !self.files.is_empty() || !self.gone.is_empty()
    }

    /// What differs from the page, given the files and conflicts that are there; nothing if all is well.
    pub fn differences(&self, found: &BTreeMap<String, File>, conflicts: &BTreeSet<String>) -> Vec<String> {
        let mut out = Vec::new();
        let mut met: BTreeSet<&str> = BTreeSet::new();
        for Expected { paths, files } in &self.files {
            let at = found
                .iter()
                .find(|(path, there)| paths.iter().any(|shape| fits(path, shape)) && files.contains(there));
            match at {
                Some((path, _)) => _ = met.insert(path),
                None => {
                    let files: Vec<String> = files.iter().map(show).collect();
                    out.push(format!("lacks {} with {}", paths.join(" or "), files.join(" or ")));
                }
            }
        }
        out.extend(
            found
                .iter()
                .filter(|(path, _)| !met.contains(path.as_str()))
                .map(|(path, file)| format!("has {path} with {}", show(file))),
        );
        out.extend(
            self.gone
                .iter()
                .filter(|path| found.contains_key(*path))
                .map(|path| format!("{path} is still there")),
        );
        let listed = |line: &String| self.conflicts.iter().any(|shape| fits(line, shape));
        out.extend(
            conflicts.iter().filter(|line| !listed(line)).map(|line| format!("has conflict `{line}`")),
        );
        let there = |shape: &String| conflicts.iter().any(|line| fits(line, shape));
        out.extend(
            self.conflicts
                .iter()
                .filter(|shape| !there(shape))
                .map(|line| format!("lacks conflict `{line}`")),
        );
        out
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    text.replace("\\r", "\r").replace("\\0", "\0").into_bytes()
}

fn show(file: &File) -> String {
    format!("{:?} {}", String::from_utf8_lossy(&file.bytes), file.sort)
}

/// Whether a path is of a shape in which `*` stands for six hex digits.
fn fits(path: &str, shape: &str) -> bool {
    let Some((before, after)) = shape.split_once('*') else { return path == shape };
    let middle = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    middle.is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Every file and link below `folder`, by path.
///
/// # Errors
/// When the disk fails.
pub fn files(folder: &Path) -> std::io::Result<BTreeMap<String, File>> {
    let mut out = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&at) else { continue };
        for entry in entries {
            let path = entry?.path();
            let found = std::fs::symlink_metadata(&path)?;
            if found.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            let file = match found.is_symlink() {
                true => File {
                    bytes: format!("{}\n", std::fs::read_link(&path)?.display()).into_bytes(),
                    sort: "link".into(),
                },
                false => File {
                    bytes: std::fs::read(&path)?,
                    sort: if is_executable(&found) { "executable".into() } else { String::new() },
                },
            };
            out.insert(name, file);
        }
    }
    Ok(out)
}

fn is_executable(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    found.permissions().mode() & 0o100 != 0
}
