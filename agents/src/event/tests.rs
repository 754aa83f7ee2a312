use aios_core::event::Event;

use super::*;
use crate::failure::Class;
use aios_core::id::VaultId;
use aios_core::item::Item;
use serde_json::json;

#[test]
fn work_events_are_items_of_records() {
    let key = EffectKey(ContentHash::of(b"k"));
    let failure = Failure { class: Class::RateLimited, what: "slow down".into(), wait: Some(5) };
    for event in [
        WorkEvent::RunEnded {
            task: "t".into(),
            run: "r1".into(),
            outcome: Outcome::Done,
            result: json!({"a": 1}),
        },
        WorkEvent::EffectEnded { key, attempt: 1, came: Came::Failed { failure } },
        WorkEvent::EffectEnded { key, attempt: 1, came: Came::Unknown },
        WorkEvent::BudgetSet { budget: "models".into(), limit: Money(5) },
    ] {
        let item = Item::Event(Event::try_from(&event).unwrap());
        let text = serde_json::to_string(&item).unwrap();
        let Item::Event(back) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(WorkEvent::try_from(&back).unwrap(), event, "{text}");
    }
    assert!(WorkEvent::try_from(&Event::ConflictSettled { id: "x".into() }).is_err());
}

#[test]
fn a_key_follows_from_the_work() {
    let vault = VaultId([1; 32]);
    assert_eq!(EffectKey::of(&vault, "t", "a/b", 0), EffectKey::of(&vault, "t", "a/b", 0));
    assert_ne!(EffectKey::of(&vault, "t", "a/b", 0), EffectKey::of(&vault, "t", "a/b", 1));
}

#[test]
fn consent_is_to_all_that_is_sent() {
    let key = EffectKey(ContentHash::of(b"k"));
    let content = Content {
        capability: "mail.send".into(),
        target: "bram".into(),
        args: json!({"text": "hi"}),
        amount: Some(Money(5)),
        agent: None,
        tags: vec![],
    };
    let digest = content.digest(&key);
    for other in [
        Content { capability: "mail.draft".into(), ..content.clone() },
        Content { target: "sofie".into(), ..content.clone() },
        Content { args: json!({"text": "ho"}), ..content.clone() },
        Content { amount: None, ..content.clone() },
    ] {
        assert_ne!(other.digest(&key), digest, "{other:?}");
    }
    assert_ne!(content.digest(&EffectKey(ContentHash::of(b"l"))), digest);
}
