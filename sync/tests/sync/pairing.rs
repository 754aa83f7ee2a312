//! Pairing without a network.

use aios_core::id::DeviceId;
use aios_sync::error::{Code, Fault, SyncError};
use aios_sync::exchange::{Exchange, Mode};
use aios_sync::frame::{Decoder, Frame, Nonce, Welcome};
use aios_sync::machine::Machine;
use aios_sync::pairing::{Applicant, Inviter, Joiner};
use aios_sync::replica::Replica;
use aios_sync::ticket::{Secret, Ticket, TicketError};

use crate::memory::{Memory, NOW, key};
use crate::schedule::{Random, run};

const HOUR: u64 = 3_600_000;

fn offer(inviter: &mut Memory, secret: u8) -> Ticket {
    let ticket = Ticket {
        vault: inviter.vault(),
        inviter: inviter.device(),
        addrs: vec![],
        secret: Secret([secret; 16]),
        expires: NOW + HOUR,
        roles: vec!["write".into(), "approve".into()],
        vault_name: "acme".into(),
    };
    inviter.offer(&ticket.to_offer()).unwrap();
    ticket
}

fn applicant(device: u8, name: &str) -> Applicant {
    Applicant { device: key(device).public(), name: name.into(), operator: Some(key(200).public()) }
}

/// Device `device` joins; returns both ends.
fn meet(inviter: &Memory, ticket: &Ticket, joiner: Applicant, seed: u64) -> (Joiner, Inviter) {
    let device = joiner.device;
    let mut left = Joiner::new(ticket.clone(), joiner, Nonce([1; 32]));
    let mut right = Inviter::new(device, inviter.device(), inviter.vault(), NOW, Nonce([2; 32]));
    let mut nobody = Memory::empty(inviter.vault(), key(9));
    let over = run((&mut left, &mut nobody), (&mut right, &mut inviter.clone()), &mut Random(seed), None);
    assert!(over, "{left:?} {right:?}");
    (left, right)
}

fn refused(inviter: &Memory, ticket: &Ticket, joiner: Applicant) -> (Code, SyncError) {
    let device = joiner.device;
    let (left, right) = meet(inviter, ticket, joiner, 5);
    let Some(Err(SyncError::Refused { code, .. })) = left.result() else { panic!("{:?}", left.result()) };
    let Some(Err(error)) = right.result() else { panic!("{:?}", right.result()) };
    assert_eq!(error.code(), Some(*code));
    assert!(!inviter.is_member(&device).unwrap());
    (*code, error.clone())
}

#[test]
fn a_device_joins_and_has_all() {
    for seed in 1..20 {
        let mut inviter = Memory::first();
        (0..10).for_each(|n| drop(inviter.write(format!("{n}").as_bytes())));
        let ticket = offer(&mut inviter, 7);
        let (mut left, mut right) = meet(&inviter, &ticket, applicant(2, "phone"), seed);
        let welcomed = left.result().unwrap().clone().unwrap();
        assert_eq!((welcomed.vault, welcomed.inviter), (ticket.vault, ticket.inviter));
        assert_eq!((welcomed.roles, welcomed.vault_name), (ticket.roles.clone(), "acme".to_string()));
        let joined = right.result().unwrap().clone().unwrap();
        assert_eq!((joined.device, joined.name.as_str()), (key(2).public(), "phone"));
        assert_eq!(joined.ticket, ticket.secret.id());
        // The exchange goes on where the pairing ended.
        let mut replica = Memory::empty(welcomed.vault, key(2));
        let start = |peer: DeviceId, rest: Vec<u8>| {
            let mut exchange = Exchange::new(peer.into(), ticket.vault, Mode::OneShot, vec![], "test");
            exchange.receive(&rest);
            exchange
        };
        let (mut x, mut y) = (start(ticket.inviter, left.rest()), start(joined.device, right.rest()));
        assert!(run((&mut x, &mut replica), (&mut y, &mut inviter), &mut Random(seed), None));
        assert_eq!((x.result(), y.result()), (Some(&Ok(())), Some(&Ok(()))));
        assert_eq!(replica.frontier().unwrap(), inviter.frontier().unwrap());
        assert_eq!(replica.members().unwrap()[&key(2).public()], "phone");
    }
}

#[test]
fn a_ticket_lets_one_device_in() {
    let mut inviter = Memory::first();
    let ticket = offer(&mut inviter, 7);
    assert!(meet(&inviter, &ticket, applicant(2, "phone"), 1).0.result().unwrap().is_ok());
    let (code, error) = refused(&inviter, &ticket, applicant(3, "thief"));
    assert_eq!((code, error.fault()), (Code::TicketUsed, Fault::Lying));
    // The same device again, after a broken connection, is let through and not added twice.
    let count = inviter.count();
    assert!(meet(&inviter, &ticket, applicant(2, "phone"), 2).0.result().unwrap().is_ok());
    assert_eq!(inviter.count(), count);
}

#[test]
fn an_expired_ticket() {
    let mut inviter = Memory::first();
    let ticket = Ticket { expires: NOW, ..offer(&mut inviter, 7) };
    inviter.offer(&ticket.to_offer()).unwrap();
    assert_eq!(refused(&inviter, &ticket, applicant(2, "phone")).0, Code::TicketExpired);
    assert_eq!(ticket.check_time(NOW + 5000), Err(TicketError::Expired { ago: 5000 }));
}

#[test]
fn a_ticket_that_was_never_made() {
    let mut inviter = Memory::first();
    let ticket = Ticket { secret: Secret([8; 16]), ..offer(&mut inviter, 7) };
    assert_eq!(refused(&inviter, &ticket, applicant(2, "phone")).0, Code::TicketUnknown);
}

#[test]
fn a_truncated_ticket_never_gets_to_the_network() {
    let mut inviter = Memory::first();
    let text = offer(&mut inviter, 7).encode().unwrap();
    assert_eq!(Ticket::parse(&text[..text.len() - 3], NOW), Err(TicketError::Truncated));
}

#[test]
fn a_proof_under_another_secret_or_other_words() {
    let mut inviter = Memory::first();
    let ticket = offer(&mut inviter, 7);
    // Right id, wrong secret: what somebody has who saw the id on the wire.
    let wrong = Ticket { secret: Secret([9; 16]), ..ticket.clone() };
    let mut left = Joiner::new(wrong, applicant(2, "phone"), Nonce([1; 32]));
    let mut bytes = left.outgoing().to_vec();
    let (from, to) = (wrong_id(9), wrong_id(7));
    let at = bytes.windows(32).position(|w| w == from.as_bytes()).unwrap();
    bytes[at..at + 32].copy_from_slice(to.as_bytes());
    left.sent(bytes.len());
    let mut right = Inviter::new(key(2).public(), inviter.device(), inviter.vault(), NOW, Nonce([2; 32]));
    right.receive(&bytes);
    let mut handle = inviter.clone();
    assert!(run((&mut left, &mut Memory::first()), (&mut right, &mut handle), &mut Random(3), None));
    assert!(matches!(left.result(), Some(Err(SyncError::Refused { code: Code::TicketProof, .. }))));
    // The ticket's owner is not shut out by that.
    assert!(meet(&inviter, &ticket, applicant(3, "tablet"), 1).0.result().unwrap().is_ok());
    // Other roles than the inviter offers.
    let mut inviter = Memory::first();
    let greedy = Ticket { roles: vec!["administer".into()], ..offer(&mut inviter, 7) };
    assert_eq!(refused(&inviter, &greedy, applicant(2, "phone")).0, Code::TicketProof);
}

fn wrong_id(secret: u8) -> String {
    Secret([secret; 16]).id().to_string()
}

/// What `machine` says now.
fn said(machine: &mut impl Machine) -> Vec<u8> {
    let bytes = machine.outgoing().to_vec();
    machine.sent(bytes.len());
    bytes
}

#[test]
fn a_recorded_pairing_cannot_be_played_again() {
    let mut inviter = Memory::first();
    let ticket = offer(&mut inviter, 7);
    let mut left = Joiner::new(ticket, applicant(2, "phone"), Nonce([1; 32]));
    let fresh =
        |nonce| Inviter::new(key(2).public(), key(1).public(), inviter.vault(), NOW, Nonce([nonce; 32]));
    let run_jobs = |machine: &mut Inviter| {
        while let Some(job) = machine.job() {
            machine.ran(job(&mut inviter.clone()));
        }
    };
    let mut right = fresh(2);
    let join = said(&mut left);
    right.receive(&join);
    run_jobs(&mut right);
    left.receive(&said(&mut right));
    let proof = said(&mut left);
    // The connection breaks before the proof arrives; somebody plays both frames to the inviter.
    let mut again = fresh(3);
    again.receive(&join);
    run_jobs(&mut again);
    again.receive(&proof);
    assert!(matches!(again.result(), Some(Err(SyncError::BadJoin { code: Code::TicketProof, .. }))));
    // From a connection of another device it is not even that.
    let mut other = Inviter::new(key(3).public(), key(1).public(), inviter.vault(), NOW, Nonce([2; 32]));
    other.receive(&join);
    assert!(matches!(other.result(), Some(Err(SyncError::Impostor { .. }))));
}

#[test]
fn an_inviter_without_the_secret_is_not_trusted() {
    let mut inviter = Memory::first();
    let ticket = offer(&mut inviter, 7);
    let mut left = Joiner::new(ticket.clone(), applicant(2, "phone"), Nonce([1; 32]));
    let proof_of_joiner = {
        let mut wire = Vec::new();
        Frame::Challenge(aios_sync::frame::Challenge { nonce: Nonce([2; 32]) }).write(&mut wire).unwrap();
        left.receive(&wire);
        let mut decoder = Decoder::default();
        decoder.push(&said(&mut left));
        let mut mac = None;
        while let Some(frame) = decoder.frame().unwrap() {
            if let Frame::Proof(proof) = frame {
                mac = Some(proof.mac);
            }
        }
        mac.unwrap()
    };
    // It sends the joiner's own proof back.
    let mut wire = Vec::new();
    let welcome = Welcome {
        mac: proof_of_joiner,
        roles: ticket.roles,
        name: "acme".into(),
        epochs: Default::default(),
    };
    Frame::Welcome(welcome).write(&mut wire).unwrap();
    left.receive(&wire);
    assert!(matches!(left.result(), Some(Err(SyncError::FalseInviter { .. }))));
}

#[test]
fn names_that_would_forge_what_the_operator_signs() {
    let mut inviter = Memory::first();
    let ticket = offer(&mut inviter, 7);
    for name in ["", "a\nadminister", &"x".repeat(65)] {
        assert_eq!(refused(&inviter, &ticket, applicant(2, name)).0, Code::Denied);
    }
}

#[test]
fn frames_out_of_turn_and_garbage() {
    let inviter = Memory::first();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 0, 9], &[0, 0, 0, 2, 34, b'{', b'}']] {
        let mut right = Inviter::new(key(2).public(), inviter.device(), inviter.vault(), NOW, Nonce([2; 32]));
        right.receive(bytes);
        assert!(
            matches!(right.result(), Some(Err(error)) if error.fault() == Fault::Lying),
            "{:?}",
            right.result()
        );
    }
}
