//! Who keeps the notes of days: a file in `agents` with `runtime: journal`, and the device that coordinates.

use aios_agents::journal;
use aios_agents::kernel::{Kernel, Page};
use aios_agents::node::Front;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::author::Draft;
use aios_vault::note::Note;
use aios_vault::survey::Problem;
use aios_vault::work::InForce;
use aios_vault::{Error, Vault};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Who writes the notes.
pub const ACTOR: &str = "aios";

/// The one who keeps notes.
#[derive(Debug)]
pub struct Chronicler {
    zone: TimeZone,
    /// When it was put in force: what was done before has no notes.
    since: u64,
    /// Until when nothing is to be looked at.
    rests: u64,
}

impl Chronicler {
    /// The one that a file of agents names; nothing where it is about something else.
    pub fn read(file: &InForce) -> Option<Result<Chronicler, String>> {
        let front = Front::read(&file.text).ok()?;
        let text = |name: &str| front.root.get(name).and_then(|it| it.as_text());
        if text("runtime") != Some("journal") {
            return None;
        }
        let Some(name) = text("zone") else {
            return Some(Err("a journal needs `zone`, such as `zone: Europe/Amsterdam`".into()));
        };
        let zone = if name == "UTC" { Ok(TimeZone::UTC) } else { jiff::tz::db().get(name) };
        Some(match zone {
            Ok(zone) => Ok(Chronicler { zone, since: file.since, rests: 0 }),
            Err(_) => Err(format!("this system knows no time zone `{name}`")),
        })
    }

    /// Something was heard of that may be of a day that is over.
    pub fn heard(&mut self) {
        self.rests = 0;
    }

    /// The notes to be written, and when the day is over.
    pub fn look(&self, kernel: &Kernel, now: u64) -> (Vec<Page>, Option<u64>) {
        let pages = if now < self.rests { Vec::new() } else { kernel.pages(&self.zone, self.since, now) };
        (pages, self.midnight(now))
    }

    /// All that is to be written until the day is over was written.
    pub fn is_done(&mut self, now: u64) {
        self.rests = self.midnight(now).unwrap_or(0);
    }

    fn midnight(&self, now: u64) -> Option<u64> {
        let now = i64::try_from(now).ok().and_then(|now| Timestamp::from_millisecond(now).ok())?;
        let today = now.to_zoned(self.zone.clone());
        let next = today.tomorrow().and_then(|next| next.start_of_day()).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }
}

/// Writes a note, on disk and in git, too, after what is on disk was taken in; what stood in the way of that, or nothing where it cannot
/// be done now.
pub fn write(vault: &mut Vault, page: &Page) -> Result<Option<Vec<Problem>>, Error> {
    let silent = &mut |_: &str, _, _| {};
    // What the operator wrote there is theirs, and comes first.
    let absorbed = match vault.absorb(&AbsorbOptions::default(), silent) {
        Ok(absorbed) => absorbed,
        Err(Error::Paused(_) | Error::MassDeletion { .. } | Error::Emptied { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let path = journal::path(&page.day);
    let text = match vault.note_at(&path)? {
        Note::Absent => page.write(None),
        Note::Text(text) => page.write(Some(&text)),
        Note::Other => None,
    };
    if let Some(text) = text {
        let message = format!("Journal of {}", page.day);
        vault.write_note(&path, &text, Draft { actor: ACTOR.into(), message, ..Draft::default() })?;
    }
    let round = vault.finish(absorbed, silent)?;
    Ok(Some(round.problems().cloned().collect()))
}
