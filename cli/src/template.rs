//! Templates: the files of a company to begin with, carried inside the program.

use std::io::ErrorKind;
use std::path::Path;

use aios_vault::accept::is_gated;
use serde_json::json;

use crate::error::CliError;
use crate::exit::Exit;
use crate::report::count;
use crate::ui::Ui;

/// A company to begin with.
#[derive(Debug, Clone, Copy)]
pub struct Template {
    /// Its name: that of its folder in `docs/sample`.
    pub name: &'static str,
    /// Its files: path and content.
    pub files: &'static [(&'static str, &'static [u8])],
}

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

impl Template {
    /// The one of that name.
    pub fn named(name: &str) -> Result<Template, CliError> {
        let found = TEMPLATES.iter().find(|template| template.name == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = TEMPLATES.iter().map(|template| template.name).collect();
            CliError::Usage {
                what: format!("there is no template `{name}`"),
                hint: Some(format!("it is one of {}", names.join(", "))),
            }
        })
    }

    /// What it is for, in a line.
    fn title(&self) -> String {
        let readme = self.files.iter().find(|(path, _)| *path == "README.md");
        let text = readme.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(self.name).to_owned()
    }

    /// The files that do nothing before they are accepted.
    pub fn gated(self) -> impl Iterator<Item = String> {
        self.files.iter().map(|(path, _)| (*path).to_owned()).filter(|path| is_gated(path))
    }

    /// Writes its files into a folder that is no vault. Nothing is overwritten: a file that is there has to be the same.
    pub fn write(&self, dir: &Path) -> Result<(), CliError> {
        let io = |path: &str, e| CliError::io(format!("write {}", dir.join(path).display()), e);
        if dir.join(".aios/replica.json").exists()
            && aios_vault::Vault::open(dir).is_ok_and(|it| !it.view().is_empty())
        {
            return Err(aios_vault::Error::AlreadyAVault(dir.to_owned()).into());
        }
        let mut taken = Vec::new();
        for (path, bytes) in self.files {
            match std::fs::read(dir.join(path)) {
                Ok(there) if there == *bytes => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                // What is no file, or cannot be read, is in the way, too.
                Ok(_) | Err(_) => taken.push(*path),
            }
        }
        if let Some(first) = taken.first() {
            return Err(CliError::failed(
                format!(
                    "{} of the template would overwrite what is there, such as {first}",
                    count(taken.len(), "file")
                ),
                "name a new folder, or move these files away first; nothing was written",
            ));
        }
        for (path, bytes) in self.files {
            let at = dir.join(path);
            at.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|e| io(path, e))?;
            std::fs::write(&at, bytes).map_err(|e| io(path, e))?;
        }
        Ok(())
    }
}

/// Names the templates there are.
pub fn list(ui: &mut Ui) -> Result<Exit, CliError> {
    if ui.json() {
        let rows: Vec<_> = TEMPLATES
            .iter()
            .map(|it| json!({"template": it.name, "title": it.title(), "files": it.files.len()}))
            .collect();
        ui.value(&json!(rows))?;
    }
    for template in TEMPLATES {
        ui.line(format!(
            "{:<16} {}, {}",
            template.name,
            template.title(),
            count(template.files.len(), "file")
        ))?;
    }
    Ok(Exit::Done)
}

/// What to type to put the template's files in force.
pub fn accept_command(dir: &Path) -> String {
    let dir = dir.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "._/-+@".contains(c);
    match dir.as_ref() {
        "." => "aios accept".to_owned(),
        dir if dir.chars().all(plain) => format!("aios -C {dir} accept"),
        dir => format!("aios -C '{}' accept", dir.replace('\'', r"'\''")),
    }
}
