//! Ignore rules: which files are not documents.
//!
//! The syntax and precedence are git's (gitignore(5)): a deeper file beats a shallower one, a later line an
//! earlier, nothing below an ignored folder can be brought back. From weakest to strongest: the built-in
//! rules, `.gitignore`, `.aiosignore`. Ignore rules keep documents from being created; they never remove one
//! (I2), so the caller asks only about paths it does not know.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

/// What editors, systems and sync programs leave in folders and nobody means to keep.
pub const BUILT_IN: &[&str] = &[
    // Vim; from the eleventh swap file of one file on the names mean something else (`.swf`)
    ".*.sw[g-px]",
    ".sw[g-px]",
    "4913",
    // Emacs and the many that back up in its way
    "*~",
    "\\#*\\#",
    ".\\#*",
    // Kate, JetBrains, GLib, Chrome's and VS Code's web file access, LibreOffice, Microsoft Office
    ".*.kate-swp",
    "*___jb_tmp___",
    "*___jb_old___",
    ".goutputstream-*",
    "*.crswap",
    ".~lock.*\\#",
    "~$*",
    // macOS
    ".DS_Store",
    "._*",
    ".AppleDouble",
    ".Spotlight-V100",
    ".Trashes",
    ".fseventsd",
    ".TemporaryItems",
    "*.sb-????????-??????",
    // Windows
    "[Tt]humbs.db",
    "[Dd]esktop.ini",
    // Linux desktops, NFS, FUSE
    ".Trash-*",
    ".nfs[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*",
    ".fuse_hidden*",
    // Sync programs
    ".syncthing.*.tmp",
    "~syncthing~*",
    ".stfolder",
    ".stversions",
    ".dropbox",
    ".dropbox.attr",
    ".dropbox.cache",
    ".*.icloud",
    // Obsidian's window layout
    "**/.obsidian/workspace*",
    "**/.obsidian/cache",
];

/// The built-in rules, compiled when a name first asks for them: that takes a tenth of a short command.
static LEFT_BEHIND: LazyLock<Gitignore> = LazyLock::new(|| {
    let mut builder = GitignoreBuilder::new("");
    for rule in BUILT_IN {
        // A test sees to it that each is one.
        let _ = builder.add_line(None, rule);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
});

/// Whether a built-in rule may hold for the last component of `path`: what this says no to matches none of them.
fn may_be_left_behind(path: &str) -> bool {
    let name = super::folder::split(path).1;
    path.contains(".obsidian")
        || name.starts_with(['.', '#'])
        || name.contains('~')
        || [".crswap", "___jb_tmp___", "___jb_old___", "humbs.db", "esktop.ini"]
            .iter()
            .any(|end| name.ends_with(end))
        || name.contains(".sb-")
        || name == "4913"
}

/// The text of one ignore file in force.
#[derive(Clone, Copy, Debug)]
pub struct RuleSource<'a> {
    /// The path of the file in the vault; its name must be `.gitignore` or `.aiosignore`.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// A line that is not a rule; the other lines hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The ignore file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

/// The ignore rules of a vault.
#[derive(Clone, Debug)]
pub struct Rules {
    /// By folder (the root is empty), strongest last.
    folders: HashMap<String, Vec<Gitignore>>,
    exclude: Vec<String>,
    problems: Vec<RuleProblem>,
    /// A folder that nothing of may become a document.
    kept_out: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Rules {
    /// The built-in rules and those of `sources`, which may come in any order.
    pub fn new(sources: &[RuleSource<'_>]) -> Self {
        let mut rules =
            Self { folders: HashMap::new(), exclude: Vec::new(), problems: Vec::new(), kept_out: None };
        rules.exclude.extend(BUILT_IN.iter().map(|rule| (*rule).to_owned()));
        let mut sources = sources.to_vec();
        // In a folder `.aiosignore` is stronger than `.gitignore`, so it goes last.
        sources.sort_by_key(|source| {
            let (folder, name) = super::folder::split(source.path);
            (folder, name == ".aiosignore")
        });
        for source in sources {
            let (folder, name) = super::folder::split(source.path);
            rules.add(folder, source.path, source.text);
            if name == ".aiosignore" {
                rules.exclude.extend(source.text.lines().filter_map(|line| anchored(folder, line)));
            }
        }
        rules.exclude.push("/.aios/".to_owned());
        rules
    }

    /// With a folder that nothing of may become a document, whatever the ignore files say.
    pub fn without(mut self, folder: Option<String>) -> Self {
        self.exclude.extend(folder.as_ref().and_then(|folder| anchored(folder, "/")));
        self.kept_out = folder;
        self
    }

    /// Whether `path` is the folder that is kept out.
    pub fn keeps_out(&self, path: &str) -> bool {
        self.kept_out.as_deref() == Some(path)
    }

    fn add(&mut self, folder: &str, path: &str, text: &str) {
        let mut builder = GitignoreBuilder::new("");
        for (at, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            if let Err(e) = builder.add_line(None, line) {
                let problem = format!("{e}; correct the line");
                self.problems.push(RuleProblem { path: path.to_owned(), line: at + 1, problem });
            }
        }
        match builder.build() {
            Ok(set) if set.is_empty() => {}
            Ok(set) => self.folders.entry(folder.to_owned()).or_default().push(set),
            Err(e) => {
                let problem = format!("{e}; no rule of this file holds: make it shorter");
                self.problems.push(RuleProblem { path: path.to_owned(), line: 0, problem });
            }
        }
    }

    /// Whether `path` (in the vault, `/` between components; a folder if `is_dir`) or a folder above it is
    /// ignored.
    pub fn ignored(&self, path: &str, is_dir: bool) -> bool {
        path.match_indices('/').any(|(at, _)| self.ignored_itself(&path[..at], true))
            || self.ignored_itself(path, is_dir)
    }

    /// As [`Rules::ignored`], when no folder above is ignored: what a walk from the root asks.
    pub fn ignored_itself(&self, path: &str, is_dir: bool) -> bool {
        let (mut folder, name) = super::folder::split(path);
        if aios_core::path::reserved(name) || self.keeps_out(path) {
            return true;
        }
        if matches!(name, ".gitignore" | ".aiosignore") && !is_dir {
            return false;
        }
        loop {
            if let Some(sets) = self.folders.get(folder) {
                let below = if folder.is_empty() { path } else { &path[folder.len() + 1..] };
                for set in sets.iter().rev() {
                    match set.matched(Path::new(below), is_dir) {
                        Match::Ignore(_) => return true,
                        Match::Whitelist(_) => return false,
                        Match::None => {}
                    }
                }
            }
            if folder.is_empty() {
                return may_be_left_behind(path) && LEFT_BEHIND.matched(Path::new(path), is_dir).is_ignore();
            }
            folder = super::folder::split(folder).0;
        }
    }

    /// The lines that make git ignore the same files, for `.git/info/exclude`: the built-in rules, those of
    /// every `.aiosignore` anchored at the root, and `.aios` itself. Git reads each `.gitignore` by itself.
    pub fn exclude(&self) -> &[String] {
        &self.exclude
    }

    /// The lines that are not rules.
    pub fn problems(&self) -> &[RuleProblem] {
        &self.problems
    }
}

/// The rule `line` of an ignore file in `folder`, as a rule of the root; `None` for comments and blanks.
fn anchored(folder: &str, line: &str) -> Option<String> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    if line.trim().is_empty() || line.starts_with('#') {
        return None;
    }
    if folder.is_empty() {
        return Some(line.to_owned());
    }
    let (not, rule) = line.strip_prefix('!').map_or(("", line), |rule| ("!", rule));
    let mut prefix = String::new();
    for c in folder.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            prefix.push('\\');
        }
        prefix.push(c);
    }
    let body = rule.trim_end().trim_end_matches('/');
    Some(match rule.strip_prefix('/') {
        Some(rule) => format!("{not}/{prefix}/{rule}"),
        None if body.contains('/') => format!("{not}/{prefix}/{rule}"),
        None => format!("{not}/{prefix}/**/{rule}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_rule_is_one() {
        assert_eq!(LEFT_BEHIND.num_ignores(), BUILT_IN.len() as u64);
    }

    proptest::proptest! {
        #[test]
        fn only_odd_names_are_left_behind(
            folder in "(|a/|\\.obsidian/|a/\\.obsidian/b/|\\.c/)",
            start in "(|a|\\.|#|~|~\\$|_|\\._|\\.#|4913|T|t|D|\\.nfs0123456789abcdef01234567|workspace|cache|\\.~lock\\.)",
            middle in "[a~#.]{0,3}",
            end in "(|~|#|\\.swp|\\.sw|\\.crswap|___jb_tmp___|___jb_old___|humbs\\.db|esktop\\.ini|\\.sb-01234567-abcdef|\\.kate-swp|\\.icloud|\\.json)",
            is_dir: bool,
        ) {
            let path = format!("{folder}{start}{middle}{end}");
            proptest::prop_assume!(!path.ends_with('/') && !path.is_empty());
            let left_behind = LEFT_BEHIND.matched(Path::new(&path), is_dir).is_ignore();
            proptest::prop_assert!(may_be_left_behind(&path) || !left_behind, "{path}");
        }
    }

    #[test]
    fn what_programs_leave_behind_is_ignored_and_documents_are_not() {
        let rules = Rules::default();
        for path in [
            ".a.md.swp",
            "x/.a.md.swo",
            ".a.md.swx",
            "4913",
            "a.md~",
            "x/#a.md#",
            ".#a.md",
            ".DS_Store",
            "x/Thumbs.db",
            ".obsidian/workspace.json",
            "x/.obsidian/workspace-mobile.json",
            ".~lock.a.odt#",
            "a.md.crswap",
            ".goutputstream-X1Y2Z3",
            "a.md___jb_tmp___",
            "a.md___jb_old___",
            ".syncthing.a.md.tmp",
            "~syncthing~a.md.tmp",
            ".a.md.icloud",
            "._a.md",
            "a.md.sb-1a2b3c4d-ABCDEF",
            "~$a.docx",
            ".nfs00000000012c0f3d00000007",
            ".aios/log/x",
            ".git/config",
            "x/.git",
            ".aios",
        ] {
            assert!(rules.ignored(path, false), "{path}");
        }
        for path in [
            "a.md",
            ".obsidian/app.json",
            "workspace.md",
            "4913.md",
            "a.tmp",
            "notes.swp.md",
            "#1 plan.md",
            "# a.md",
            "~.md",
            ".gitignore",
            "x/.aiosignore",
            ".config.swf",
            "a~b.md",
            ".nfs",
            "Icloud/a.icloud.md",
            ".github/x.yml",
        ] {
            assert!(!rules.ignored(path, false), "{path}");
        }
        assert_eq!(rules.problems(), []);
    }

    #[test]
    fn precedence_is_gits() {
        let sources = [
            RuleSource { path: ".aiosignore", text: "!keep.log\n/top.md\n" },
            RuleSource { path: ".gitignore", text: "*.log\nbuild/\n.*\n" },
            RuleSource { path: "a/b/.gitignore", text: "!*.log\nx/y.md\n/only.md\n" },
            RuleSource { path: "a/b/.aiosignore", text: "secret.log\n" },
        ];
        let rules = Rules::new(&sources);
        for (path, ignored) in [
            ("x.log", true),
            ("keep.log", false),
            ("a/keep.log", false),
            ("a/x.log", true),
            ("a/b/x.log", false),
            ("a/b/secret.log", true),
            ("a/b/c/secret.log", true),
            ("build/x.md", true),
            ("a/build/keep.log", true),
            ("build", false),
            ("top.md", true),
            ("a/top.md", false),
            ("a/b/x/y.md", true),
            ("a/b/c/x/y.md", false),
            ("a/b/only.md", true),
            ("a/b/c/only.md", false),
            (".hidden", true),
            (".gitignore", false),
        ] {
            assert_eq!(rules.ignored(path, false), ignored, "{path}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_hold() {
        let rules = Rules::new(&[RuleSource { path: "a/.aiosignore", text: "# c\n*.x\na{b\n*.y\r\n" }]);
        assert_eq!(rules.problems().len(), 1, "{:?}", rules.problems());
        assert_eq!((rules.problems()[0].path.as_str(), rules.problems()[0].line), ("a/.aiosignore", 3));
        assert!(
            rules.ignored("a/1.x", false) && rules.ignored("a/1.y", false) && !rules.ignored("1.x", false)
        );
    }

    #[test]
    fn gits_exclude_gets_nested_rules_anchored() {
        let text = "# note\n*.x\n!b/c\n/d/\n\ne/\n";
        let rules = Rules::new(&[RuleSource { path: "f [1]/.aiosignore", text }]);
        let own: Vec<_> = rules.exclude()[BUILT_IN.len()..].iter().map(String::as_str).collect();
        let f = "/f \\[1\\]";
        let expected = [
            format!("{f}/**/*.x"),
            format!("!{f}/b/c"),
            format!("{f}/d/"),
            format!("{f}/**/e/"),
            "/.aios/".to_owned(),
        ];
        assert_eq!(own, expected);
        // The anchored rules, read as rules of the root, ignore the same.
        let joined = rules.exclude().join("\n");
        let root = Rules::new(&[RuleSource { path: ".gitignore", text: &joined }]);
        for path in
            ["f [1]/a.x", "f [1]/g/a.x", "a.x", "f [1]/b/c", "f [1]/d/z", "f [1]/g/e/z", "f [1]/g/d/z"]
        {
            assert_eq!(rules.ignored(path, false), root.ignored(path, false), "{path}");
        }
    }
}
