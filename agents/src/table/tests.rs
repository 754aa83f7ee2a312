use std::collections::BTreeSet;

use aios_core::clock::Hlc;
use aios_core::id::{ContentHash, DeviceId, VaultId};
use aios_core::item::Bytes;
use aios_core::key::SecretKey;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{Came, Content, Outcome};
use crate::failure::{Class, Failure};
use crate::money::Money;
use crate::policy::Verdict;

fn key(n: u8) -> EffectKey {
    EffectKey(ContentHash([n; 32]))
}

fn content() -> Content {
    Content {
        capability: "mail.send".into(),
        target: "bram".into(),
        args: json!({}),
        amount: None,
        agent: None,
        tags: vec![],
    }
}

fn intended(key: EffectKey, attempt: u32) -> WorkEvent {
    WorkEvent::EffectIntended { key, attempt, digest: content().digest(&key), capability: "mail.send".into() }
}

fn granted(key: EffectKey, digest: ContentHash) -> WorkEvent {
    WorkEvent::approve(key, digest, &VaultId([7; 32]), &SecretKey::from_bytes(&[5; 32]))
}

fn order(time: u64, device: u8) -> Order {
    Order(Stamp::new(Hlc(time, 0), DeviceId([device; 32]), time), 0)
}

fn events() -> impl Strategy<Value = WorkEvent> {
    let task = || prop_oneof![Just("t1".to_owned()), Just("t2".to_owned())];
    let run = || prop_oneof![Just("r1".to_owned()), Just("r2".to_owned())];
    let step = || prop_oneof![Just("a".to_owned()), Just("a[0]/b".to_owned())];
    let failure = || Failure::new(Class::Transient, "x");
    let effect = || (0u8..2).prop_map(key);
    let digest = |key: EffectKey, right: bool| {
        if right { content().digest(&key) } else { ContentHash([9; 32]) }
    };
    prop_oneof![
        (task(), 0..3).prop_map(|(task, n)| WorkEvent::TaskCreated {
            task,
            workflow: format!("w{n}"),
            version: ContentHash([0; 32]),
            input: json!(n),
            parent: None,
            on: None,
            trigger: None,
        }),
        (task(), run()).prop_map(|(task, run)| WorkEvent::RunStarted { task, run, made: None }),
        (task(), run(), step(), 1u32..4).prop_map(|(task, run, step, attempt)| WorkEvent::StepStarted {
            task,
            run,
            step,
            attempt,
            input: ContentHash([0; 32]),
            items: None,
            until: Some(5),
            agent: None,
        }),
        (task(), run(), step(), 0..3).prop_map(|(task, run, step, n)| WorkEvent::StepFinished {
            task,
            run,
            step,
            result: json!(n),
            go: None,
        }),
        (task(), run(), step(), 1u32..4, proptest::option::of(0u64..9)).prop_map(
            move |(task, run, step, attempt, retry)| WorkEvent::StepFailed {
                task,
                run,
                step,
                attempt,
                failure: failure(),
                retry,
            }
        ),
        (task(), run(), step()).prop_map(|(task, run, step)| WorkEvent::TaskRetried { task, run, step }),
        (task(), run(), step()).prop_map(|(task, run, step)| WorkEvent::TimerFired {
            task,
            run,
            step,
            at: 5,
            late: 1,
        }),
        (task(), run(), 0..3).prop_map(|(task, run, n)| WorkEvent::RunEnded {
            task,
            run,
            outcome: Outcome::Done,
            result: json!(n),
        }),
        effect().prop_map(|key| WorkEvent::EffectProposed {
            key,
            task: "t1".into(),
            run: "r1".into(),
            step: "a".into(),
            generation: 0,
            content: content(),
        }),
        (effect(), prop_oneof![Just(Verdict::Ask), Just(Verdict::Allow)]).prop_map(|(key, verdict)| {
            WorkEvent::EffectDecided {
                key,
                digest: content().digest(&key),
                capability: "mail.send".into(),
                rule: (verdict == Verdict::Allow).then(|| "r".to_owned()),
                verdict,
                why: String::new(),
            }
        }),
        (effect(), any::<bool>()).prop_map(move |(key, right)| granted(key, digest(key, right))),
        effect().prop_map(|key| WorkEvent::ApprovalDenied { key, note: "no".into() }),
        (effect(), 1u32..3).prop_map(|(key, attempt)| intended(key, attempt)),
        (effect(), 1u32..3, prop_oneof![Just(Came::Unknown), Just(Came::Done { result: json!(1) })])
            .prop_map(|(key, attempt, came)| WorkEvent::EffectEnded { key, attempt, came }),
        (effect(), 1..3u32, any::<bool>()).prop_map(|(key, attempt, happened)| {
            let (by, sig) = (DeviceId([1; 32]), Bytes(Vec::new()));
            WorkEvent::EffectSettled { key, attempt, happened, by, sig }
        }),
        (prop_oneof![Just("task t1".to_owned()), Just(format!("effect {}", EffectKey::LEAST.0.hex()))])
            .prop_map(|id| WorkEvent::JournalWritten { day: "2026-11-21".into(), ids: vec![id], tidied: 0 }),
        (0u8..3, 0u32..3).prop_map(|(device, turn)| WorkEvent::TaskMoved {
            task: "t1".into(),
            to: DeviceId([device; 32]),
            turn,
            why: "x".into(),
            pinned: false,
        }),
        any::<bool>().prop_map(|heavy| WorkEvent::DeviceOffers {
            offer: crate::needs::Offer { heavy, ..Default::default() },
        }),
        (0u64..9).prop_map(|n| WorkEvent::BudgetSet { budget: "b".into(), limit: Money(n) }),
        (0u8..3, 0u64..9).prop_map(|(device, n)| WorkEvent::BudgetGranted {
            budget: "b".into(),
            to: DeviceId([device; 32]),
            amount: Money(n),
        }),
        (0u64..9).prop_map(|n| WorkEvent::BudgetAsked { budget: "b".into(), amount: Money(n) }),
        (0u8..3).prop_map(|device| WorkEvent::HomeMoved {
            capability: MODELS.into(),
            to: DeviceId([device; 32]),
        }),
        (0u8..3, 0u64..9).prop_map(|(id, n)| WorkEvent::BudgetReserved {
            budget: "b".into(),
            id: id.to_string(),
            amount: Money(n),
        }),
        (0u8..3, 0u64..9).prop_map(|(id, n)| WorkEvent::BudgetSettled {
            budget: "b".into(),
            id: id.to_string(),
            amount: Money(n),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any order of arrival, with some events arriving twice, gives the tables that the total order gives.
    #[test]
    fn tables_follow_from_the_set_of_events(
        list in proptest::collection::vec((events(), 0u8..3), 0..60)
            .prop_flat_map(|list| {
                let list: Vec<(Order, WorkEvent)> = list
                    .into_iter()
                    .enumerate()
                    .map(|(n, (event, device))| (order(n as u64 / 2, device), event))
                    .enumerate()
                    .map(|(n, (order, event))| (Order(order.0, n as u32), event))
                    .collect();
                let twice: Vec<_> = list.iter().chain(list.iter().step_by(3)).cloned().collect();
                (Just(list), Just(twice).prop_shuffle())
            })
    ) {
        let (mut sorted, shuffled) = list;
        sorted.sort_by_key(|(order, _)| *order);
        let mut expected = Tables::new(Some(DeviceId([1; 32])));
        sorted.into_iter().for_each(|(order, event)| expected.insert(order, event));
        let mut found = Tables::new(Some(DeviceId([1; 32])));
        // What is over is small at once here, and whole there.
        found.keep_whole(0);
        shuffled.into_iter().for_each(|(order, event)| {
            found.insert(order, event);
            found.shut();
        });
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(&found.index, &found.indexed_anew());
    }
}

#[test]
fn a_late_event_refolds_its_aggregate_alone() {
    let mut tables = Tables::default();
    let ended = |task: &str, run: &str, n: i32| WorkEvent::RunEnded {
        task: task.into(),
        run: run.into(),
        outcome: Outcome::Done,
        result: json!(n),
    };
    let started =
        |task: &str, run: &str| WorkEvent::RunStarted { task: task.into(), run: run.into(), made: None };
    tables.insert(order(2, 1), started("t", "r2"));
    tables.insert(order(4, 1), ended("t", "r2", 2));
    assert_eq!(tables.task("t").unwrap().ended, Some(("r2".into(), Outcome::Done, json!(2))));
    tables.insert(order(1, 2), started("t", "r1"));
    tables.insert(order(3, 2), ended("t", "r1", 1));
    let task = tables.task("t").unwrap();
    assert_eq!(task.ended, Some(("r1".into(), Outcome::Done, json!(1))));
    assert_eq!(task.runs.keys().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn what_is_over_is_small_and_says_the_same() {
    let created = |parent: Option<&str>, task: &str| WorkEvent::TaskCreated {
        task: task.into(),
        workflow: "w".into(),
        version: ContentHash([0; 32]),
        input: json!({"text": "1.5", "number": 3}),
        parent: parent.map(|parent| (parent.to_owned(), "a".to_owned())),
        on: None,
        trigger: None,
    };
    let ended = |task: &str| WorkEvent::RunEnded {
        task: task.into(),
        run: format!("r{task}"),
        outcome: Outcome::Done,
        result: json!([task]),
    };
    let started =
        |task: &str| WorkEvent::RunStarted { task: task.into(), run: format!("r{task}"), made: None };
    let (mut small, mut whole) = (Tables::default(), Tables::default());
    small.keep_whole(0);
    let mut at = 0;
    let mut both = |small: &mut Tables, event: WorkEvent| {
        at += 1;
        small.insert(order(at, 1), event.clone());
        whole.insert(order(at, 1), event);
        small.shut();
        assert_eq!(*small, whole);
    };
    both(&mut small, created(None, "t"));
    both(&mut small, started("t"));
    both(&mut small, created(Some("t"), "part"));
    both(&mut small, started("part"));
    both(&mut small, ended("part"));
    assert!(!small.tasks.is_small("part"), "what it is part of is not over");
    let proposed = WorkEvent::EffectProposed {
        key: key(1),
        task: "t".into(),
        run: "rt".into(),
        step: "a".into(),
        generation: 0,
        content: content(),
    };
    both(&mut small, proposed);
    let (digest, capability) = (content().digest(&key(1)), "mail.send".to_owned());
    let (verdict, why) = (Verdict::Allow, String::new());
    let decided = WorkEvent::EffectDecided { key: key(1), digest, capability, verdict, rule: None, why };
    both(&mut small, decided);
    both(&mut small, ended("t"));
    assert!(small.tasks.is_small("t") && small.tasks.is_small("part"));
    assert!(!small.effects.is_small(&key(1)), "it may still happen");
    both(&mut small, intended(key(1), 1));
    both(
        &mut small,
        WorkEvent::EffectEnded { key: key(1), attempt: 1, came: Came::Done { result: json!(1) } },
    );
    // What is said late of what is small.
    both(&mut small, WorkEvent::TaskPaused { task: "t".into() });
    assert!(small.tasks.is_small("t") && small.effects.is_small(&key(1)));
    small.insert(order(2, 9), started("part"));
    small.shut();
    assert_eq!(small.task("part").unwrap().runs["rpart"].device, DeviceId([9; 32]));
    assert_eq!(small.parts("t").map(|(id, _)| id).collect::<Vec<_>>(), ["part"]);
    // A fraction may be read back as another number: that stays whole.
    small.insert(order(90, 1), WorkEvent::RunStarted { task: "f".into(), run: "r".into(), made: None });
    let (task, run) = ("f".to_owned(), "r".to_owned());
    small.insert(order(91, 1), WorkEvent::RunEnded { task, run, outcome: Outcome::Done, result: json!(0.1) });
    small.shut();
    assert!(!small.tasks.is_small("f"));
}

#[test]
fn a_denial_beats_an_approval_until_the_act() {
    let key = key(1);
    let consent = granted(key, content().digest(&key));
    let denied = WorkEvent::ApprovalDenied { key, note: "no".into() };
    let base = |tables: &mut Tables| {
        tables.insert(
            order(1, 1),
            WorkEvent::TaskCreated {
                task: "t".into(),
                workflow: "w".into(),
                version: ContentHash([0; 32]),
                input: json!({}),
                parent: None,
                on: None,
                trigger: None,
            },
        );
        tables.insert(
            Order(order(1, 1).0, 1),
            WorkEvent::EffectProposed {
                key,
                task: "t".into(),
                run: "r".into(),
                step: "a".into(),
                generation: 0,
                content: content(),
            },
        );
        let why = String::new();
        let (verdict, digest) = (Verdict::Ask, content().digest(&key));
        let capability = "mail.send".into();
        tables.insert(
            order(2, 1),
            WorkEvent::EffectDecided { key, digest, capability, verdict, rule: None, why },
        );
    };
    let mut tables = Tables::default();
    base(&mut tables);
    assert_eq!(tables.effect(&key).unwrap().stand(), Stand::Waiting);
    tables.insert(order(3, 1), granted(key, ContentHash([0; 32])));
    assert_eq!(tables.effect(&key).unwrap().stand(), Stand::Waiting, "consent to something else is none");
    tables.insert(order(4, 1), consent.clone());
    assert_eq!(tables.effect(&key).unwrap().stand(), Stand::Allowed);
    tables.insert(order(5, 2), denied.clone());
    assert_eq!(tables.effect(&key).unwrap().stand(), Stand::Denied("no".into()));

    let mut tables = Tables::default();
    base(&mut tables);
    tables.insert(order(3, 1), consent);
    tables.insert(order(4, 1), intended(key, 1));
    tables.insert(order(5, 2), denied);
    assert!(matches!(tables.effect(&key).unwrap().stand(), Stand::Performing(_)));
}

/// What is refused when it has begun stays in the tables, in whatever order it comes, until the operator takes note; what did not happen is
/// not tried again.
#[test]
fn a_denial_that_comes_too_late_is_told() {
    let key = key(1);
    let (task, run, step) = ("t".to_owned(), "r".to_owned(), "a".to_owned());
    let (digest, capability) = (content().digest(&key), "mail.send".to_owned());
    let denied = |at, device| (order(at, device), WorkEvent::ApprovalDenied { key, note: "no".into() });
    let done = Came::Done { result: json!(1) };
    let failed = Came::Failed { failure: Failure::new(Class::Transient, "busy") };
    let ended = |attempt, came: &Came| WorkEvent::EffectEnded { key, attempt, came: came.clone() };
    let settled = |attempt, happened| {
        let operator = SecretKey::from_bytes(&[5; 32]);
        WorkEvent::settle(key, attempt, happened, &VaultId([7; 32]), &operator)
    };
    let base = [
        (
            order(1, 1),
            WorkEvent::TaskCreated {
                task: task.clone(),
                workflow: "w".into(),
                version: ContentHash([0; 32]),
                input: json!({}),
                parent: None,
                on: None,
                trigger: None,
            },
        ),
        (order(2, 1), WorkEvent::EffectProposed { key, task, run, step, generation: 0, content: content() }),
        (
            order(3, 1),
            WorkEvent::EffectDecided {
                key,
                digest,
                capability,
                verdict: Verdict::Ask,
                rule: None,
                why: String::new(),
            },
        ),
        (order(4, 1), granted(key, digest)),
        (order(10, 1), intended(key, 1)),
    ];
    // In the order of the log, against it, and the denial at last.
    let folds = |more: &[(Order, WorkEvent)], expected: &dyn Fn(&Effect)| {
        let all: Vec<_> = base.iter().chain(more).cloned().collect();
        let mut sorted = all.clone();
        sorted.sort_by_key(|(order, _)| *order);
        let reversed = sorted.iter().rev().cloned().collect();
        let (late, first) =
            sorted.iter().cloned().partition(|(_, it)| matches!(it, WorkEvent::ApprovalDenied { .. }));
        let late: Vec<_> = Vec::into_iter(first).chain(Vec::into_iter(late)).collect();
        for list in [sorted, reversed, late] {
            let mut tables = Tables::default();
            tables.keep_whole(0);
            list.into_iter().for_each(|(order, event)| tables.insert(order, event));
            let effect = tables.effect(&key).unwrap();
            expected(effect);
            assert_eq!(tables.refused_late().count(), usize::from(effect.too_late().is_some()));
            assert_eq!(tables.index, tables.indexed_anew());
        }
    };
    let is_late = |at| {
        move |effect: &Effect| {
            assert_eq!(effect.too_late(), Some(&Refusal { note: "no".into(), at, changed: false }));
            assert!(!matches!(effect.stand(), Stand::Denied(_)));
        }
    };
    // After what was durable before it, and before that in the order where its home had not heard of it.
    for at in [20, 5] {
        folds(&[denied(at, 2)], &is_late(at));
        folds(&[denied(at, 2), (order(15, 1), ended(1, &done))], &is_late(at));
        folds(&[denied(at, 2), (order(15, 1), ended(1, &Came::Unknown))], &is_late(at));
        folds(
            &[denied(at, 2), (order(15, 1), ended(1, &done)), (order(30, 2), settled(1, true))],
            &|effect| {
                assert_eq!((effect.too_late(), effect.stand()), (None, Stand::Done(json!(1))));
            },
        );
        let stays = |effect: &Effect| {
            assert_eq!((effect.too_late(), effect.stand()), (None, Stand::Denied("no".into())));
        };
        folds(&[denied(at, 2), (order(15, 1), ended(1, &failed))], &stays);
        let (unknown, not) = ((order(15, 1), ended(1, &Came::Unknown)), (order(16, 2), settled(1, false)));
        folds(&[denied(at, 2), unknown, not], &stays);
        // Its home tried once more before it heard of it.
        let again = [(order(15, 1), ended(1, &failed)), (order(25, 1), intended(key, 2))];
        folds(&[denied(at, 2), again[0].clone(), again[1].clone()], &is_late(at));
    }
    // Nothing had begun.
    let mut tables = Tables::default();
    base[..4].iter().cloned().for_each(|(order, event)| tables.insert(order, event));
    let (order, event) = denied(20, 2);
    tables.insert(order, event);
    let effect = tables.effect(&key).unwrap();
    assert_eq!((effect.too_late(), effect.stand()), (None, Stand::Denied("no".into())));
}
