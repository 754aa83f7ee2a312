//! What was said once and is said again, and deeds that lean on themselves: by a thief who has a device's keys.

use aios_core::authority::{Deed, cut_off};
use aios_core::event::Event;
use aios_core::frontier::{Place, View};
use aios_core::id::ContentHash;
use aios_core::item::Bytes;
use aios_core::key::{AcceptanceStatement, MemberStatement, RevocationStatement};
use aios_core::member::MemberError;

use super::town::{ALL, Town, device, id, operator, roles, rooted, town};

/// Device `n`, new, lets itself in with the operator key of `by`, which it says is its own.
fn lean(town: &mut Town, n: usize, by: usize) -> Place {
    let (vault, device, name, roles) = (town.vault, device(n), format!("d{n}"), roles(&ALL));
    let key = operator(by);
    let own = key.public();
    let place = town.next(n);
    let statement = MemberStatement {
        vault: &vault,
        device: &device,
        name: &name,
        roles: &roles,
        operator: Some(&own),
        place,
    };
    let sig = Bytes(key.sign_statement(&statement).to_vec());
    town.write(n, vec![Event::DeviceAdded { device, name, roles, operator: Some(own), sig, by: own }])
}

/// A revocation of `of` by device `by`, signed with the operator key of `with`.
fn revocation(town: &Town, by: usize, with: usize, of: usize) -> Event {
    let (vault, device, place) = (town.vault, device(of), town.next(by));
    let seq = town.logs[by].get(&device);
    let last = cut_off(&town.logs[by], &device, Some(id(&Place { device, seq })));
    let statement = RevocationStatement { vault: &vault, device: &device, last, place };
    let sig = Bytes(operator(with).sign_statement(&statement).to_vec());
    Event::DeviceRevoked { device, last, sig, by: operator(with).public() }
}

#[test]
fn who_lets_itself_in_with_a_stolen_key_takes_nothing_from_others() {
    let mut town = rooted(3);
    town.logs.push(town.logs[0].clone());
    town.recover(3);
    town.logs.push(town.logs[3].clone());
    // The maker is stolen, and revoked with the phrase; the thief has not seen that, or says so.
    town.root_revoke(3, 0);
    let kept = town.change_roles(3, 2, &["write", "carry"]);
    let lent = lean(&mut town, 4, 0);
    let event = revocation(&town, 4, 0, 3);
    let back = town.write(4, vec![event]);
    let members = town.verdict().0;
    assert_eq!(town.present(), [1, 2, 3]);
    assert_eq!(members.0[&device(2)].roles, roles(&["write", "carry"]));
    assert!(town.counts(&kept) && !town.counts(&lent) && !town.counts(&back));
}

#[test]
fn what_was_signed_for_one_record_is_nothing_in_another() {
    let mut town = town(3);
    town.logs.push(town.logs[0].clone());
    let added = town.add(0, 3, &ALL);
    let revoked = town.revoke(0, 1);
    let authority = town.here(0);
    for place in [added, revoked] {
        let mut deed = town.records[&place].deeds[0].clone();
        deed.place.seq += 10;
        deed.view.add(deed.place);
        assert_eq!(authority.weigh(&deed), Err(MemberError::Unsigned(deed.place)));
    }
    let (vault, place, hash) = (town.vault, town.next(0), ContentHash([1; 32]));
    let statement = AcceptanceStatement { vault: &vault, path: "policies/mail.md", hash: &hash, place };
    let sig = Bytes(operator(0).sign_statement(&statement).to_vec());
    let event = Event::RulesAccepted { path: "policies/mail.md".into(), hash, sig, by: operator(0).public() };
    let accepted = town.write(0, vec![event.clone()]);
    town.deliver(0, 2);
    let again = town.write(2, vec![event]);
    let consents = |place: &Place| town.here(0).consents(&town.records[place].deeds[0]);
    assert!(consents(&accepted) && !consents(&again));
}

#[test]
fn who_adds_a_device_once_more_with_an_older_clock_does_not_take_it_over() {
    let mut town = rooted(3);
    let before = town.clock;
    town.clock += 10;
    town.logs.push(View::new());
    town.rotate(0, 3);
    let kept = town.change_roles(3, 2, &["write", "carry"]);
    town.clock = before;
    // An administrator who has not seen it, or says so, adds the device without roles and without an operator key.
    let (vault, of, place) = (town.vault, device(3), town.next(1));
    let statement =
        MemberStatement { vault: &vault, device: &of, name: "x", roles: &[], operator: None, place };
    let sig = Bytes(operator(1).sign_statement(&statement).to_vec());
    let (name, by) = ("x".to_owned(), operator(1).public());
    town.write(1, vec![Event::DeviceAdded { device: of, name, roles: vec![], operator: None, sig, by }]);
    let members = town.verdict().0;
    assert_eq!(town.present(), [1, 2, 3]);
    let member = &members.0[&of];
    assert_eq!((&member.roles, member.operator), (&roles(&ALL), Some(operator(3).public())));
    assert!(town.counts(&kept));
    town.meet(&[1, 2, 3]);
    let authority = town.here(1);
    assert!(authority.is_maker(&of));
    let event = revocation(&town, 1, 1, 3);
    let place = town.write(1, vec![event]);
    assert_eq!(authority.weigh(&town.records[&place].deeds[0]), Err(MemberError::MakerStays(place)));
}

#[test]
fn two_that_each_go_on_as_the_other_are_decided() {
    let mut town = town(3);
    for (by, n) in [(1, 3), (2, 4)] {
        town.logs.push(town.logs[by].clone());
        town.add(by, n, &ALL);
        town.deliver(by, n);
    }
    // Neither has seen that the other is a device already, or says so.
    let before = town.logs[4].clone();
    town.rotate(3, 4);
    town.logs[4] = before;
    town.rotate(4, 3);
    assert!([0, 1, 2].iter().all(|n| town.present().contains(n)));
    town.meet(&[0, 1, 2]);
    town.change_roles(0, 4, &["write"]);
    assert!(!town.here(0).is_maker(&device(4)));
    town.verdict();
}

#[test]
fn nobody_fills_a_record_with_one_revocation() {
    let town = town(3);
    let authority = town.here(0);
    let place = town.next(1);
    let mut view = town.logs[1].clone();
    view.add(place);
    let deed = |index: u32| Deed {
        place,
        index,
        stamp: aios_core::clock::Stamp::new(aios_core::clock::Hlc(9_000, 0), place.device, place.seq),
        view: view.clone(),
        wall: 9_000,
        event: revocation(&town, 1, 1, 2),
    };
    let mut authority = authority;
    assert_eq!(authority.weigh(&deed(0)), Ok(()));
    authority.add(deed(0));
    assert_eq!(authority.weigh(&deed(0)), Ok(()), "the same again is no other");
    assert_eq!(authority.weigh(&deed(1)), Err(MemberError::RevokedAlready(place)));
}
