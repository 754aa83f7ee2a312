//! Having the system start the daemon: a unit for systemd, an agent for launchd.

use std::path::{Path, PathBuf};

/// A daemon that the system is to start when its user logs in, and again when it fails.
#[derive(Debug, Clone)]
pub struct Service {
    /// What tells it from others: lower-case letters, digits and `-`.
    pub name: String,
    /// The vault's name, for people.
    pub vault: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables it needs.
    pub environment: Vec<(String, String)>,
}

/// What starts programs on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// systemd, for the user (systemd.service(5)).
    Systemd,
    /// launchd, for the user (launchd.plist(5)).
    Launchd,
}

impl Starter {
    /// That of this system.
    pub fn here() -> Starter {
        if cfg!(target_os = "macos") { Starter::Launchd } else { Starter::Systemd }
    }

    /// Where the file of a service belongs; `None` without a home folder.
    pub fn path(self, service: &Service) -> Option<PathBuf> {
        let dirs = directories::BaseDirs::new()?;
        Some(match self {
            Starter::Systemd => {
                dirs.config_dir().join("systemd/user").join(format!("aios-{}.service", service.name))
            }
            Starter::Launchd => {
                dirs.home_dir().join("Library/LaunchAgents").join(format!("one.aios.{}.plist", service.name))
            }
        })
    }

    /// The file.
    pub fn file(self, service: &Service) -> String {
        match self {
            Starter::Systemd => unit(service),
            Starter::Launchd => agent(service),
        }
    }

    /// What starts it now and from now on, and what ends that.
    pub fn commands(self, service: &Service, path: &Path) -> (String, String) {
        let (name, path) = (&service.name, path.display());
        match self {
            Starter::Systemd => (
                format!("systemctl --user daemon-reload && systemctl --user enable --now aios-{name}"),
                format!("systemctl --user disable --now aios-{name} && rm '{path}'"),
            ),
            Starter::Launchd => (
                format!("launchctl bootstrap gui/$(id -u) '{path}'"),
                format!("launchctl bootout gui/$(id -u) '{path}'; rm '{path}'"),
            ),
        }
    }
}

fn unit(service: &Service) -> String {
    let quoted = |text: &str| {
        let plain = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
        format!("\"{plain}\"")
    };
    // In a command, but not in a variable, `$` begins a variable.
    let words = service.command.iter().map(|word| quoted(&word.replace('$', "$$")));
    let command = words.collect::<Vec<_>>().join(" ");
    let set =
        |(name, value): &(String, String)| format!("Environment={}\n", quoted(&format!("{name}={value}")));
    let environment: String = service.environment.iter().map(set).collect();
    let vault: String = service.vault.chars().filter(|c| !c.is_control()).collect();
    let vault = vault.replace('%', "%%");
    format!(
        "[Unit]\nDescription=aios: keeps {vault} in sync\n\n\
         [Service]\nExecStart={command}\n{environment}Restart=on-failure\nRestartSec=5\n\n\
         [Install]\nWantedBy=default.target\n"
    )
}

fn agent(service: &Service) -> String {
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let words: String =
        service.command.iter().map(|word| format!("    <string>{}</string>\n", plain(word))).collect();
    let set = |(name, value): &(String, String)| {
        format!("    <key>{}</key>\n    <string>{}</string>\n", plain(name), plain(value))
    };
    let environment: String = service.environment.iter().map(set).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  <key>Label</key>\n  <string>one.aios.{}</string>\n\
         \x20 <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n\
         \x20 <key>EnvironmentVariables</key>\n  <dict>\n{environment}  </dict>\n\
         \x20 <key>RunAtLoad</key>\n  <true/>\n\
         \x20 <key>KeepAlive</key>\n  <dict>\n    <key>SuccessfulExit</key>\n    <false/>\n  </dict>\n\
         </dict>\n</plist>\n",
        service.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service {
            name: "1a2b3c4d".into(),
            vault: "Bram & co".into(),
            command: ["/bin/aios", "-C", "/home/b/100% \"$x\"", "up"].map(str::to_owned).to_vec(),
            environment: vec![("AIOS_NET".into(), "lan".into())],
        }
    }

    #[test]
    fn a_unit_starts_the_daemon_on_that_folder_whatever_its_name() {
        let text = unit(&service());
        let command = r#"ExecStart="/bin/aios" "-C" "/home/b/100%% \"$$x\"" "up""#;
        assert!(text.lines().any(|line| line == command), "{text}");
        assert!(text.contains("Environment=\"AIOS_NET=lan\"\nRestart=on-failure\n"), "{text}");
    }

    #[test]
    fn an_agent_is_sound_xml() {
        let mut service = service();
        service.command.push("a<b&c".into());
        let text = agent(&service);
        assert!(text.contains("<string>a&lt;b&amp;c</string>"), "{text}");
        assert_eq!(text.matches("<dict>").count(), text.matches("</dict>").count());
        assert!(text.contains("  <key>RunAtLoad</key>\n  <true/>\n"), "{text}");
    }
}
