//! Whether the working files are what was last taken in or written: every one that is not is named.

use crate::disk::{self, read::LARGE};
use crate::error::Error;
use crate::file::FileRow;
use crate::survey::Saved;
use crate::vault::{Progress, Vault};

use super::Report;

const BACK: &str = "`aios restore FILE` puts it back";

impl Vault {
    pub(super) fn check_files(&mut self, report: &mut Report, progress: Progress<'_>) -> Result<(), Error> {
        self.check_untouched(report, progress)?;
        // Also where nothing is taken in because the log is a newer program's, or this device was revoked.
        let paused = match self.check_writes() {
            Ok(()) => self.paused(),
            Err(e) => Ok(Some(e.to_string())),
        };
        match paused {
            Ok(None) => {}
            Ok(Some(why)) => return self.check_while_paused(&why, report),
            // What is wrong with it is told with git.
            Err(_) => return self.check_while_paused("git's HEAD cannot be read", report),
        }
        let survey = match self.survey(progress) {
            Ok(survey) => survey,
            Err(e @ (Error::Emptied { .. } | Error::Root(_))) => {
                let hint = e.hint().unwrap_or_default();
                report.tell("I8", "working files", format!("{e}; {hint}"));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        for (row, saved) in &survey.modified {
            report.tell("I8", at(row), differs(row, saved));
        }
        for moved in &survey.moved {
            let now = &moved.to.found.path;
            let also = if moved.row.hash == moved.to.hash { "" } else { ", with other bytes" };
            report.tell(
                "I8",
                at(&moved.row),
                format!("it lies at {now} now{also}: `aios commit` takes that in as a rename, {BACK}"),
            );
        }
        for row in &survey.missing {
            // A file that goes with its document is no loss.
            if self.placement(&row.doc)?.is_some() {
                let what = format!("it is gone: `aios commit` takes that in as deleted, {BACK}");
                report.tell("I8", at(row), what);
            }
        }
        for (row, found) in survey.touched.iter().filter(|(row, found)| row.found.exec != found.exec) {
            let Some(placement) = self.placement(&row.doc)? else { continue };
            if placement.mode != aios_core::item::Mode::Link {
                let now = if found.exec { "can be run" } else { "cannot be run" };
                report.tell(
                    "I8",
                    at(row),
                    format!("it {now} now, which was not taken in: run `aios commit`"),
                );
            }
        }
        Ok(())
    }

    /// A file that looks untouched and holds other bytes was changed behind everyone's back.
    fn check_untouched(&mut self, report: &mut Report, progress: Progress<'_>) -> Result<(), Error> {
        let files = self.files()?;
        let total = files.len() as u64;
        for (n, row) in files.into_iter().enumerate() {
            if n % 256 == 0 {
                progress("files", n as u64, total);
            }
            report.checked.files += 1;
            match disk::scan::look(self.writer.root(), &row.path) {
                Ok(Some(found)) if row.unchanged(&found) => {
                    match disk::read::read(self.writer.root(), &row.path, LARGE) {
                        Ok(read) if read.hash.as_bytes() == row.hash.as_bytes() => {}
                        Ok(read) if !row.unchanged(&read.found) => {}
                        Ok(_) => report.tell("I8", at(&row), behind_its_time()),
                        Err(e) => report.tell("I8", at(&row), e.to_string()),
                    }
                }
                Ok(_) => {}
                Err(e) => report.tell("I12", at(&row), e.to_string()),
            }
        }
        Ok(())
    }

    /// While the user works on another branch, or in a merge, their git changes the files: which of them is damage nobody can tell.
    fn check_while_paused(&mut self, why: &str, report: &mut Report) -> Result<(), Error> {
        let mut differ = 0;
        for row in self.files()? {
            let same = match disk::scan::look(self.writer.root(), &row.path) {
                Ok(Some(found)) if row.unchanged(&found) => true,
                Ok(Some(_)) => disk::read::read(self.writer.root(), &row.path, LARGE)
                    .is_ok_and(|read| read.hash.as_bytes() == row.hash.as_bytes()),
                Ok(None) => false,
                // Told above.
                Err(_) => true,
            };
            differ += u64::from(!same);
        }
        if differ > 0 {
            report.tell(
                "I8",
                "working files",
                format!(
                    "{differ} differ from what was last taken in, and whether one of them is damaged cannot be told while aios is \
                     paused: {why}"
                ),
            );
        }
        Ok(())
    }
}

fn at(row: &FileRow) -> String {
    format!("file {}", row.path)
}

fn behind_its_time() -> String {
    format!("its bytes changed although its time and size did not, as on a failing disk: {BACK}")
}

fn differs(row: &FileRow, saved: &Saved) -> String {
    let (was, is) = (&row.found, &saved.found);
    match was.size == is.size && was.mtime_ns == is.mtime_ns && was.kind == is.kind {
        true => behind_its_time(),
        false => {
            format!("it differs from what was last taken in: `aios commit` takes it in as an edit, {BACK}")
        }
    }
}
