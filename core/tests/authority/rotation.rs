//! Devices that go on under another key.

use aios_core::event::Event;
use aios_core::frontier::View;
use aios_core::member::MemberError;

use super::town::{ALL, device, operator, roles, root_key, town};

#[test]
fn a_device_goes_on_under_another_key() {
    let mut town = town(3);
    town.logs.push(View::new());
    let end = town.rotate(1, 3);
    let late = town.write(1, vec![]);
    town.write(3, vec![]);
    let members = town.verdict().0;
    assert_eq!(town.present(), [0, 2, 3]);
    assert!(!town.counts(&late), "the old key says nothing more");
    assert_eq!(members.0[&device(3)].roles, roles(&ALL));
    assert_eq!(members.0[&device(3)].name, "d1");
    assert_eq!(members.now(&device(1)), device(3));
    assert_eq!(members.revoked(&device(1)).unwrap().place, end);
}

#[test]
fn a_device_ranks_the_same_under_another_key() {
    let mut town = town(3);
    town.logs.push(View::new());
    town.rotate(1, 3);
    town.meet(&[0, 1, 2, 3]);
    town.revoke(2, 3);
    town.revoke(3, 2);
    assert_eq!(town.present(), [0, 3]);
}

#[test]
fn the_maker_is_the_maker_under_another_key() {
    let mut town = town(3);
    town.logs.push(View::new());
    town.rotate(0, 3);
    town.meet(&[0, 1, 2, 3]);
    let refused = town.revoke(1, 3);
    let deed = town.records[&refused].deeds[0].clone();
    assert_eq!(town.here(0).weigh(&deed), Err(MemberError::MakerStays(refused)));
    town.records.remove(&refused);
    town.logs[1] = town.logs[0].clone();
    town.set_root(3, &root_key(0));
    town.revoke(3, 1);
    assert_eq!(town.present(), [2, 3]);
}

#[test]
fn who_was_revoked_does_not_escape_under_another_key() {
    let mut town = town(3);
    town.revoke(0, 1);
    town.logs.push(View::new());
    town.rotate(1, 3);
    let late = town.write(3, vec![]);
    town.revoke(3, 2);
    assert_eq!(town.present(), [0, 2]);
    assert!(!town.counts(&late));
}

#[test]
fn what_is_said_of_the_old_key_meanwhile_holds_for_the_new() {
    let mut town = town(3);
    town.logs.push(View::new());
    town.rotate(1, 3);
    town.change_roles(0, 1, &["write"]);
    town.clock += 10;
    let members = town.verdict().0;
    assert_eq!(members.0[&device(3)].roles, roles(&["write"]));
    town.meet(&[0, 1, 2, 3]);
    assert!(!town.here(3).may(&operator(3).public(), "administer", &town.all()));
}

#[test]
fn another_key_takes_both_old_keys_and_its_own() {
    let mut town = town(3);
    town.logs.push(View::new());
    let place = town.rotate(1, 3);
    let deed = town.records[&place].deeds[0].clone();
    let before = town.judged(&town.logs[0], |_| 0);
    let spoilt = |change: fn(&mut Event)| {
        let mut deed = deed.clone();
        change(&mut deed.event);
        before.weigh(&deed)
    };
    assert_eq!(before.weigh(&deed), Ok(()));
    let unsigned = Err(MemberError::Unsigned(place));
    let change: [fn(&mut Event); 4] = [
        |event| {
            if let Event::DeviceRotated { proof, .. } = event {
                proof.0[7] ^= 1;
            }
        },
        |event| {
            if let Event::DeviceRotated { sig, by, .. } = event {
                (*sig, *by) = (None, None);
            }
        },
        |event| {
            if let Event::DeviceRotated { operator: key, .. } = event {
                *key = Some(operator(2).public());
            }
        },
        |event| {
            if let Event::DeviceRotated { by, .. } = event {
                *by = Some(operator(0).public());
            }
        },
    ];
    for change in change {
        assert_eq!(spoilt(change), unsigned);
    }
    let known = |event: &mut Event| {
        if let Event::DeviceRotated { device: of, .. } = event {
            *of = device(2);
        }
    };
    assert_eq!(spoilt(known), Err(MemberError::Rotated(place)));
}
