//! What an effect does, and the digests that are bound to that.

use aios_core::id::{ContentHash, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::money::Money;

/// The key under which an effect happens at most once: BLAKE3 of vault, task, step path and generation (I10).
///
/// It follows from the work and never from the attempt, so every device that comes to the same step has the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectKey(pub ContentHash);

impl EffectKey {
    /// Before all others.
    pub const LEAST: EffectKey = EffectKey(ContentHash([0; 32]));
    /// After all others.
    pub const MOST: EffectKey = EffectKey(ContentHash([u8::MAX; 32]));

    /// The key of the effect at `step` (a path with loop items, such as `remind[3]/send`) of `task`.
    pub fn of(vault: &VaultId, task: &str, step: &str, generation: u32) -> Self {
        EffectKey(ContentHash::of(
            format!("aios-effect-v1\n{vault}\n{task}\n{step}\n{generation}").as_bytes(),
        ))
    }
}

/// Exactly what an effect does: what consent is given to (I11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Such as `mail.send`.
    pub capability: String,
    /// To whom or what.
    pub target: String,
    /// All else that is sent.
    pub args: Value,
    /// The money it moves or costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// The agent whose work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What policies may know it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Content {
    /// The digest that consent is bound to: of the key and of all that is sent.
    pub fn digest(&self, key: &EffectKey) -> ContentHash {
        let amount = self.amount.map(|amount| amount.0.to_string()).unwrap_or_default();
        // Each part is a JSON value on a line of its own, so none can be read as two.
        let parts = [
            Value::from(key.0.hex()),
            Value::from(self.capability.as_str()),
            Value::from(self.target.as_str()),
            self.args.clone(),
            Value::from(amount),
        ];
        let mut text = String::from("aios-consent-v1");
        for part in &parts {
            text.push('\n');
            canonical(part, &mut text);
        }
        ContentHash::of(text.as_bytes())
    }
}

/// The digest of a value, whatever the order of its keys.
pub fn digest(value: &Value) -> ContentHash {
    let mut text = String::from("aios-value-v1\n");
    canonical(value, &mut text);
    ContentHash::of(text.as_bytes())
}

/// Writes a value as JSON with sorted keys.
pub(super) fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (n, (key, value)) in sorted.into_iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}
