//! How busy a daemon keeps itself, and when it keeps off the network.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// How often a daemon does what nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The folder is looked through at least so long apart and at most, for what a watcher misses.
    pub scan: (Duration, Duration),
    /// How long a member that was not reached is left alone, at first and at most.
    pub retry: (Duration, Duration),
    /// Git's objects are packed once it has been quiet for so long, and at least so long apart.
    pub tidy: (Duration, Duration),
}

impl Profile {
    /// A device with power and network.
    pub const PLUGGED: Profile = Profile {
        scan: (Duration::from_secs(2), Duration::from_secs(30)),
        retry: (Duration::from_secs(2), Duration::from_secs(60)),
        tidy: (Duration::from_secs(600), Duration::from_secs(3600)),
    };
    /// A device with a battery: what is saved and what comes is taken in as soon, but it looks and calls seldom.
    pub const BATTERY: Profile = Profile {
        scan: (Duration::from_secs(20), Duration::from_secs(600)),
        retry: (Duration::from_secs(5), Duration::from_secs(900)),
        tidy: (Duration::from_secs(1800), Duration::from_secs(24 * 3600)),
    };
}

/// How often a command is asked, and how long it may take.
const ASK: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// What tells a daemon to keep off the network: a phone app that knows of a metered network or a low battery.
#[derive(Debug, Clone, Default)]
pub struct Pause {
    /// While this file is there.
    pub file: Option<PathBuf>,
    /// While this shell command ends with 0.
    pub command: Option<String>,
    asked: Option<(Instant, bool)>,
}

impl Pause {
    /// While `file` is there, or `command` ends with 0.
    pub fn new(file: PathBuf, command: Option<String>) -> Pause {
        Pause { file: Some(file), command, asked: None }
    }

    /// Whether it holds now. What a command said holds for half a minute; one that cannot be run or hangs says no.
    pub async fn holds(&mut self) -> bool {
        if self.file.as_ref().is_some_and(|file| file.exists()) {
            return true;
        }
        let Some(command) = &self.command else { return false };
        if let Some((at, said)) = self.asked
            && at.elapsed() < ASK.0
        {
            return said;
        }
        let said = says_yes(command).await;
        self.asked = Some((Instant::now(), said));
        said
    }
}

async fn says_yes(command: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    match timeout(ASK.1, shell.status()).await {
        Ok(Ok(status)) => status.success(),
        Ok(Err(error)) => {
            tracing::warn!(%error, command, "not asked whether to pause");
            false
        }
        Err(_) => {
            tracing::warn!(command, "did not say in time whether to pause");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_or_a_command_pauses() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pause");
        let mut pause = Pause::new(file.clone(), None);
        assert!(!pause.holds().await);
        std::fs::write(&file, "").unwrap();
        assert!(pause.holds().await);
        std::fs::remove_file(&file).unwrap();
        assert!(Pause::new(file.clone(), Some("exit 0".into())).holds().await);
        assert!(!Pause::new(file, Some("exit 3".into())).holds().await);
    }
}
