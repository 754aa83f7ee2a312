//! `aios preview`

use aios_agents::draft;
use serde_json::json;

use crate::args::PreviewArgs;
use crate::command::consent::one;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::ui::{Style, Ui, one_line};

/// Shows exactly what an effect sends, sent or not; changes nothing.
pub fn run(args: &PreviewArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    office.look();
    let tables = office.kernel().tables();
    let named = tables.effects_like(&args.id);
    let mut found = named.filter(|key| tables.effect(key).is_some_and(|it| it.proposed.is_some()));
    let key = one(&args.id, found.next(), found.next())?;
    let found = office.kernel().deed(&key).zip(office.kernel().tables().effect(&key));
    let Some((deed, proposed)) = found.and_then(|(deed, it)| Some((deed, it.proposed.clone()?))) else {
        return Err(CliError::failed("nothing was proposed under that id", "`aios inbox` lists what waits"));
    };
    if args.draft {
        let text = draft::write(&deed.content);
        match ui.json() {
            true => ui.value(&json!({"draft": text}))?,
            false => ui.bytes(text.as_bytes())?,
        }
        return Ok(Exit::Done);
    }
    let bytes = office.preview(key, &deed.content);
    if ui.json() {
        let (bytes, wrong) = (bytes.as_ref().ok(), bytes.as_ref().err());
        ui.value(&json!({
            "key": key, "digest": proposed.digest, "task": proposed.task, "step": proposed.step,
            "state": deed.state, "why": deed.why, "content": deed.content, "bytes": bytes, "wrong": wrong
        }))?;
    }
    let bytes = bytes.map_err(|failure| {
        CliError::failed(format!("nothing would be sent: {failure}"), "`aios approve --edit` changes it")
    })?;
    if args.bytes {
        if !ui.json() {
            ui.bytes(bytes.as_bytes())?;
        }
        return Ok(Exit::Done);
    }
    let id = ui.paint(Style::Yellow, key.0.short(12));
    let what = one_line(&format!("{} to {}", deed.content.capability, deed.content.target));
    ui.line(format!("{id} {what}: {}", deed.state))?;
    ui.line(format!("    {}", one_line(&format!("step {} of task {}", proposed.step, proposed.task))))?;
    ui.line(format!("    consent digest {}", proposed.digest))?;
    ui.line("")?;
    for line in bytes.lines() {
        ui.line(visible(line))?;
    }
    Ok(Exit::Done)
}

/// A line in which what would move a terminal's cursor is seen.
fn visible(line: &str) -> String {
    let show = |c: char| match c {
        '\t' => c.to_string(),
        c if c.is_control() || is_unseen(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    line.chars().map(show).collect()
}

/// Whether a character changes how others read, and is not seen itself.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_in_a_preview() {
        assert_eq!(visible("pay\u{1b}[2K\t5\u{202e}0 é"), "pay\\u{1b}[2K\t5\\u{202e}0 é");
    }
}
