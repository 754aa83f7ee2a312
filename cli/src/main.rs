//! The `aios` program: reads the command line, runs one command, says how it ended.

// A stream whose reader has gone makes these panic.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod answers;
mod args;
mod batch;
mod caller;
mod checkpoint;
mod child;
mod chronicler;
mod clerk;
mod command;
mod component;
mod context;
mod crew;
mod desk;
mod edition;
mod error;
mod exit;
mod files;
mod force;
mod hook;
mod keyring;
mod letterbox;
mod looked;
mod lookup;
mod matter;
mod memory;
mod moment;
mod office;
mod otlp;
mod phrase;
mod post;
mod report;
mod service;
mod size;
mod staff;
mod template;
mod turnstile;
mod ui;
mod unlock;
mod web;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::Args;
use crate::context::Context;
use crate::exit::Exit;
use crate::ui::Ui;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|it| it == child::keeper::NAME) {
        return child::keeper::keep();
    }
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no reason given");
        ui::complain("error", &format!("a fault in aios itself{at}: {what}"));
        ui::complain("hint", "nothing acknowledged is lost; run `aios doctor`, and report this line");
    }));
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => return refused(&e).into(),
    };
    // A process has one subscriber, and this is the only place that sets it.
    // A network that ends while a peer is silent is no fault: the command says itself who was not reached.
    let usual = || EnvFilter::new("error,iroh::socket=off");
    let filter = EnvFilter::try_from_env("AIOS_LOG").unwrap_or_else(|_| usual());
    // Nobody can be told that telling failed: to try would end the program.
    let told = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    // What libraries do is theirs: spans that are exported are our own.
    let spans = otlp::begin()
        .map(|spans| spans.with_filter(EnvFilter::new("off,aios=info,aios_vault=info,aios_sync=info")));
    let _ = tracing_subscriber::registry().with(told.with_filter(filter)).with(spans).try_init();

    let mut ui = Ui::new(args.global.manner());
    let cx = Context { vault_dir: args.global.vault.clone() };
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let name = std::env::args().nth(1).filter(|it| it.chars().all(|it| it.is_ascii_lowercase()));
        let span = tracing::info_span!("command", aios.command = name.unwrap_or_default());
        span.in_scope(|| command::run(&args.command, &cx, &mut ui).and_then(|exit| ui.flush().map(|()| exit)))
    }));
    otlp::end();
    match done {
        Ok(Ok(_)) if let Some(why) = checkpoint::fault() => {
            ui::complain("error", &format!("what is remembered of work could not be read: {why}"));
            ui::complain(
                "hint",
                "what was said above may lack something; say it again: all is read from the log then",
            );
            Exit::Failed.into()
        }
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(e)) => {
            // What was written before the error belongs before it.
            let _ = ui.flush();
            ui.error(&e);
            e.exit().into()
        }
        Err(_) => Exit::Failed.into(),
    }
}

/// Says what is wrong with the command line, or prints what `--help` or `--version` asked for.
fn refused(e: &clap::Error) -> Exit {
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = e.print();
            Exit::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = e.print();
            Exit::Usage
        }
        _ => {
            let text = e.to_string();
            let mut parts = text.split("\n\n");
            let what = parts.next().unwrap_or_default();
            // What is missing stands below the line that says so.
            let what = what.strip_prefix("error: ").unwrap_or(what).split_whitespace();
            let what = what.collect::<Vec<_>>().join(" ");
            let rest: Vec<&str> = parts.map(str::trim).collect();
            let tip = rest.iter().find_map(|part| part.strip_prefix("tip: "));
            let usage = rest.iter().find_map(|part| part.strip_prefix("Usage: "));
            ui::complain("error", &what);
            ui::complain("hint", tip.or(usage).unwrap_or("see `aios --help`"));
            Exit::Usage
        }
    }
}
