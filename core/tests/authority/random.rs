//! Whatever devices do while they do not know of each other.

use aios_core::frontier::{Place, View};
use proptest::prelude::*;

use super::town::{ALL, Town, device, operator, root_key, rooted};

#[derive(Debug, Clone, Copy)]
enum Act {
    Write(usize),
    Deliver(usize, usize),
    Add(usize, usize),
    Revoke(usize, usize),
    Roles(usize, usize, bool),
    Rotate(usize, usize),
    Recover(usize),
    RootRevoke(usize, usize),
    SetRoot(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let pair = || (0usize..8, 0usize..8);
    prop_oneof![
        3 => (0usize..8).prop_map(Act::Write),
        6 => pair().prop_map(|(from, to)| Act::Deliver(from, to)),
        2 => pair().prop_map(|(by, n)| Act::Add(by, n)),
        3 => pair().prop_map(|(by, n)| Act::Revoke(by, n)),
        1 => (pair(), any::<bool>()).prop_map(|((by, n), all)| Act::Roles(by, n, all)),
        1 => pair().prop_map(|(n, new)| Act::Rotate(n, new)),
        1 => (4usize..8).prop_map(Act::Recover),
        1 => pair().prop_map(|(by, n)| Act::RootRevoke(by, n)),
        1 => (0usize..2).prop_map(Act::SetRoot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However devices change who is a member while they do not know of each other: whoever has all records comes to the same, and
    /// what is said by one who is struck has no consequence.
    #[test]
    fn any_order_ends_the_same(acts in proptest::collection::vec(act(), 1..40)) {
        let mut town = rooted(4);
        town.logs.resize(8, View::new());
        let mut keys = 0;
        for act in acts {
            let administers = |town: &Town, n: usize| {
                let here = town.here(n);
                let may = here.may(&operator(n).public(), "administer", &town.logs[n]);
                here.members().is_present(&device(n)) && may
            };
            match act {
                Act::Write(n) if town.is_member(n) => _ = town.write(n, vec![]),
                Act::Deliver(from, to) => town.deliver(from, to),
                Act::Add(by, n) if administers(&town, by) && !town.here(by).members().0.contains_key(&device(n)) => {
                    _ = town.add(by, n, &ALL);
                }
                Act::Rotate(n, new)
                    if town.is_member(n)
                        && new >= 4
                        && !town.here(n).members().0.contains_key(&device(new))
                        && town.logs[new].is_empty() =>
                {
                    _ = town.rotate(n, new);
                }
                Act::Recover(n) if town.logs[n].is_empty() => {
                    town.deliver(n % 4, n);
                    _ = town.recover(n);
                }
                Act::RootRevoke(by, n)
                    if town.is_member(by) && town.here(by).members().is_present(&device(n)) =>
                {
                    _ = town.root_revoke(by, n);
                }
                Act::SetRoot(n) if town.is_member(n) && town.here(n).is_maker(&device(n)) && keys < 9 => {
                    keys += 1;
                    _ = town.set_root(n, &root_key(keys));
                }
                Act::Revoke(by, n)
                    if administers(&town, by)
                        && (n == by || !town.here(by).is_maker(&device(n)))
                        && town.here(by).members().is_present(&device(n)) =>
                {
                    _ = town.revoke(by, n);
                }
                Act::Roles(by, n, all) if administers(&town, by) && town.here(by).members().is_present(&device(n)) => {
                    _ = town.change_roles(by, n, if all { &ALL } else { &["write"] });
                }
                _ => {}
            }
        }
        let (members, counting) = town.verdict();
        for (id, member) in &members.0 {
            let last = member.revoked.map_or(u64::MAX, |revoked| revoked.last);
            let of = |place: &Place| place.device == *id;
            let own = town.records.keys().filter(|place| of(place) && place.seq <= last);
            for place in own {
                prop_assert!(counting.has(place), "what a member wrote before its end counts");
            }
            // Who was added, was added by somebody whose word counts there.
            if member.added.device != *id {
                let adder = &members.0[&member.added.device];
                prop_assert!(adder.revoked.is_none_or(|revoked| member.added.seq <= revoked.last));
            }
        }
    }
}
