//! `aios relay`

use aios_sync::relay::{Guests, Relaying};
use aios_sync::session::Trouble;
use aios_sync::site::Site;
use serde_json::json;

use crate::args::RelayArgs;
use crate::command::sync::runtime;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Serves a relay until it is told to end.
pub fn run(args: &RelayArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let guests = match args.anyone {
        true => Guests::Anyone,
        false => Guests::Members(Box::new(Site::find(cx.dir())?)),
    };
    runtime()?.block_on(async {
        let mut relay = Relaying::start(args.listen, guests).await.map_err(Trouble::from)?;
        let url = relay.addr().map(|addr| format!("http://{addr}")).unwrap_or_default();
        match ui.json() {
            true => ui.value(&json!({"ready": true, "url": url}))?,
            false => ui.line(format!("ready {url}"))?,
        }
        ui.flush()?;
        tokio::select! {
            ended = relay.run() => ended.map_err(Trouble::from)?,
            ended = tokio::signal::ctrl_c() => ended.map_err(|e| CliError::io("wait for Ctrl-C", e))?,
        }
        Ok(Exit::Done)
    })
}
