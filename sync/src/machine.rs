//! What every protocol state machine of this crate has in common.

use crate::error::SyncError;
use crate::frame::{Decoder, Frame, Refusal};
use crate::replica::Replica;

/// Work on the vault that a state machine wants done. It may block.
pub type Job<A> = Box<dyn FnOnce(&mut dyn Replica) -> Result<A, SyncError> + Send>;

/// A protocol state machine without I/O and without a clock.
///
/// Whoever drives it passes on bytes in both directions and runs its jobs, one at a time and in order, until
/// [`Machine::ended`]; then sends what is left of [`Machine::outgoing`].
pub trait Machine {
    /// What its jobs answer.
    type Answer: Send + 'static;

    /// Bytes came from the peer, cut in any way.
    fn receive(&mut self, bytes: &[u8]);

    /// Nothing more will come from the peer, for this reason.
    fn closed(&mut self, why: &str);

    /// Bytes to send to the peer.
    fn outgoing(&self) -> &[u8];

    /// The first `count` bytes of [`Machine::outgoing`] were sent.
    fn sent(&mut self, count: usize);

    /// The next job. Ask again after each [`Machine::ran`], [`Machine::receive`] and [`Machine::sent`].
    fn job(&mut self) -> Option<Job<Self::Answer>>;

    /// The job taken last has answered.
    fn ran(&mut self, answer: Result<Self::Answer, SyncError>);

    /// A job has been running for a while: tells the peer so.
    fn working(&mut self);

    /// Whether it can take more bytes now; `false` while it has enough to work on (I13).
    fn wants_input(&self) -> bool;

    /// Whether nothing is expected to happen soon, so that silence is no fault.
    fn at_rest(&self) -> bool {
        false
    }

    /// This device has new records.
    fn changed(&mut self) {}

    /// Gives up, for this reason.
    fn fail(&mut self, error: SyncError);

    /// Whether it has come to an end, good or bad.
    fn ended(&self) -> bool;
}

/// The two byte streams of a state machine, cut into frames.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    decoder: Decoder,
    out: Vec<u8>,
    at: usize,
    /// Bytes received so far.
    pub received: u64,
    /// Bytes sent so far.
    pub sent: u64,
}

impl Wire {
    pub fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        self.decoder.push(bytes);
    }

    pub fn frame(&mut self) -> Result<Option<Frame>, crate::frame::FrameError> {
        self.decoder.frame()
    }

    pub fn rest(&mut self) -> Vec<u8> {
        self.decoder.rest()
    }

    pub fn outgoing(&self) -> &[u8] {
        &self.out[self.at..]
    }

    pub fn sent(&mut self, count: usize) {
        self.sent += count as u64;
        self.at = (self.at + count).min(self.out.len());
        if self.at == self.out.len() {
            self.out.clear();
            self.at = 0;
        }
    }

    pub fn send(&mut self, frame: &Frame) -> Result<(), crate::frame::FrameError> {
        frame.write(&mut self.out)
    }

    /// Says why this side gives up, after all that was to be sent before: frames stay whole.
    pub fn refuse(&mut self, error: &SyncError) {
        if let Some(code) = error.code() {
            let text = error.text_for_peer().chars().take(400).collect();
            // A refusal of 400 characters always fits a frame.
            let _ = self.send(&Frame::Error(Refusal { code, text }));
        }
    }
}
