//! Which models there are: a file of `agents` with `type: models`, with their providers, tiers and prices.

use std::collections::BTreeMap;

use super::Api;
use super::price::Price;
use crate::agent::Choice;
use crate::agent::summary::{LEAST_WINDOW, WINDOW};
use crate::failure::read_span;
use crate::mistake::{At, Mistake, Mistakes, nearest};
use crate::money::Money;
use crate::node::{Front, Node};
use crate::span::Millis;

/// How models are named of which something is said.
const NAMED: &str = "`PROVIDER/MODEL`, or `PROVIDER/*`";
/// The most tokens that a file may say a model sees at once.
const MOST_WINDOW: u64 = 100_000_000;
/// How long a provider may be silent, where its file does not say.
const SILENCE: Millis = 60_000;

/// How soon it is looked after a batch, where its file does not say.
const POLL: Millis = 60_000;

/// Which models there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Who has them, by name.
    pub providers: BTreeMap<String, Provider>,
    /// By tier, what to ask in turn: provider and model.
    pub tiers: BTreeMap<String, Vec<(String, String)>>,
    /// What they cost, by `provider/model`; `provider/*` for all others of it.
    pub prices: BTreeMap<String, Price>,
    /// How many tokens they see at once, named as in `prices`.
    pub windows: BTreeMap<String, u64>,
    /// A call that may cost more than this asks first.
    pub asks_above: Option<Money>,
}

/// Who has models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// How it is spoken to.
    pub api: Api,
    /// Its address, without a `/` at the end.
    pub url: String,
    /// Whether it needs a key.
    pub key: bool,
    /// How long it may be silent.
    pub silence: Millis,
    /// How many calls of this device it is asked at once, at most.
    pub at_once: Option<u64>,
    /// How many it is asked in a minute, at most.
    pub per_minute: Option<u64>,
    /// How long it is from one look at a batch to the next, at first.
    pub poll: Millis,
}

impl Provider {
    /// Where it is: scheme, host and port. A key is given for that.
    pub fn origin(&self) -> &str {
        let after = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[after..].find('/').map_or(self.url.len(), |at| after + at);
        &self.url[..end]
    }
}

impl Settings {
    /// Reads a file of models.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn read(front: &Front) -> Result<Settings, Vec<Mistake>> {
        let mut out = Mistakes::default();
        let settings = settings(&front.root, &mut out);
        if out.count() == 0 { Ok(settings) } else { Err(out.into_vec()) }
    }

    /// What to ask in turn for a choice; nothing where it names nothing that is there.
    pub fn models(&self, choice: &Choice) -> Vec<(String, String)> {
        match choice {
            Choice::One(provider, model) if self.providers.contains_key(provider) => {
                vec![(provider.clone(), model.clone())]
            }
            Choice::One(..) => Vec::new(),
            Choice::Tier(tier) => self.tiers.get(tier).cloned().unwrap_or_default(),
        }
    }

    /// What a model costs; nothing where nobody said.
    pub fn price(&self, provider: &str, model: &str) -> Option<Price> {
        named(&self.prices, provider, model)
    }

    /// How many tokens a model sees at once: as its file says, else what most see.
    pub fn window(&self, provider: &str, model: &str) -> u64 {
        named(&self.windows, provider, model).unwrap_or(WINDOW)
    }
}

/// What is said of a model, or of all others of its provider.
fn named<T: Copy>(said: &BTreeMap<String, T>, provider: &str, model: &str) -> Option<T> {
    let own = said.get(&format!("{provider}/{model}"));
    own.or_else(|| said.get(&format!("{provider}/*"))).copied()
}

/// Whether a text can name a tier or a provider.
pub fn is_tier(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=40).contains(&text.len()) && text.bytes().all(inside)
}

fn settings(root: &Node, out: &mut Mistakes) -> Settings {
    let mut settings = Settings::default();
    root.only(
        "a file of models",
        &["type", "title", "description", "providers", "tiers", "prices", "windows", "asks_above"],
        out,
    );
    match root.get("providers") {
        Some(node) => {
            for (key, node) in node.map("providers", out).unwrap_or_default() {
                if !is_tier(&key.name) {
                    out.hint(
                        key.at,
                        format!("`{}` cannot name a provider", key.name),
                        "lowercase letters, digits, `-` and `_`",
                    );
                }
                if let Some(provider) = provider(key.at, node, out) {
                    settings.providers.insert(key.name.clone(), provider);
                }
            }
        }
        None => out.hint(
            At::START,
            "it has no `providers`",
            "such as `local: {api: ollama, url: http://127.0.0.1:11434}`",
        ),
    }
    let named = |node: &Node, out: &mut Mistakes| {
        let text = node.text("model", out)?;
        let Some((provider, model)) = text.split_once('/').filter(|(_, model)| !model.is_empty()) else {
            out.hint(
                node.at,
                format!("`{text}` names no model"),
                "a provider and a model there: `openai/gpt-5`",
            );
            return None;
        };
        let known = &settings.providers;
        if !known.contains_key(provider) {
            let what = format!("there is no provider `{provider}`");
            match nearest(provider, known.keys().map(String::as_str)) {
                Some(near) => out.hint(node.at, what, format!("`{near}` is meant?")),
                None => out.add(node.at, what),
            }
        }
        Some((provider.to_owned(), model.to_owned()))
    };
    let mut tiers = BTreeMap::new();
    if let Some(entries) = root.get("tiers").and_then(|it| it.map("tiers", out)) {
        for (key, node) in entries {
            if !is_tier(&key.name) {
                out.add(key.at, format!("`{}` cannot name a tier", key.name));
            }
            let models: Vec<_> = node.items().iter().filter_map(|item| named(item, out)).collect();
            if models.is_empty() {
                out.add(node.at, format!("the tier `{}` has no models", key.name));
            }
            tiers.insert(key.name.clone(), models);
        }
    }
    let mut prices = BTreeMap::new();
    if let Some(entries) = root.get("prices").and_then(|it| it.map("prices", out)) {
        for (key, node) in entries {
            node.only("a price", &["input", "output", "cached", "batch"], out);
            let part = |name: &str, out: &mut Mistakes| {
                let node = node.get(name)?;
                let part = Price::part(&node.to_value());
                if part.is_none() {
                    let hint = "what a million tokens cost, such as `0.25`; what is free costs `0`";
                    out.hint(node.at, format!("`{name}` is no price"), hint);
                }
                part
            };
            let (input, output, cached) = (part("input", out), part("output", out), part("cached", out));
            let batch = part("batch", out).filter(|part| *part <= 1_000_000);
            if let Some(node) = node.get("batch").filter(|_| batch.is_none()) {
                let hint = "what of the price is paid by batch: `0.5` is half";
                out.hint(node.at, "`batch` is between `0` and `1`", hint);
            }
            if node.get("input").is_none() || node.get("output").is_none() {
                out.add(node.at, "a price needs `input` and `output`");
            }
            if let (Some(input), Some(output)) = (input, output) {
                let cached = cached.unwrap_or(input);
                prices.insert(key.name.clone(), Price { input, output, cached, batch });
            }
            if !is_of(&key.name, &settings.providers) {
                out.hint(key.at, format!("`{}` is the price of nothing", key.name), NAMED);
            }
        }
    }
    if let Some(entries) = root.get("windows").and_then(|it| it.map("windows", out)) {
        for (key, node) in entries {
            if let Some(window) = node.whole("windows", LEAST_WINDOW, MOST_WINDOW, out) {
                settings.windows.insert(key.name.clone(), window);
            }
            if !is_of(&key.name, &settings.providers) {
                out.hint(key.at, format!("`{}` is the window of nothing", key.name), NAMED);
            }
        }
    }
    if let Some(node) = root.get("asks_above") {
        match Money::of(&node.to_value()) {
            Ok(money) => settings.asks_above = Some(money),
            Err(error) => out.add(node.at, error.to_string()),
        }
    }
    settings.tiers = tiers;
    settings.prices = prices;
    settings
}

/// Whether a name is one of models of these providers.
fn is_of(name: &str, providers: &BTreeMap<String, Provider>) -> bool {
    name.split_once('/').is_some_and(|(provider, _)| providers.contains_key(provider))
}

fn provider(at: At, node: &Node, out: &mut Mistakes) -> Option<Provider> {
    node.map("a provider", out)?;
    node.only("a provider", &["api", "url", "key", "silence", "at_once", "per_minute", "poll"], out);
    let api = match node.get("api") {
        Some(node) => {
            let found = Api::NAMES.iter().find(|(name, _)| node.as_text() == Some(name));
            if found.is_none() {
                out.hint(
                    node.at,
                    "there is no such way to speak to one",
                    "`chat`, `responses`, `anthropic` or `ollama`",
                );
            }
            found.map(|(_, api)| *api)
        }
        None => {
            out.hint(at, "a provider needs `api`", "`chat`, `responses`, `anthropic` or `ollama`");
            None
        }
    };
    let Some(url_node) = node.get("url") else {
        out.hint(at, "a provider needs `url`", "such as `https://api.openai.com/v1`");
        return None;
    };
    let url = url_node.text("url", out)?;
    let url = url.trim_end_matches('/').to_owned();
    let key = node.get("key").and_then(|it| it.boolean("key", out)).unwrap_or(api != Some(Api::Ollama));
    if let Err(what) = is_safe(&url) {
        out.hint(url_node.at, what, "such as `https://api.openai.com/v1`; `http://` only for this machine");
    }
    let silence = read_span(node, "silence", out).unwrap_or(SILENCE);
    let mut most = |name: &str, most: u64| node.get(name).and_then(|it| it.whole(name, 1, most, out));
    let (at_once, per_minute) = (most("at_once", 1_000), most("per_minute", 1_000_000));
    let poll = read_span(node, "poll", out).unwrap_or(POLL).max(1);
    Some(Provider { api: api?, url, key, silence, at_once, per_minute, poll })
}

/// Whether what is sent there, a key too, is for the one who is there alone.
fn is_safe(url: &str) -> Result<(), String> {
    let bad = url.contains(|c: char| c.is_whitespace() || c.is_control() || "@?#\\".contains(c));
    let rest = url.strip_prefix("https://").map(|rest| (rest, true));
    let (rest, closed) = rest
        .or_else(|| url.strip_prefix("http://").map(|rest| (rest, false)))
        .filter(|_| !bad)
        .ok_or("this is no address")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    match (host, closed) {
        ("", _) => Err("this is no address".into()),
        (_, true) | ("localhost" | "127.0.0.1" | "::1", false) => Ok(()),
        (host, false) => Err(format!("what is sent to {host} by `http://` anybody on the way can read")),
    }
}
