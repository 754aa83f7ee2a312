//! Mails that go out: files in the folder `NAME.outbox` beside the vault.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aios_agents::connector::Kind;
use aios_agents::event::{Content, EffectKey};
use aios_agents::failure::{Class, Failure};
use aios_core::id::ContentHash;
use aios_vault::chance::random;
use aios_vault::disk::{durable, fault};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

/// Where mails of a vault go.
#[derive(Debug, Clone)]
pub struct Post {
    folder: PathBuf,
}

impl Post {
    /// The place for the mails of the vault at `root`.
    pub fn of(root: &Path) -> io::Result<Post> {
        let root = std::path::absolute(root)?;
        let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Post { folder: root.with_file_name(format!("{name}.outbox")) })
    }

    /// Where the operator sees whether a mail went out.
    pub fn check(&self, kind: Kind) -> String {
        let folder = self.folder.display();
        match kind {
            Kind::Outbox => format!("look for the file called by its id in {folder}"),
            Kind::Maildir => {
                format!(
                    "look for a mail with its id in `Message-ID` in {folder}, and in the mail program that takes mails from there"
                )
            }
        }
    }

    /// Sends a mail.
    ///
    /// # Errors
    /// A failure when nothing was sent.
    pub fn send(&self, kind: Kind, key: EffectKey, content: &Content) -> Result<Value, Failure> {
        let mail = write(key, content)?;
        let id = key.0.hex();
        let done = match kind {
            Kind::Outbox => self.put(&id, &mail),
            Kind::Maildir => self.deliver(&mail),
        };
        done.map_err(|e| Failure::new(Class::Transient, format!("the outbox: {e}")))?;
        Ok(json!({"id": id}))
    }

    fn put(&self, id: &str, mail: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        durable::replace(&self.folder.join(format!("{id}.eml")), mail.as_bytes()).map_err(io::Error::other)
    }

    /// As maildir(5) says: written in `tmp` under a name that nobody else has, and moved to `new` whole.
    fn deliver(&self, mail: &str) -> io::Result<()> {
        for name in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(self.folder.join(name))?;
        }
        let random = random().map_err(io::Error::other)?;
        let name = format!("{}.aios", HEXLOWER.encode(&random));
        let (from, to) = (self.folder.join("tmp").join(&name), self.folder.join("new").join(&name));
        let mut file = durable::write_new(&from, b"").map_err(io::Error::other)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        durable::append(&mut file, mail.as_bytes())?;
        durable::sync_file(&file)?;
        durable::rename(&from, &to).map_err(io::Error::other)?;
        // From here on it may have been read, whatever else fails.
        let _ = durable::sync_dir(&self.folder.join("new"));
        // A test ends the process here: between the act and what is known of it.
        let _ = fault::point("post.delivered");
        Ok(())
    }
}

/// A mail as RFC 5322 has it.
fn write(key: EffectKey, content: &Content) -> Result<String, Failure> {
    let head = |name: &str, text: &str| match text.contains(['\n', '\r']) || text.is_empty() {
        true => Err(Failure::new(Class::Permanent, format!("`{name}` must be one line"))),
        false => Ok(format!("{name}: {text}\r\n")),
    };
    let arg = |name: &str| content.args.get(name).and_then(Value::as_str).unwrap_or_default();
    let subject = match arg("subject") {
        "" => String::new(),
        subject => head("Subject", subject)?,
    };
    let body = arg("text").lines().map(|line| format!("{line}\r\n")).collect::<String>();
    let id = ContentHash::hex(&key.0);
    Ok(format!(
        "{}{subject}Message-ID: <{id}@aios>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}",
        head("To", &content.target)?
    ))
}
