//! A seeded scheduler: delivers bytes in random pieces, runs jobs at random moments, cuts the connection.

use aios_sync::exchange::{Exchange, Mode};
use aios_sync::machine::Machine;
use aios_sync::replica::Replica;

use crate::memory::Memory;

/// Xorshift64* (Vigna 2016).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

pub fn pair(a: &Memory, b: &Memory, mode: Mode) -> (Exchange, Exchange) {
    let vault = a.vault();
    let addr = |port: u16| vec![([127, 0, 0, 1], port).into()];
    let side = |peer: &Memory, port| Exchange::new(peer.device().into(), vault, mode, addr(port), "test");
    (side(b, 1001), side(a, 1002))
}

/// Runs both until nothing more can happen; at most `cut` bytes are delivered, then the connection breaks.
///
/// Returns whether both came to their end.
pub fn run<M: Machine, N: Machine>(
    (a, ra): (&mut M, &mut Memory),
    (b, rb): (&mut N, &mut Memory),
    random: &mut Random,
    mut cut: Option<usize>,
) -> bool {
    loop {
        let wire = |from: &[u8], ended: bool, wants: bool| !from.is_empty() && !ended && wants;
        let ab = wire(a.outgoing(), b.ended(), b.wants_input());
        let ba = wire(b.outgoing(), a.ended(), a.wants_input());
        let mut moved = false;
        let most = [7, 500, 70_000, 1 << 20][random.below(4)];
        match random.below(4) {
            0 if ab => {
                let count =
                    (1 + random.below(most)).min(a.outgoing().len()).min(cut.unwrap_or(usize::MAX).max(1));
                let bytes = a.outgoing()[..count].to_vec();
                a.sent(count);
                b.receive(&bytes);
                cut = cut.map(|left| left.saturating_sub(count));
                moved = true;
            }
            1 if ba => {
                let count =
                    (1 + random.below(most)).min(b.outgoing().len()).min(cut.unwrap_or(usize::MAX).max(1));
                let bytes = b.outgoing()[..count].to_vec();
                b.sent(count);
                a.receive(&bytes);
                cut = cut.map(|left| left.saturating_sub(count));
                moved = true;
            }
            2 => {
                if let Some(job) = a.job() {
                    a.ran(job(ra));
                    moved = true;
                }
            }
            3 => {
                if let Some(job) = b.job() {
                    b.ran(job(rb));
                    moved = true;
                }
            }
            _ => {}
        }
        if cut == Some(0) {
            a.closed("cut");
            b.closed("cut");
            while let Some(job) = a.job() {
                a.ran(job(ra));
            }
            while let Some(job) = b.job() {
                b.ran(job(rb));
            }
            return a.ended() && b.ended();
        }
        if a.ended() && b.ended() {
            return true;
        }
        if !moved {
            // Only when neither side can do anything at all is it over, or stuck.
            let jobs =
                [a.job().map(|job| a.ran(job(ra))).is_some(), b.job().map(|job| b.ran(job(rb))).is_some()];
            let ab = wire(a.outgoing(), b.ended(), b.wants_input());
            let ba = wire(b.outgoing(), a.ended(), a.wants_input());
            if !ab && !ba && jobs == [false, false] {
                if a.ended() && !b.ended() && a.outgoing().is_empty() {
                    b.closed("the peer ended it");
                    continue;
                }
                if b.ended() && !a.ended() && b.outgoing().is_empty() {
                    a.closed("the peer ended it");
                    continue;
                }
                return false;
            }
        }
    }
}
