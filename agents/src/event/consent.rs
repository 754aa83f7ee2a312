//! What counts by the operator's word alone, and the signature that makes it theirs (I11).

use aios_core::id::{ContentHash, DeviceId, VaultId};
use aios_core::item::Bytes;
use aios_core::key::{self, SecretKey};
use serde_json::{Value, json};

use super::content::canonical;
use super::{Content, EffectKey, WorkEvent};
use crate::agent::Edition;
use crate::money::Money;
use crate::span::Millis;

/// The digest of what is signed when the operator says what came of an attempt. It is that of no consent: those begin otherwise.
fn settlement(key: &EffectKey, attempt: u32, happened: bool) -> ContentHash {
    let key = key.0.hex();
    ContentHash::of(format!("aios-settle-v1\n{key}\n{attempt}\n{happened}").as_bytes())
}

/// The digest of what is signed when the operator has a device do what another did.
fn taking(capability: &str, to: &DeviceId, turn: u32) -> ContentHash {
    let name = Value::from(capability);
    ContentHash::of(format!("aios-home-v1\n{name}\n{to}\n{turn}").as_bytes())
}

/// What a delegation lets do, in the words that are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What.
    pub capability: String,
    /// To whom or what, with `*` for anything.
    pub target: String,
    /// The agent whose work it has to be.
    pub agent: String,
    /// How often.
    pub count: u64,
    /// The most money.
    pub money: Option<Money>,
    /// Until when.
    pub until: Millis,
}

/// The digest of what is signed when the operator delegates. Each part that is a text is a JSON string on a line of its own.
fn delegating(terms: &Terms, nonce: &str) -> ContentHash {
    let Terms { capability, target, agent, count, money, until } = terms;
    let money = money.map(|money| money.0.to_string()).unwrap_or_default();
    let texts = [capability, target, agent, nonce].map(Value::from);
    let [capability, target, agent, nonce] = &texts;
    ContentHash::of(
        format!("aios-delegate-v1\n{capability}\n{target}\n{agent}\n{count}\n{money}\n{until}\n{nonce}")
            .as_bytes(),
    )
}

/// The digest of what is signed when the operator takes a delegation back.
fn revoking(id: &str) -> ContentHash {
    ContentHash::of(format!("aios-revoke-delegation-v1\n{}", Value::from(id)).as_bytes())
}

/// The digest of what is signed when the operator says which version of an agent works: of the members as JSON with sorted keys.
fn releasing(agent: &str, editions: &[Edition], share: u32, turn: u32) -> ContentHash {
    let mut text = String::from("aios-release-v1\n");
    canonical(&json!({"agent": agent, "editions": editions, "share": share, "turn": turn}), &mut text);
    ContentHash::of(text.as_bytes())
}

/// The digest of what is signed when the operator has an agent rehearse.
fn rehearsing(
    task: &str,
    agent: &str,
    edition: &Edition,
    input: &Value,
    past: Option<&(String, String)>,
) -> ContentHash {
    let mut text = String::from("aios-rehearsal-v1\n");
    let said = json!({"task": task, "agent": agent, "edition": edition, "input": input, "past": past});
    canonical(&said, &mut text);
    ContentHash::of(text.as_bytes())
}

/// So many hex digits of the digest are the id of a delegation or a release.
const ID: usize = 32;

impl WorkEvent {
    /// A delegation, signed with the operator key.
    pub fn delegate(terms: Terms, nonce: String, vault: &VaultId, operator: &SecretKey) -> WorkEvent {
        let digest = delegating(&terms, &nonce);
        let (id, by) = (digest.short(ID), operator.public());
        let sig = Bytes(operator.sign_consent(vault, &digest).to_vec());
        let Terms { capability, target, agent, count, money, until } = terms;
        WorkEvent::DelegationIssued { id, capability, target, agent, count, money, until, nonce, by, sig }
    }

    /// The end of a delegation, signed with the operator key.
    pub fn undelegate(id: &str, vault: &VaultId, operator: &SecretKey) -> WorkEvent {
        let sig = Bytes(operator.sign_consent(vault, &revoking(id)).to_vec());
        WorkEvent::DelegationRevoked { id: id.to_owned(), by: operator.public(), sig }
    }

    /// Which version of an agent works, signed with the operator key. `share`: so many tasks of ten thousand the second edition has.
    pub fn release(
        agent: &str,
        editions: Vec<Edition>,
        share: u32,
        turn: u32,
        vault: &VaultId,
        operator: &SecretKey,
    ) -> WorkEvent {
        let digest = releasing(agent, &editions, share, turn);
        let (id, by, agent) = (digest.short(ID), operator.public(), agent.to_owned());
        let sig = Bytes(operator.sign_consent(vault, &digest).to_vec());
        WorkEvent::AgentReleased { id, agent, editions, share, turn, by, sig }
    }

    /// That a version of an agent rehearses, signed with the operator key.
    pub fn rehearse(
        task: &str,
        agent: &str,
        edition: Edition,
        input: Value,
        past: Option<(String, String)>,
        vault: &VaultId,
        operator: &SecretKey,
    ) -> WorkEvent {
        let digest = rehearsing(task, agent, &edition, &input, past.as_ref());
        let (by, sig) = (operator.public(), Bytes(operator.sign_consent(vault, &digest).to_vec()));
        let (task, agent) = (task.to_owned(), agent.to_owned());
        WorkEvent::AgentRehearsed { task, agent, edition, input, past, by, sig }
    }

    /// Consent to what has this digest, signed with the operator key.
    pub fn approve(key: EffectKey, digest: ContentHash, vault: &VaultId, operator: &SecretKey) -> WorkEvent {
        let sig = Bytes(operator.sign_consent(vault, &digest).to_vec());
        WorkEvent::ApprovalGranted { key, digest, by: operator.public(), sig }
    }

    /// Consent to `content` in place of what a step proposed as the `generation` before, signed with the operator key.
    pub fn edit(
        task: &str,
        step: &str,
        generation: u32,
        content: Content,
        vault: &VaultId,
        operator: &SecretKey,
    ) -> WorkEvent {
        let of = EffectKey::of(vault, task, step, generation);
        let generation = generation.saturating_add(1);
        let key = EffectKey::of(vault, task, step, generation);
        let sig = Bytes(operator.sign_consent(vault, &content.digest(&key)).to_vec());
        let (task, step, by) = (task.to_owned(), step.to_owned(), operator.public());
        WorkEvent::ApprovalEdited { key, of, task, step, generation, content, by, sig }
    }

    /// What came of an attempt of which nobody knew that, signed with the operator key.
    pub fn settle(
        key: EffectKey,
        attempt: u32,
        happened: bool,
        vault: &VaultId,
        operator: &SecretKey,
    ) -> WorkEvent {
        let digest = settlement(&key, attempt, happened);
        let sig = Bytes(operator.sign_consent(vault, &digest).to_vec());
        WorkEvent::EffectSettled { key, attempt, happened, by: operator.public(), sig }
    }

    /// The operator's word that effects of a capability happen on a device from now on, signed.
    pub fn take(
        capability: &str,
        to: DeviceId,
        turn: u32,
        vault: &VaultId,
        operator: &SecretKey,
    ) -> WorkEvent {
        let digest = taking(capability, &to, turn);
        let sig = Bytes(operator.sign_consent(vault, &digest).to_vec());
        WorkEvent::HomeTaken { capability: capability.to_owned(), to, turn, by: operator.public(), sig }
    }

    /// Whether it is the operator's word alone that makes it count (I11).
    pub fn is_operators(&self) -> bool {
        use WorkEvent as E;
        matches!(
            self,
            E::ApprovalGranted { .. }
                | E::ApprovalEdited { .. }
                | E::EffectSettled { .. }
                | E::HomeTaken { .. }
                | E::DelegationIssued { .. }
                | E::DelegationRevoked { .. }
                | E::AgentReleased { .. }
                | E::AgentRehearsed { .. }
        )
    }

    /// The operator key whose word it is, if it is an operator's and truly signed with that key.
    pub fn signer(&self, vault: &VaultId) -> Option<&DeviceId> {
        let (digest, by, sig) = match self {
            WorkEvent::ApprovalGranted { digest, by, sig, .. } => (*digest, by, sig),
            WorkEvent::ApprovalEdited { key, content, by, sig, .. } => (content.digest(key), by, sig),
            WorkEvent::EffectSettled { key, attempt, happened, by, sig } => {
                (settlement(key, *attempt, *happened), by, sig)
            }
            WorkEvent::DelegationIssued {
                id,
                capability,
                target,
                agent,
                count,
                money,
                until,
                nonce,
                by,
                sig,
            } => {
                let (capability, target, agent) = (capability.clone(), target.clone(), agent.clone());
                let terms = Terms { capability, target, agent, count: *count, money: *money, until: *until };
                let digest = delegating(&terms, nonce);
                // Under another id it could be used once more.
                if *id != digest.short(ID) {
                    return None;
                }
                (digest, by, sig)
            }
            WorkEvent::AgentReleased { id, agent, editions, share, turn, by, sig } => {
                let digest = releasing(agent, editions, *share, *turn);
                if *id != digest.short(ID) {
                    return None;
                }
                (digest, by, sig)
            }
            WorkEvent::AgentRehearsed { task, agent, edition, input, past, by, sig } => {
                (rehearsing(task, agent, edition, input, past.as_ref()), by, sig)
            }
            WorkEvent::DelegationRevoked { id, by, sig } => (revoking(id), by, sig),
            WorkEvent::HomeTaken { capability, to, turn, by, sig } => {
                (taking(capability, to, *turn), by, sig)
            }
            _ => return None,
        };
        let sig = sig.0.as_slice().try_into().ok()?;
        key::verify_consent(by, vault, &digest, sig).then_some(by)
    }
}
