//! What people and scripts see: results on stdout, everything else on stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::CliError;

/// Work that takes less than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour a stream; `no_color` is the value of `NO_COLOR`, which counts if it is not empty
    /// (<https://no-color.org>).
    fn on(self, terminal: bool, no_color: Option<&str>) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && no_color.is_none_or(str::is_empty),
        }
    }
}

/// A colour or weight of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bold.
    Bold,
    /// Faint.
    Dim,
    /// Red.
    Red,
    /// Green.
    Green,
    /// Yellow.
    Yellow,
    /// Cyan.
    Cyan,
}

impl Style {
    fn code(self) -> u8 {
        match self {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Cyan => 36,
        }
    }
}

/// How to talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// One JSON value on stdout and nothing else there.
    pub json: bool,
    /// No remarks.
    pub quiet: bool,
    /// How much more than usual to say.
    pub verbose: u8,
    /// When to colour.
    pub color: Color,
}

/// Where a command says things.
pub struct Ui {
    manner: Manner,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    color_out: bool,
    color_err: bool,
    terminal: bool,
    /// Whether whoever read stdout has gone.
    gone: bool,
}

impl std::fmt::Debug for Ui {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ui")
            .field("manner", &self.manner)
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

impl Ui {
    /// On this process's own streams.
    pub fn new(manner: Manner) -> Self {
        // A terminal that says it can do nothing is one without colours.
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb").then(|| "dumb".to_owned());
        let no_color = std::env::var("NO_COLOR").ok().filter(|value| !value.is_empty()).or(dumb);
        let terminal = io::stderr().is_terminal();
        Ui {
            color_out: manner.color.on(io::stdout().is_terminal(), no_color.as_deref()) && !manner.json,
            color_err: manner.color.on(terminal, no_color.as_deref()),
            terminal,
            gone: false,
            manner,
            out: Box::new(io::BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
        }
    }

    /// On other streams, which are taken for no terminals.
    #[cfg(test)]
    pub fn on(manner: Manner, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let color = manner.color == Color::Always;
        let color_out = color && !manner.json;
        Ui { color_out, color_err: color, terminal: false, gone: false, manner, out, err }
    }

    /// Whether the result must be one JSON value.
    pub fn json(&self) -> bool {
        self.manner.json
    }

    /// Whether remarks are unwelcome.
    pub fn quiet(&self) -> bool {
        self.manner.quiet
    }

    /// How much more than usual to say.
    pub fn verbose(&self) -> u8 {
        self.manner.verbose
    }

    /// Whether a person looks at stderr.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    /// A text as it goes to stdout in a style.
    pub fn paint(&self, style: Style, text: impl Display) -> String {
        paint(self.color_out, style, text)
    }

    /// Writes a value as one line of JSON to stdout, with `--json` or not.
    pub fn value(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|e| CliError::io("write JSON", e.into()))?;
        self.print(&text)
    }

    /// Writes a line to stdout, unless `--json` asked for a value alone.
    pub fn line(&mut self, text: impl Display) -> Result<(), CliError> {
        if self.manner.json {
            return Ok(());
        }
        self.print(&text.to_string())
    }

    fn print(&mut self, text: &str) -> Result<(), CliError> {
        self.write(|out| writeln!(out, "{text}"))
    }

    /// Whether whoever read stdout has gone: a command that would go on for its sake alone may end.
    pub fn gone(&self) -> bool {
        self.gone
    }

    /// A reader that has gone is told nothing more, and changes nothing of what the command does and how it ends.
    fn write(&mut self, act: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
        if self.gone {
            return Ok(());
        }
        match act(&mut self.out) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                // What is in its buffer would be tried again.
                self.out = Box::new(io::sink());
                Ok(())
            }
            done => done.map_err(|e| CliError::io("write to stdout", e)),
        }
    }

    /// Writes bytes to stdout as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.write(|out| out.write_all(bytes))
    }

    /// Makes what was written so far visible to whoever reads stdout.
    pub fn flush(&mut self) -> Result<(), CliError> {
        self.write(|out| out.flush())
    }

    /// Writes a remark to stderr, unless `-q`.
    pub fn note(&mut self, text: impl Display) {
        if !self.manner.quiet {
            // Nobody can be told that telling failed.
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// Writes a warning to stderr, even with `-q`.
    pub fn warn(&mut self, text: impl Display, hint: Option<&str>) {
        let word = paint(self.color_err, Style::Yellow, "warning:");
        let _ = writeln!(self.err, "{word} {text}");
        self.hint(hint);
    }

    /// Writes an error to stderr: one line, and one that says what to do.
    pub fn error(&mut self, error: &CliError) {
        let word = paint(self.color_err, Style::Red, "error:");
        let _ = writeln!(self.err, "{word} {}", one_line(&error.to_string()));
        self.hint(error.hint().as_deref());
    }

    fn hint(&mut self, hint: Option<&str>) {
        if let Some(hint) = hint {
            let word = paint(self.color_err, Style::Cyan, "hint:");
            let _ = writeln!(self.err, "{word} {}", one_line(hint));
        }
    }

    /// A listener for long work: shows a bar, on a terminal only, and only once the work has taken a second.
    pub fn progress(&self) -> impl FnMut(&str, u64, u64) + Send + use<> {
        let mut bar = Bar { shown: None, since: Instant::now(), wanted: self.terminal && !self.manner.quiet };
        move |what: &str, done: u64, total: u64| bar.tell(what, done, total)
    }
}

/// A progress bar that leaves no trace.
struct Bar {
    shown: Option<ProgressBar>,
    since: Instant,
    wanted: bool,
}

impl Bar {
    fn tell(&mut self, what: &str, done: u64, total: u64) {
        if !self.wanted || (self.shown.is_none() && self.since.elapsed() < PATIENCE) {
            return;
        }
        let bar = self.shown.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
                bar.set_style(style);
            }
            bar
        });
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_message(what.to_owned());
        bar.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn paint(on: bool, style: Style, text: impl Display) -> String {
    match on {
        true => format!("\x1b[{}m{text}\x1b[0m", style.code()),
        false => text.to_string(),
    }
}

/// Says something on stderr where there is no [`Ui`], and goes on where nobody reads it.
pub fn complain(word: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{word}: {}", one_line(text));
}

/// A text on one line, and without what would move a terminal's cursor.
pub fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect();
    words.join("; ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn ui(manner: Manner) -> (Ui, Sink, Sink) {
        let (out, err) = (Sink::default(), Sink::default());
        (Ui::on(manner, Box::new(out.clone()), Box::new(err.clone())), out, err)
    }

    #[test]
    fn json_leaves_stdout_to_the_value() {
        let (mut ui, out, err) = ui(Manner { json: true, color: Color::Always, ..Manner::default() });
        ui.line("for people").unwrap();
        ui.note("remark");
        ui.value(&serde_json::json!({"a": 1})).unwrap();
        assert_eq!(out.text(), "{\"a\":1}\n");
        assert_eq!(err.text(), "remark\n");
        assert_eq!(ui.paint(Style::Red, "x"), "x");
    }

    #[test]
    fn errors_are_one_line_and_a_hint() {
        let (mut ui, out, err) = ui(Manner { quiet: true, ..Manner::default() });
        ui.note("remark");
        ui.error(&CliError::failed("first\nsecond\u{1b}", "do this"));
        assert_eq!(err.text(), "error: first; second \nhint: do this\n");
        assert_eq!(out.text(), "");
    }

    #[test]
    fn colour_follows_flag_terminal_and_environment() {
        assert!(Color::Auto.on(true, None));
        assert!(!Color::Auto.on(true, Some("1")));
        assert!(Color::Auto.on(true, Some("")));
        assert!(!Color::Auto.on(false, None));
        assert!(Color::Always.on(false, Some("1")));
        assert!(!Color::Never.on(true, None));
    }

    #[test]
    fn a_reader_that_has_gone_changes_nothing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut ui = Ui::on(Manner::default(), Box::new(Gone), Box::new(io::sink()));
        assert!(!ui.gone());
        ui.line("one").unwrap();
        ui.line("two").unwrap();
        ui.flush().unwrap();
        assert!(ui.gone());
    }
}
