use super::*;

const NOON: &str = "2026-11-20T12:00:00Z";

fn policies(files: &[(&str, &str)]) -> Policies {
    let read = |(path, rules): &(&str, &str)| {
        let text = format!("---\ntype: policy\nrules:\n{rules}---\n");
        ((*path).to_owned(), Policy::read(path, &text, jiff::tz::db()))
    };
    Policies::of(files.iter().map(read).collect())
}

fn millis_of(at: &str) -> Millis {
    u64::try_from(at.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
}

fn mail(target: &str) -> Proposal {
    Proposal { capability: "mail.send".into(), target: target.into(), ..Proposal::default() }
}

fn verdict(policies: &Policies, proposal: &Proposal, at: &str) -> (Verdict, Option<String>) {
    let decision = policies.decide(proposal, millis_of(at), &|_, _| Usage::default());
    (decision.verdict, decision.rule)
}

#[test]
fn the_first_rule_that_fits_decides_and_without_one_effects_ask() {
    let rules = "  - {name: boss, verdict: deny, capability: 'mail.*', target: 'boss@*'}\n  - {name: own, verdict: allow, capability: mail.send, target: '*@example.org'}\n";
    let policies = policies(&[("policies/mail.md", rules)]);
    assert_eq!(
        verdict(&policies, &mail("Boss@example.org"), NOON),
        (Verdict::Deny, Some("policies/mail.md#boss".into()))
    );
    assert_eq!(verdict(&policies, &mail("me@example.org"), NOON).0, Verdict::Allow);
    assert_eq!(verdict(&policies, &mail("me@example.org.evil.example"), NOON), (Verdict::Ask, None));
    assert_eq!(verdict(&Policies::default(), &mail("x"), NOON), (Verdict::Ask, None));
}

#[test]
fn a_broken_file_fails_closed() {
    let allow = "  - {name: all, verdict: allow}\n  - {name: never, verdict: deny}\n";
    let both = policies(&[("policies/a.md", allow), ("policies/b.md", "  - {name: x, verdict: perhaps}\n")]);
    assert_eq!(verdict(&both, &mail("x"), NOON).0, Verdict::Ask);
    let denies = policies(&[
        ("policies/a.md", "  - {name: no, verdict: deny}\n"),
        ("policies/b.md", "  - {name: x}\n"),
    ]);
    assert_eq!(verdict(&denies, &mail("x"), NOON).0, Verdict::Deny);
}

#[test]
fn hours_days_amounts_agents_and_tags_narrow_a_rule() {
    let rules = "  - {name: r, verdict: allow, hours: '22:00-07:00', days: mon-fri, zone: UTC, amount: {from: 5, to: 50}, agent: news, tags: [a]}\n";
    let policies = policies(&[("policies/a.md", rules)]);
    let good = Proposal {
        amount: Some(Money(5000)),
        agent: Some("news".into()),
        tags: vec!["b".into(), "a".into()],
        ..mail("x")
    };
    let night = "2026-11-20T23:00:00Z";
    assert_eq!(verdict(&policies, &good, night).0, Verdict::Allow);
    assert_eq!(verdict(&policies, &good, NOON).0, Verdict::Ask);
    assert_eq!(verdict(&policies, &good, "2026-11-21T23:00:00Z").0, Verdict::Ask);
    for other in [
        Proposal { amount: Some(Money(5001)), ..good.clone() },
        Proposal { amount: None, ..good.clone() },
        Proposal { agent: None, ..good.clone() },
        Proposal { tags: vec![], ..good.clone() },
    ] {
        assert_eq!(verdict(&policies, &other, night).0, Verdict::Ask, "{other:?}");
    }
}

#[test]
fn a_cap_that_is_reached_asks() {
    let rules =
        "  - {name: r, verdict: allow, zone: UTC, caps: [{count: 2, per: day}, {money: 10, per: month}]}\n";
    let policies = policies(&[("policies/a.md", rules)]);
    let proposal = Proposal { amount: Some(Money(400)), ..mail("x") };
    let now = millis_of(NOON);
    let decide = |day: u64, month: u64| {
        let usage = |_: &str, since: Since| match since {
            Since::At(at) if at == millis_of("2026-11-20T00:00:00Z") => {
                Usage { count: day, ..Usage::default() }
            }
            Since::At(at) if at == millis_of("2026-11-01T00:00:00Z") => {
                Usage { money: Money(month), ..Usage::default() }
            }
            other => panic!("{other:?}"),
        };
        policies.decide(&proposal, now, &usage).verdict
    };
    assert_eq!(decide(1, 600), Verdict::Allow);
    assert_eq!(decide(2, 0), Verdict::Ask);
    assert_eq!(decide(0, 601), Verdict::Ask);
}

#[test]
fn mistakes_have_places() {
    let text = "---\ntype: policy\nrules:\n  - {name: a, verdict: alow}\n  - {name: a, verdict: ask, hours: '9-17', caps: [{count: 1, per: year}]}\n  - {verdict: deny, capabilty: x, target: []}\n---\n";
    let mistakes = Policy::read("policies/a.md", text, jiff::tz::db()).unwrap_err();
    let found: Vec<String> = mistakes.iter().map(|it| format!("{} {}", it.at, it.what)).collect();
    assert_eq!(
        found,
        [
            "4:24 that is no verdict",
            "5:12 there are two rules called `a`",
            "5:36 that is no part of a day",
            "5:67 that is no time to count over",
            "6:5 a rule needs a `name`",
            "6:21 a rule has no key `capabilty`",
            "6:43 with nothing in `target` it would be about nothing",
        ]
    );
}

#[test]
fn patterns() {
    for (pattern, text, is) in [
        ("a*c", "abc", true),
        ("a*c", "ab", false),
        ("*", "", true),
        ("a", "ab", false),
        ("a*b*a", "aba", true),
        ("ab*ba", "aba", false),
        ("**x", "x", true),
    ] {
        assert_eq!(fits(pattern, text), is, "{pattern} {text}");
    }
}

fn decide(policies: &Policies, at: &str, usage: Usage) -> Decision {
    policies.decide(&mail("x"), millis_of(at), &|_, _| usage)
}

#[test]
fn in_quiet_hours_it_waits_for_their_end() {
    let rules = "  - {name: never, verdict: deny, target: never}\n  - {name: r, verdict: allow, zone: Europe/Amsterdam, quiet: '22:00-07:30'}\n";
    let policies = policies(&[("policies/a.md", rules)]);
    for (at, until) in [
        ("2026-11-20T12:00:00Z", None),
        ("2026-11-20T20:59:59Z", None),
        ("2026-11-20T21:00:00Z", Some("2026-11-21T06:30:00Z")),
        ("2026-11-21T06:29:59Z", Some("2026-11-21T06:30:00Z")),
        ("2026-11-21T06:30:00Z", None),
        // The night in which the clocks are put forward.
        ("2027-03-28T00:30:00Z", Some("2027-03-28T05:30:00Z")),
    ] {
        let decision = decide(&policies, at, Usage::default());
        assert_eq!(decision.until, until.map(millis_of), "{at}");
        assert_eq!(decision.verdict, Verdict::Allow, "{at}");
    }
    let never = policies.decide(&mail("never"), millis_of("2026-11-20T23:00:00Z"), &|_, _| Usage::default());
    assert_eq!((never.verdict, never.until), (Verdict::Deny, None), "what is denied needs no time");
}

#[test]
fn quiet_hours_until_midnight_end_there() {
    let rules = "  - {name: r, verdict: ask, zone: UTC, quiet: '20:00-24:00'}\n";
    let policies = policies(&[("policies/a.md", rules)]);
    let decision = decide(&policies, "2026-11-20T21:00:00Z", Usage::default());
    assert_eq!(decision.until, Some(millis_of("2026-11-21T00:00:00Z")));
}

#[test]
fn beyond_a_rate_it_waits_until_one_more_fits() {
    let rules = "  - {name: r, verdict: allow, rate: [{count: 3, per: minute}, {count: 100, per: hour}]}\n";
    let policies = policies(&[("policies/a.md", rules)]);
    let now = millis_of(NOON);
    let used = |count, ago| Usage { count, money: Money(0), first: Some(now - ago) };
    assert_eq!(decide(&policies, NOON, used(2, 1000)).until, None);
    assert_eq!(decide(&policies, NOON, used(3, 20_000)).until, Some(now + 40_000));
    // A clock that is behind what is recorded.
    assert_eq!(
        decide(&policies, NOON, Usage { first: Some(now + 500), ..used(3, 0) }).until,
        Some(now + 60_500)
    );
    let long = decide(&policies, NOON, used(100, 600_000)).until;
    assert_eq!(long, Some(now + 3_000_000), "the longest wait counts");
}

#[test]
fn an_escalation_is_told_where_it_is_asked() {
    let stages = "escalate: [{after: 4h, ask: 'Ann waits'}, {after: 2d, deny: nobody decided}]";
    let rules = format!("  - {{name: r, verdict: ask, {stages}}}\n");
    let policies = policies(&[("policies/a.md", &rules)]);
    let decision = decide(&policies, NOON, Usage::default());
    let hour = 3_600_000;
    assert_eq!(
        decision.escalation,
        [
            Stage { after: 4 * hour, louder: Louder::Ask("Ann waits".into()) },
            Stage { after: 48 * hour, louder: Louder::Deny("nobody decided".into()) },
        ]
    );
}

#[test]
fn what_is_wrong_with_waiting_has_a_place_and_fails_closed() {
    let wrong = |rule: &str| {
        let text = format!("---\ntype: policy\nrules:\n  - {{name: a, {rule}}}\n---\n");
        let mistakes = Policy::read("policies/a.md", &text, jiff::tz::db()).err().unwrap_or_default();
        mistakes.into_iter().map(|it| it.what).collect::<Vec<_>>().join("; ")
    };
    for (rule, what) in [
        ("verdict: allow, quiet: '22-7', zone: UTC", "no part of a day"),
        ("verdict: allow, quiet: '22:00-07:00'", "need `zone`"),
        ("verdict: allow, rate: {count: 5, per: day}", "no time for a rate"),
        ("verdict: allow, rate: {per: hour}", "needs `count`"),
        ("verdict: ask, rate: {count: 5, per: hour}", "`rate` says nothing of what is asked about"),
        ("verdict: deny, escalate: [{after: 1h, deny: x}]", "`escalate` says nothing of what is denied"),
        ("verdict: ask, escalate: [{after: 1h, ask: x}]", "ends in `deny`"),
        ("verdict: ask, escalate: [{after: 1h, deny: x}, {after: 2h, deny: x}]", "ends in `deny`"),
        ("verdict: ask, escalate: [{after: 2h, ask: x}, {after: 1h, deny: x}]", "longer than the one before"),
        ("verdict: ask, escalate: [{after: soon, deny: x}]", "no length of time"),
        ("verdict: ask, escalate: [{after: 1h}]", "either asks or denies"),
        ("verdict: ask, escalate: []", "has stages"),
    ] {
        assert!(wrong(rule).contains(what), "{rule}: {}", wrong(rule));
    }
    let files = [
        ("policies/a.md", "  - {name: all, verdict: allow}\n"),
        ("policies/b.md", "  - {name: x, verdict: ask, escalate: soon}\n"),
    ];
    assert_eq!(decide(&policies(&files), NOON, Usage::default()).verdict, Verdict::Ask);
}
