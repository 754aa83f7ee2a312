//! Files that work reads and writes: the connector of the vault itself.

use aios_agents::connector::{CREATE, SET};
use aios_agents::event::{Came, Content, EffectKey};
use aios_agents::failure::{Class, Failure};
use aios_agents::page;
use aios_agents::query::{Looked, MOST_FILES, Query};
use aios_core::id::DocId;
use aios_vault::accept::is_gated;
use aios_vault::author::Draft;
use aios_vault::page::{Made, Page};
use aios_vault::{Error, Vault};
use serde_json::{Map, Value, json};

/// The longest file that is written.
const MOST: usize = 1 << 20;

/// One effect on files.
pub struct Deed<'d> {
    /// Its key, which the record names: so it is known again however often it is tried (I10).
    pub key: EffectKey,
    /// The run it belongs to.
    pub run: Option<String>,
    /// Exactly what is done.
    pub content: &'d Content,
    /// When it was first begun, where that was before.
    pub before: Option<u64>,
}

/// Looks for files; `outside` says of which the content came from outside.
pub fn find(
    vault: &mut Vault,
    query: &Query,
    outside: impl Fn(&str, &str) -> bool,
) -> Result<Value, Failure> {
    let pages = vault.pages(&query.files, MOST_FILES).map_err(|e| failure(&e))?;
    let Some(pages) = pages else {
        let what = format!("more than {MOST_FILES} files are `{}`: name a smaller folder", query.files);
        return Err(Failure::new(Class::Permanent, what));
    };
    let looked = pages.into_iter().map(|Page { doc, path, text }| {
        let untrusted = outside(&path, &doc.hex());
        Looked { path, text, untrusted }
    });
    query.among(&looked.collect::<Vec<_>>())
}

/// Writes a file.
pub fn perform(vault: &mut Vault, deed: &Deed<'_>) -> Came {
    match done(vault, deed) {
        Ok(result) => Came::Done { result },
        Err(failure) => Came::Failed { failure },
    }
}

fn done(vault: &mut Vault, deed: &Deed<'_>) -> Result<Value, Failure> {
    let Content { capability, target, args, .. } = deed.content;
    if is_gated(target) {
        let what = format!("{target} decides what is gated: only you write there");
        return Err(Failure::new(Class::Permanent, what));
    }
    let mark = format!("Aios-Effect: {}", deed.key.0.hex());
    if let Some(since) = deed.before
        && let Some(doc) = vault.wrote(&mark, since).map_err(|e| failure(&e))?
    {
        return Ok(told(target, &doc, true));
    }
    let draft = |verb: &str| Draft {
        actor: deed.content.agent.as_ref().map_or_else(|| "aios".into(), |agent| format!("agent:{agent}")),
        message: format!("{verb} {target}\n\n{mark}"),
        run: deed.run.clone(),
        ..Draft::default()
    };
    match capability.as_str() {
        CREATE => {
            let fields = fields(args, "fields")?;
            let body = args.get("body").and_then(Value::as_str).unwrap_or_default();
            let text = sound(page::render(&fields, body))?;
            match vault.make_page(target, &text, draft("Make")).map_err(|e| failure(&e))? {
                Made::New(doc) => Ok(told(target, &doc, true)),
                Made::Taken(doc) => Ok(told(target, &doc, false)),
            }
        }
        SET => {
            let found = vault.page(target).map_err(|e| failure(&e))?;
            let found = found.ok_or_else(|| {
                Failure::new(Class::LostContext, format!("there is no file {target} that could be read"))
            })?;
            let text = sound(page::set(&found.text, &fields(args, "set")?))?;
            let line = args.get("append").and_then(Value::as_str).unwrap_or_default();
            let text = sound(Ok(page::append(&text, line)))?;
            vault.change_page(&found, &text, draft("Change")).map_err(|e| failure(&e))?;
            Ok(told(target, &found.doc, text != found.text))
        }
        other => Err(Failure::new(Class::LostContext, format!("files cannot `{other}`"))),
    }
}

/// What a step is told; `made` is whether it was this effect that did it.
fn told(path: &str, doc: &DocId, made: bool) -> Value {
    json!({"path": path, "doc": doc.hex(), "made": made})
}

fn fields(args: &Value, name: &str) -> Result<Map<String, Value>, Failure> {
    match args.get(name) {
        None => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields.clone()),
        Some(_) => Err(Failure::new(Class::Permanent, format!("`{name}` must be a map"))),
    }
}

fn sound(text: Result<String, page::PageError>) -> Result<String, Failure> {
    match text {
        Ok(text) if text.len() > MOST => {
            Err(Failure::new(Class::Permanent, "a file that work writes has at most a mebibyte"))
        }
        Ok(text) => Ok(text),
        Err(e) => Err(Failure::new(Class::Permanent, e.to_string())),
    }
}

/// What the vault refuses it refuses again; all else may pass.
fn failure(error: &Error) -> Failure {
    let class = match error {
        Error::Usage(_) | Error::MayNot { .. } => Class::Permanent,
        _ => Class::Transient,
    };
    Failure::new(class, error.to_string())
}
