//! Revocations that cross.

use aios_core::event::Event;
use aios_core::frontier::{Place, View};
use aios_core::id::RecordId;
use aios_core::item::Bytes;
use aios_core::key::RevocationStatement;
use aios_core::member::MemberError;

use super::town::{ALL, Town, device, operator, roles, town};

#[test]
fn who_was_added_earlier_outranks() {
    let mut town = town(4);
    town.revoke(2, 1);
    town.revoke(1, 2);
    assert_eq!(town.present(), [0, 1, 3]);
}

#[test]
fn who_knew_of_it_cannot_revoke_back() {
    let mut town = town(3);
    town.revoke(2, 1);
    town.deliver(2, 1);
    assert!(!town.is_member(1));
    town.revoke(1, 2);
    assert_eq!(town.present(), [0, 2]);
}

#[test]
fn a_revocation_by_one_who_is_struck_first_counts_nowhere() {
    let mut town = town(4);
    town.revoke(3, 2);
    let late = town.revoke(2, 1);
    assert_eq!(town.present(), [0, 1, 3]);
    assert!(!town.counts(&late));
}

#[test]
fn in_a_ring_the_last_to_be_added_yields() {
    let mut town = town(4);
    town.revoke(1, 2);
    town.revoke(2, 3);
    town.revoke(3, 1);
    assert_eq!(town.present(), [0, 1, 3]);
}

#[test]
fn a_ring_does_not_decide_for_who_hangs_on_it() {
    let mut town = town(6);
    // 1 and 2 revoke each other; 2 has revoked 5 too, who has revoked 4.
    town.revoke(1, 2);
    town.revoke(2, 1);
    town.revoke(2, 5);
    town.revoke(5, 4);
    assert_eq!(town.present(), [0, 1, 3, 5]);
}

#[test]
fn who_is_let_in_by_one_who_is_revoked_is_no_member() {
    let mut town = town(4);
    town.logs.push(View::new());
    town.revoke(0, 1);
    town.add(1, 4, &ALL);
    town.deliver(1, 4);
    let alone = town.write(4, vec![]);
    let back = town.revoke(4, 3);
    assert_eq!(town.present(), [0, 2, 3]);
    assert!(!town.counts(&alone) && !town.counts(&back));
    // Somebody who does not know yet builds on it.
    town.deliver(4, 3);
    town.write(3, vec![]);
    assert!(town.counts(&alone));
    assert_eq!(town.present(), [0, 2, 3]);
}

#[test]
fn what_others_built_on_counts_and_what_nobody_did_is_held() {
    let mut town = town(3);
    let before = town.write(1, vec![]);
    town.deliver(1, 0);
    town.revoke(0, 1);
    let known = town.write(1, vec![]);
    town.deliver(1, 2);
    let builds = town.write(2, vec![]);
    let unknown = town.write(1, vec![]);
    assert!(town.counts(&before) && town.counts(&known) && town.counts(&builds) && !town.counts(&unknown));
    // A record that builds on it adopts it, by whoever may write.
    let all = town.all();
    town.meet(&[0, 1, 2]);
    town.write_on(2, vec![], &all);
    assert!(town.counts(&unknown));
}

#[test]
fn of_two_cut_offs_the_lower_stands_for_authority() {
    let mut town = town(5);
    town.revoke(3, 1);
    town.write(1, vec![]);
    town.change_roles(1, 4, &["carry"]);
    town.deliver(1, 2);
    town.revoke(2, 1);
    let (members, counting) = town.verdict();
    assert_eq!(members.0[&device(4)].roles, roles(&ALL), "it was struck by the one who knew less");
    assert_eq!(members.revoked(&device(1)).unwrap().last, 0);
    // The second revocation builds on what it names.
    assert_eq!(counting.get(&device(1)), 2);
}

#[test]
fn who_goes_by_itself_has_said_so() {
    let mut town = town(3);
    let gone = town.revoke(1, 1);
    let late = town.write(1, vec![]);
    assert!(town.counts(&gone) && !town.counts(&late));
    assert_eq!(town.present(), [0, 2]);
    town.revoke(0, 0);
    assert_eq!(town.present(), [2]);
}

#[test]
fn roles_are_those_of_the_past() {
    let mut town = town(4);
    town.change_roles(0, 2, &["write", "carry", "approve"]);
    // 2 does not know yet: what it says then still counts.
    town.change_roles(2, 3, &["write"]);
    let (members, _) = town.verdict();
    assert_eq!(members.0[&device(3)].roles, roles(&["write"]));
    assert_eq!(members.0[&device(2)].roles, roles(&["write", "carry", "approve"]));
    town.deliver(0, 2);
    let view = town.logs[2].clone();
    let authority = town.here(2);
    assert!(!authority.may(&operator(2).public(), "administer", &view));
    assert!(authority.may(&operator(2).public(), "approve", &view));
}

#[test]
fn what_no_past_allows_is_refused() {
    let mut town = town(3);
    let weigh = |town: &Town, place: Place| {
        let deed = town.records[&place].deeds[0].clone();
        town.judged(&town.logs[0], |_| 0).weigh(&deed)
    };
    let maker = town.revoke(1, 0);
    assert_eq!(weigh(&town, maker), Err(MemberError::MakerStays(maker)));
    let stolen = town.change_roles(2, 2, &ALL);
    assert_eq!(weigh(&town, stolen), Ok(()));
    let mut again = town.records[&stolen].deeds[0].clone();
    again.place.seq += 1;
    again.view.add(again.place);
    assert_eq!(town.here(0).weigh(&again), Err(MemberError::Unsigned(again.place)), "said again elsewhere");
    let mut other = town.records[&maker].deeds[0].clone();
    if let Event::DeviceRevoked { device: of, last, sig, .. } = &mut other.event {
        (*of, *last) = (device(2), Some((9, RecordId([9; 32]))));
        let statement = RevocationStatement { vault: &town.vault, device: of, last: *last, place: maker };
        *sig = Bytes(operator(1).sign_statement(&statement).to_vec());
    }
    assert_eq!(town.here(0).weigh(&other), Err(MemberError::CutOff(maker)));
}
