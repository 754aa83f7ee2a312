//! Mails that go out: files in the folder `NAME.outbox` beside the vault.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aios_agents::connector::Kind;
use aios_agents::event::{Came, Content, EffectKey};
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
            Kind::Files => "look at the file with `aios log`".to_owned(),
            Kind::Inbox => String::new(),
        }
    }

    /// Puts a mail into the outbox, where it is called by its key.
    pub fn put(&self, key: EffectKey, content: &Content) -> Came {
        self.send(key, content, |id, mail| self.lay(id, mail).map(|()| true))
    }

    /// Delivers a mail to the maildir.
    pub fn deliver(&self, key: EffectKey, content: &Content) -> Came {
        self.send(key, content, |_, mail| self.drop_in(mail))
    }

    fn send(&self, key: EffectKey, content: &Content, done: impl Fn(&str, &str) -> io::Result<bool>) -> Came {
        let mail = match mail(key, content) {
            Ok(mail) => mail,
            Err(failure) => return Came::Failed { failure },
        };
        let id = key.0.hex();
        match done(&id, &mail) {
            Ok(true) => Came::Done { result: json!({"id": id}) },
            Ok(false) => Came::Unknown,
            Err(e) => Came::Failed { failure: Failure::new(Class::Transient, format!("the outbox: {e}")) },
        }
    }

    fn lay(&self, id: &str, mail: &str) -> io::Result<()> {
        make(&self.folder)?;
        durable::replace(&self.folder.join(format!("{id}.eml")), mail.as_bytes()).map_err(io::Error::other)
    }

    /// As maildir(5) says: written in `tmp` under a name that nobody else has, and moved to `new` whole. Whether it is sure that it is
    /// there; an error says that it is not.
    fn drop_in(&self, mail: &str) -> io::Result<bool> {
        make(&self.folder)?;
        for name in ["tmp", "new", "cur"] {
            make(&self.folder.join(name))?;
        }
        let random = random().map_err(io::Error::other)?;
        let name = format!("{}.aios", HEXLOWER.encode(&random));
        let (tmp, new) = (self.folder.join("tmp"), self.folder.join("new"));
        let mut file = durable::write_new(&tmp.join(&name), b"").map_err(io::Error::other)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        durable::append(&mut file, mail.as_bytes())?;
        durable::sync_file(&file)?;
        durable::rename(&tmp.join(&name), &new.join(&name)).map_err(io::Error::other)?;
        // From here on it may have been read, whatever fails; and until it is synced a power cut may take it back.
        let lasts = durable::sync_dir(&new).and_then(|()| durable::sync_dir(&tmp)).is_ok();
        // Where a test ends the process between the act and what is known of it.
        Ok(lasts && fault::point("post.delivered").is_ok())
    }
}

/// Makes a folder that lasts.
fn make(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => durable::sync_dir(path.parent().unwrap_or(Path::new("/"))).map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// A mail as RFC 5322 has it: exactly what goes out, whichever way.
pub fn mail(key: EffectKey, content: &Content) -> Result<String, Failure> {
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
