//! The root key against everybody else.

use aios_core::authority::{Authority, Deed};
use aios_core::event::{Event, RootKey};
use aios_core::frontier::Place;
use aios_core::id::VaultId;
use aios_core::item::Bytes;
use aios_core::member::MemberError;

use super::town::{ALL, Town, device, roles, root_key, root_named, rooted, town};

#[test]
fn the_root_key_outranks_the_maker() {
    let mut town = rooted(4);
    // The lost laptop revokes everybody else; whoever found it does not know of the recovery.
    town.revoke(0, 1);
    town.revoke(0, 2);
    let late = town.write(0, vec![]);
    town.deliver(3, 1);
    town.root_revoke(1, 0);
    assert_eq!(town.present(), [1, 2, 3]);
    assert!(!town.counts(&late));
}

#[test]
fn a_device_lets_itself_in_with_the_root_key() {
    let mut town = rooted(3);
    town.logs.push(town.logs[2].clone());
    let recovered = town.recover(3);
    assert_eq!(recovered.seq, 1);
    town.root_revoke(3, 0);
    town.root_revoke(3, 1);
    town.revoke(0, 2);
    assert_eq!(town.present(), [2, 3]);
    assert_eq!(town.verdict().0.0[&device(3)].roles, roles(&ALL));
    town.meet(&[2, 3]);
    // It is a member as any other from there on.
    town.revoke(2, 3);
    assert_eq!(town.present(), [2]);
}

#[test]
fn what_the_root_key_signed_counts_in_the_record_of_one_who_was_struck() {
    let mut town = rooted(4);
    town.revoke(1, 2);
    let before = town.write(2, vec![]);
    let said = town.root_revoke(2, 0);
    let after = town.write(2, vec![]);
    assert!(town.counts(&before) && town.counts(&said) && !town.counts(&after));
    assert_eq!(town.present(), [1, 3]);
}

#[test]
fn a_root_signature_is_good_in_one_record_of_one_vault() {
    let mut town = rooted(3);
    town.logs.push(town.logs[2].clone());
    let recovered = town.recover(3);
    let mut again = town.records[&recovered].deeds[0].clone();
    again.place = Place { device: device(1), seq: 1 };
    again.view.add(again.place);
    assert_eq!(town.here(0).weigh(&again), Err(MemberError::Unsigned(again.place)), "in another record");
    let mut other = Town::rooted(4);
    other.vault = VaultId([7; 32]);
    let deed = town.records[&recovered].deeds[0].clone();
    let mut authority = Authority::new(other.vault);
    authority.add(other.records.values().next().unwrap().deeds[0].clone());
    assert_eq!(authority.weigh(&deed), Err(MemberError::Unsigned(recovered)), "in another vault");
    let mut more = town.records[&recovered].deeds[0].clone();
    if let Event::DeviceAdded { device: of, .. } = &mut more.event {
        *of = device(9);
    }
    assert_eq!(town.here(0).weigh(&more), Err(MemberError::Unsigned(recovered)), "for another device");
    let key = root_key(5);
    town.root = key;
    town.logs.push(town.logs[2].clone());
    let foreign = town.recover(4);
    let deed = town.records[&foreign].deeds[0].clone();
    assert_eq!(town.here(0).weigh(&deed), Err(MemberError::Unsigned(foreign)), "by another phrase");
}

#[test]
fn a_vault_with_a_root_key_is_no_vault_without_one() {
    let town = rooted(1);
    let first = Place { device: device(0), seq: 1 };
    let mut deed = town.records[&first].deeds[0].clone();
    assert_eq!(Authority::new(town.vault).weigh(&deed), Ok(()));
    let named = |deed: &mut Deed, key: Option<RootKey>| {
        if let Event::VaultCreated { root, .. } = &mut deed.event {
            *root = key;
        }
        Authority::new(town.vault).weigh(deed)
    };
    assert_eq!(named(&mut deed, None), Err(MemberError::Maker(device(0))));
    let other = root_named(&town.vault, &root_key(4), first);
    assert_eq!(named(&mut deed, Some(other)), Err(MemberError::Maker(device(0))));
    let unheld = RootKey { key: town.root.public(), sig: Bytes(vec![0; 64]) };
    assert_eq!(named(&mut deed, Some(unheld)), Err(MemberError::Root(first)));
}

#[test]
fn the_maker_names_a_root_key_later_and_nobody_else() {
    let mut town = town(3);
    let deed = |town: &Town, place: Place| town.records[&place].deeds[0].clone();
    let stolen = town.set_root(1, &root_key(0));
    assert_eq!(town.here(0).weigh(&deed(&town, stolen)), Err(MemberError::Root(stolen)));
    town.records.remove(&stolen);
    town.logs[1] = town.logs[0].clone();
    town.set_root(0, &root_key(0));
    town.deliver(0, 2);
    town.root_revoke(2, 0);
    assert_eq!(town.present(), [1, 2]);
}

#[test]
fn a_root_key_named_before_takes_back_the_makers_next() {
    let mut town = rooted(4);
    // A thief of the laptop names a root key, and lets a device in with it.
    town.set_root(0, &root_key(1));
    town.logs.push(town.logs[0].clone());
    let first = std::mem::replace(&mut town.root, root_key(1));
    town.recover(4);
    town.root_revoke(4, 2);
    assert_eq!(town.present(), [0, 1, 3, 4]);
    // The owner knows of it, and revokes the laptop with the phrase on paper.
    town.root = first;
    town.meet(&[0, 1, 2, 3, 4]);
    town.root_revoke(3, 0);
    assert_eq!(town.present(), [1, 2, 3]);
    assert_eq!(town.judged(&town.all(), |place| place.seq).roots().len(), 1);
}

#[test]
fn a_root_key_that_the_maker_named_last_does_not_take_itself_back() {
    let mut town = rooted(3);
    town.set_root(0, &root_key(1));
    town.meet(&[0, 1, 2]);
    town.root = root_key(1);
    town.logs.push(town.logs[2].clone());
    town.recover(3);
    town.root_revoke(3, 0);
    assert_eq!(town.present(), [1, 2, 3]);
}
