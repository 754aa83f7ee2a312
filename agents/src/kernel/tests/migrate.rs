use super::*;

const OLD: &str = "---
type: workflow
input: {type: object, properties: {n: {type: number}}}
steps:
  draft: {agent: writer, input: {n: '{{ input.n }}'}}
  sure: {ask: 'Send it?'}
  send: {effect: mail.send, target: ann, args: {text: hello}}
---
";

fn start(old: &str) -> Sim {
    let mut sim = Sim::new(World::default(), &[("mail", old)], &[]);
    sim.create("mail", json!({"n": 1}));
    rest(&mut sim);
    sim
}

fn rest(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

/// Puts another version in force.
fn accept(sim: &mut Sim, text: &str) -> ContentHash {
    let version = ContentHash::of(text.as_bytes());
    let workflow = Workflow::read(text, &crate::workflow::Known::default()).unwrap();
    sim.setting.versions.insert(version, workflow);
    sim.setting.current.insert("mail".into(), version);
    sim.restart();
    version
}

fn migrate(sim: &mut Sim) -> Result<WorkEvent, MigrateError> {
    let tables = sim.kernel.tables();
    sim.kernel.migrate("t", tables.task("t").unwrap())
}

#[test]
fn what_is_to_come_is_done_by_the_new_version() {
    let whole = {
        let mut sim = start(OLD);
        accept(&mut sim, &OLD.replace("hello", "good day"));
        let event = migrate(&mut sim).unwrap();
        sim.says(&event);
        sim.run();
        assert_eq!(sim.done(), ["ann {\"text\":\"good day\"}"]);
        assert_eq!(sim.kernel.replay("t", &mut |_| None).unwrap().difference, None);
        sim.acts
    };
    for crash in 0..whole {
        let mut sim = start(OLD);
        accept(&mut sim, &OLD.replace("hello", "good day"));
        let event = migrate(&mut sim).unwrap();
        sim.says(&event);
        sim.crash_in = Some(crash);
        sim.run();
        assert_eq!(sim.done(), ["ann {\"text\":\"good day\"}"], "crash {crash}");
    }
}

#[test]
fn without_the_word_of_the_operator_a_run_keeps_its_version() {
    let mut sim = start(OLD);
    accept(&mut sim, &OLD.replace("hello", "good day"));
    sim.run();
    assert_eq!(sim.done(), ["ann {\"text\":\"hello\"}"]);
}

#[test]
fn what_does_not_match_stays_and_says_why() {
    for (from, to, why) in [
        ("n: '{{ input.n }}'", "n: '{{ input.n }}', more: 1", "step `draft`"),
        ("  sure:", "  first: {wait: 1h}\n  sure:", "does not come to step `sure`"),
        ("sure: {ask: 'Send it?'}", "sure: {wait: 1h}", "step `sure`, to which it came, is of another kind"),
        ("  sure: {ask: 'Send it?'}\n", "", "came to step `sure`, which the new version does not have"),
        ("n: {type: number}", "n: {type: number, minimum: 5}", "what it was given does not fit"),
        ("", "", "it has the version in force"),
    ] {
        let mut sim = start(OLD);
        accept(&mut sim, &OLD.replace(from, to));
        let found = migrate(&mut sim).map(|_| ()).unwrap_err().to_string();
        assert!(found.contains(why), "{from}: {found}");
        sim.run();
        assert_eq!(sim.done(), ["ann {\"text\":\"hello\"}"], "{from}");
    }
}

#[test]
fn a_step_that_failed_for_good_is_done_by_the_version_that_mends_it() {
    let mut sim = start(OLD);
    sim.world.never = ["ann".to_owned()].into();
    sim.run();
    assert!(matches!(sim.kernel.inbox()[..], [Need::Dead { .. }]));
    accept(&mut sim, &OLD.replace("target: ann", "target: bob"));
    let event = migrate(&mut sim).unwrap();
    sim.says(&event);
    rest(&mut sim);
    let Need::Dead { task, run, step, .. } = sim.kernel.inbox()[0].clone() else { panic!("it is stuck") };
    sim.says(&WorkEvent::TaskRetried { task, run, step });
    sim.run();
    assert_eq!(sim.done(), ["bob {\"text\":\"hello\"}"], "{:#?}", sim.kernel.inbox());
}

#[test]
fn said_twice_or_too_late_it_is_nothing() {
    let mut sim = start(OLD);
    accept(&mut sim, &OLD.replace("hello", "good day"));
    let event = migrate(&mut sim).unwrap();
    // Another one is in force before the device hears of it.
    let last = accept(&mut sim, &OLD.replace("hello", "good night"));
    sim.says(&event);
    rest(&mut sim);
    let run = |sim: &Sim| sim.kernel.tables().task("t").unwrap().runs.values().next().unwrap().clone();
    assert!(run(&sim).unmoved.unwrap().contains("another version"));
    sim.says(&event);
    let event = migrate(&mut sim).unwrap();
    sim.says(&event);
    sim.says(&event);
    rest(&mut sim);
    assert_eq!(sim.kernel.tables().task("t").unwrap().version, Some(last));
    assert_eq!(run(&sim).moves, 2);
    sim.run();
    assert_eq!(sim.done(), ["ann {\"text\":\"good night\"}"]);
}
