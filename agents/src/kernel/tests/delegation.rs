use super::*;
use crate::event::Terms;
use crate::money::Money;

const MAILS: &str = "---
type: workflow
input: {type: object, properties: {clients: {type: array}}}
steps:
  all:
    each: input.clients
    as: client
    at_once: 9
    steps:
      send: {effect: mail.send, target: '{{ client }}', amount: 2, args: {}, agent: news, retry: {attempts: 3, first: 1h}}
---
";
const DENY: &str = "---
type: policy
rules: [{name: never, verdict: deny, target: 'boss*'}]
---
";
const BROKEN: &str = "---
type: policy
rules: [{name: never, verdict: dny, target: 'boss*'}]
---
";

fn sim(policies: &[&str], clients: &[&str]) -> Sim {
    let mut sim = Sim::new(World::default(), &[("mails", MAILS)], policies);
    sim.create("mails", json!({"clients": clients}));
    sim
}

fn terms(count: u64) -> Terms {
    Terms {
        capability: "mail.send".into(),
        target: "*".into(),
        agent: "news".into(),
        count,
        money: None,
        until: START + 86_400_000,
    }
}

fn issue(sim: &mut Sim, terms: Terms) -> String {
    issue_by(sim, terms, &operator())
}

fn issue_by(sim: &mut Sim, terms: Terms, by: &SecretKey) -> String {
    let event = WorkEvent::delegate(terms, "n".into(), &VAULT, by);
    let WorkEvent::DelegationIssued { id, .. } = &event else { panic!("a delegation") };
    let id = id.clone();
    sim.says(&event);
    id
}

/// Goes on until only the operator could do more, who does nothing.
fn rest(sim: &mut Sim) {
    while let Some(action) = sim.queue.pop_front() {
        sim.act(action);
    }
}

fn asking(sim: &Sim) -> usize {
    sim.kernel.inbox().into_iter().filter(|need| matches!(need, Need::Approval { .. })).count()
}

#[test]
fn what_is_delegated_happens_so_often_and_then_asks() {
    let mut sim = sim(&[], &["a", "b", "c", "d"]);
    let id = issue(&mut sim, terms(3));
    rest(&mut sim);
    assert_eq!((sim.done().len(), asking(&sim)), (3, 1));
    let found = sim.kernel.delegations(sim.now);
    assert_eq!((found[0].id, found[0].used.count, found[0].standing), (id.as_str(), 3, Standing::Spent));
    sim.restart();
    rest(&mut sim);
    assert_eq!((sim.done().len(), asking(&sim)), (3, 1), "it is counted from the log");
}

#[test]
fn money_target_agent_and_time_bound_it() {
    let fits = |change: &dyn Fn(&mut Terms)| {
        let mut sim = sim(&[], &["a", "b"]);
        let mut terms = terms(9);
        change(&mut terms);
        issue(&mut sim, terms);
        rest(&mut sim);
        sim.done().len()
    };
    assert_eq!(fits(&|_| {}), 2);
    assert_eq!(fits(&|it| it.money = Some(Money(300))), 1);
    assert_eq!(fits(&|it| it.target = "b*".into()), 1);
    assert_eq!(fits(&|it| it.agent = "other".into()), 0);
    assert_eq!(fits(&|it| it.capability = "file.write".into()), 0);
    assert_eq!(fits(&|it| it.until = START), 0);
}

#[test]
fn it_is_no_way_around_a_denial_nor_a_file_that_cannot_be_read() {
    let mut denied = sim(&[DENY], &["boss"]);
    issue(&mut denied, terms(9));
    rest(&mut denied);
    assert_eq!((denied.done().len(), asking(&denied)), (0, 0));
    let mut broken = sim(&[BROKEN], &["boss"]);
    issue(&mut broken, terms(9));
    rest(&mut broken);
    assert_eq!((broken.done().len(), asking(&broken)), (0, 1));
}

#[test]
fn nobody_else_issues_one_or_makes_two_of_one() {
    let mut sim = sim(&[], &["a", "b"]);
    issue_by(&mut sim, terms(9), &SecretKey::from_bytes(&[6; 32]));
    let WorkEvent::DelegationIssued { id, capability, target, agent, money, until, nonce, by, sig, .. } =
        WorkEvent::delegate(terms(1), "n".into(), &VAULT, &operator())
    else {
        panic!("a delegation")
    };
    let more = |id: String, count| WorkEvent::DelegationIssued {
        id,
        capability: capability.clone(),
        target: target.clone(),
        agent: agent.clone(),
        count,
        money,
        until,
        nonce: nonce.clone(),
        by,
        sig: sig.clone(),
    };
    sim.says(&more(id.clone(), 50));
    sim.says(&more("another".into(), 1));
    rest(&mut sim);
    assert_eq!((sim.done().len(), asking(&sim)), (0, 2));
    sim.says(&more(id, 1));
    assert_eq!(sim.kernel.delegations(sim.now).len(), 1);
}

#[test]
fn it_dies_with_its_issuer() {
    let mut sim = sim(&[], &["a"]);
    issue(&mut sim, terms(9));
    // Its operator is one no more when the work comes to it.
    sim.setting.operators.clear();
    sim.restart();
    sim.create("mails", json!({"clients": ["a"]}));
    rest(&mut sim);
    assert_eq!((sim.done().len(), asking(&sim)), (0, 1));
    assert_eq!(sim.kernel.delegations(sim.now).len(), 0);
}

/// It was allowed, failed, and is to be tried again when the delegation is taken back.
#[test]
fn what_has_not_happened_when_it_ends_does_not() {
    for ends in ["revoked", "expired", "holds"] {
        let mut sim = sim(&[], &["a"]);
        sim.world.refusals = [("a".to_owned(), 1)].into();
        let mut terms = terms(9);
        if ends == "expired" {
            terms.until = START + 60_000;
        }
        let id = issue(&mut sim, terms);
        rest(&mut sim);
        if ends == "revoked" {
            sim.says(&WorkEvent::undelegate(&id, &VAULT, &operator()));
        }
        sim.now += 3 * 3_600_000;
        sim.give(Input::Tick { now: sim.now });
        rest(&mut sim);
        let dead = sim.kernel.inbox().into_iter().any(|need| matches!(need, Need::Dead { .. }));
        assert_eq!((sim.done().len(), dead), if ends == "holds" { (1, false) } else { (0, true) }, "{ends}");
    }
}

#[test]
fn taken_back_it_allows_nothing_more_whoever_says_it_again() {
    let mut sim = sim(&[], &["a"]);
    let event = WorkEvent::delegate(terms(9), "n".into(), &VAULT, &operator());
    let WorkEvent::DelegationIssued { id, .. } = &event else { panic!("a delegation") };
    let end = |by: &SecretKey| WorkEvent::undelegate(id, &VAULT, by);
    sim.says(&event);
    sim.says(&end(&SecretKey::from_bytes(&[6; 32])));
    assert_eq!(sim.kernel.delegations(sim.now)[0].standing, Standing::Valid);
    sim.says(&end(&operator()));
    sim.says(&event);
    rest(&mut sim);
    assert_eq!((sim.done().len(), asking(&sim)), (0, 1));
}
