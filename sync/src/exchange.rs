//! The exchange: two devices tell each other their frontiers, stream what the other lacks, then what travels apart.
//!
//! Both sides run the same machine. The sides are independent of each other except for the end: each says `Done` when
//! all it has was sent and answered, and all that it lacked was received.

use std::collections::VecDeque;
use std::net::SocketAddr;

use aios_core::frontier::{Frontier, View};
use aios_core::id::VaultId;

use crate::chain::{Batch, Chain, agree, first_beyond};
use crate::error::{Peer, SyncError};
use crate::frame::{Applied, Frame, Hello, MAX_BATCH, PIECE, Piece, VERSION, Want};
use crate::machine::{Job, Machine, Wire};
use crate::outcome::{Outcome, Progress};
use crate::replica::{Apart, Cursor, Replica, ReplicaError};

/// Records sent and not answered, in bytes before compression, at which the sender waits.
const WINDOW: usize = 4 << 20;
/// Bytes waiting to be sent at which nothing more is prepared.
const OUT: usize = 1 << 20;
/// Bytes received and not worked on at which no more are taken.
const BACKLOG: usize = 4 << 20;
/// Wants sent and not answered.
const WANTS: usize = 16;
/// Wants received and not answered at which a peer is told off.
const MOST_WANTS: usize = 1024;
/// The most bytes taken for one git history.
const MOST_HISTORY: u64 = 64 << 30;
/// Addresses taken for one device.
const MOST_ADDRS: usize = 16;
/// `Wait` frames in a row, sent every few seconds, after which a peer is given up.
const MOST_WAITS: u32 = 300;

/// Whether the connection outlasts the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Ends when both sides have what the other had.
    OneShot,
    /// Stays, and pushes new records as they are made; only if the peer wants that too.
    Live,
}

/// The answer of a job of [`Exchange`].
#[derive(Debug)]
pub struct Reply(Answer);

#[derive(Debug)]
enum Answer {
    Opened(Box<Hello>, String),
    Met,
    Entries {
        cursor: Cursor,
        pieces: Vec<Piece>,
        raw: usize,
        records: u64,
    },
    Applied(Batch),
    Missing(VecDeque<Apart>),
    Begun(Vec<Want>),
    Written(usize),
    Finished,
    Served {
        served: Serve,
        frame: Frame,
    },
    Noted,
    /// What the peer has not got may be asked of others.
    Released,
    Fresh(Frontier),
}

#[derive(Debug)]
struct Serve {
    want: Want,
    len: Option<u64>,
}

#[derive(Debug)]
struct Asked {
    apart: Apart,
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Not begun.
    Open,
    /// Begun: a job is on it, or answers are awaited.
    Busy,
    /// At its end.
    Complete,
}

/// One side of an exchange with one peer.
pub struct Exchange {
    peer: Peer,
    vault: VaultId,
    mode: Mode,
    wire: Wire,
    jobs: VecDeque<Job<Reply>>,
    running: bool,
    mine: Option<Frontier>,
    theirs: Option<Box<Hello>>,
    met: bool,
    // Sending records.
    sending: Step,
    cursor: Option<Cursor>,
    in_flight: VecDeque<usize>,
    /// A frontier of this device that is newer than the cursor.
    fresh: Option<Frontier>,
    /// Something was made here before both sides had all.
    news: bool,
    // Receiving records.
    chain: Option<Chain>,
    /// What the peer itself has sent.
    got: View,
    batch: Vec<Piece>,
    batches: VecDeque<Vec<Piece>>,
    backlog: usize,
    receiving: Step,
    // What travels apart.
    wants: VecDeque<Apart>,
    beginning: bool,
    asked: VecDeque<Asked>,
    writing: usize,
    serving: VecDeque<Serve>,
    serve_running: bool,
    // The end.
    noting: Step,
    done_sent: bool,
    done_received: bool,
    waits: u32,
    closing: Option<String>,
    outcome: Outcome,
    ended: Option<Result<(), SyncError>>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("peer", &self.peer)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// Begins an exchange of `vault` with `peer`, whose id the connection has proven and who may take part.
    ///
    /// `own` is where this device listens; `app` is this program's name and version, for people.
    pub fn new(peer: Peer, vault: VaultId, mode: Mode, own: Vec<SocketAddr>, app: &str) -> Self {
        let mut exchange = Exchange {
            peer,
            vault,
            mode,
            wire: Wire::default(),
            jobs: VecDeque::new(),
            running: false,
            mine: None,
            theirs: None,
            met: false,
            sending: Step::Open,
            cursor: None,
            in_flight: VecDeque::new(),
            fresh: None,
            news: false,
            chain: None,
            got: View::new(),
            batch: Vec::new(),
            batches: VecDeque::new(),
            backlog: 0,
            receiving: Step::Open,
            wants: VecDeque::new(),
            beginning: false,
            asked: VecDeque::new(),
            writing: 0,
            serving: VecDeque::new(),
            serve_running: false,
            noting: Step::Open,
            done_sent: false,
            done_received: false,
            waits: 0,
            closing: None,
            outcome: Outcome::default(),
            ended: None,
        };
        exchange.open(own, app.into());
        exchange
    }

    /// The peer, with its name once that is known.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let mut progress = self.outcome.progress;
        (progress.bytes_sent, progress.bytes_received) = (self.wire.sent, self.wire.received);
        progress
    }

    /// What was achieved so far, also when it ended badly.
    pub fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        outcome.progress = self.progress();
        let mine = self.mine.as_ref();
        outcome.acknowledged =
            mine.is_some_and(|mine| self.met && first_beyond(mine, &outcome.peer_frontier).is_none());
        outcome
    }

    /// What this device had when the exchange began, or when it last pushed; `None` before that is known.
    pub fn frontier(&self) -> Option<&Frontier> {
        self.mine.as_ref()
    }

    /// How it ended; `None` while it goes on.
    pub fn result(&self) -> Option<&Result<(), SyncError>> {
        self.ended.as_ref()
    }

    /// Whether both sides have said that they have all.
    pub fn complete(&self) -> bool {
        self.done_sent && self.done_received
    }

    /// Whether it goes on after both sides have all: so both want.
    pub fn is_live(&self) -> bool {
        self.mode == Mode::Live
    }

    /// How many records, blobs and histories it has brought that were not here.
    pub fn brought(&self) -> u64 {
        self.outcome.integrated + self.outcome.apart_received
    }

    /// Ends a live exchange in good order.
    pub fn close(&mut self) {
        if self.ended.is_none() && self.complete() {
            self.ended = Some(Ok(()));
        }
    }

    fn later(&mut self, job: impl FnOnce(&mut dyn Replica) -> Result<Answer, SyncError> + Send + 'static) {
        self.jobs.push_back(Box::new(move |replica| job(replica).map(Reply)));
    }

    fn open(&mut self, mut own: Vec<SocketAddr>, app: String) {
        let (live, device) = (self.mode == Mode::Live, self.peer.device());
        own.truncate(MOST_ADDRS);
        self.later(move |replica| {
            let members = replica.members()?;
            let mut addrs = replica.peer_addrs()?;
            addrs.retain(|device, _| members.contains_key(device));
            addrs.values_mut().for_each(|list| list.truncate(MOST_ADDRS));
            let (vault, me, frontier) = (replica.vault(), replica.device(), replica.frontier()?);
            addrs.insert(me, own);
            let lean = replica.is_lean()?;
            let hello = Hello { v: VERSION, vault, device: me, frontier, live, addrs, app, lean };
            Ok(Answer::Opened(Box::new(hello), members.get(&device).cloned().unwrap_or_default()))
        });
    }

    fn send(&mut self, frame: &Frame) {
        if let Err(source) = self.wire.send(frame) {
            let why = format!("a frame to {} does not fit ({source})", self.peer);
            self.fail(SyncError::Replica(ReplicaError::Storage(why)));
        }
    }

    fn protocol(&mut self, what: impl Into<String>) {
        let peer = self.peer.clone();
        self.fail(SyncError::Protocol { peer, what: what.into() });
    }

    fn hear(&mut self, frame: Frame) {
        if !matches!(frame, Frame::Wait) {
            self.waits = 0;
        }
        let first = self.theirs.is_none();
        match frame {
            Frame::Error(refusal) => {
                let text = refusal.text.chars().filter(|c| !c.is_control()).take(400).collect();
                let peer = self.peer.clone();
                self.end(Err(SyncError::Refused { peer, code: refusal.code, text }));
            }
            Frame::Wait => {
                self.waits += 1;
                if self.waits > MOST_WAITS {
                    self.protocol("it says that it is at work, and nothing comes of it");
                }
            }
            Frame::Hello(hello) if first => self.hear_hello(hello),
            frame if first => self.protocol(format!("its first frame is {} and not Hello", frame.name())),
            Frame::Hello(_) => self.protocol("a second Hello"),
            Frame::Records(piece) => self.hear_piece(piece),
            Frame::Applied(applied) => self.hear_applied(applied),
            Frame::Want(want) => {
                if self.serving.len() >= MOST_WANTS {
                    return self.protocol("too many wants at once");
                }
                self.serving.push_back(Serve { want, len: None });
            }
            Frame::Data(bytes) => self.hear_data(bytes),
            Frame::DataEnd => match self.asked.pop_front() {
                Some(asked) => self.finish(asked),
                None => self.protocol("the end of data that nobody wanted"),
            },
            Frame::Missing => match self.asked.pop_front() {
                Some(asked) => {
                    self.outcome.apart_missing += 1;
                    self.later(move |replica| {
                        replica.apart_absent(&asked.apart);
                        Ok(Answer::Released)
                    });
                }
                None => self.protocol("an answer to a want that was not sent"),
            },
            Frame::Done if self.done_received => self.protocol("a second Done"),
            Frame::Done => self.done_received = true,
            Frame::Join(_) | Frame::Challenge(_) | Frame::Proof(_) | Frame::Welcome(_) => {
                self.protocol("a frame of pairing in an exchange")
            }
        }
    }

    fn hear_hello(&mut self, hello: Box<Hello>) {
        let peer = self.peer.clone();
        if hello.v != VERSION {
            return self.fail(SyncError::Version { peer, version: hello.v });
        }
        if hello.device != peer.device() {
            return self.fail(SyncError::Impostor { peer, claimed: hello.device });
        }
        if hello.vault != self.vault {
            return self.fail(SyncError::OtherVault { peer, theirs: hello.vault, ours: self.vault });
        }
        if hello.frontier.0.values().any(|(seq, _)| *seq == 0) {
            return self.protocol("a frontier with number 0");
        }
        if !hello.live {
            self.mode = Mode::OneShot;
        }
        self.theirs = Some(hello);
    }

    fn hear_piece(&mut self, piece: Piece) {
        if self.done_received && self.mode == Mode::OneShot {
            return self.protocol("records after Done");
        }
        self.backlog += piece.raw;
        let last = piece.last;
        self.batch.push(piece);
        if self.batch.iter().map(|p| p.raw).sum::<usize>() > MAX_BATCH.max(2 * PIECE) {
            return self.protocol("a batch longer than the longest record");
        }
        if last {
            let batch = std::mem::take(&mut self.batch);
            self.batches.push_back(batch);
        }
    }

    fn hear_applied(&mut self, applied: Applied) {
        if self.in_flight.pop_front().is_none() {
            return self.protocol("an answer to records that were not sent");
        }
        self.outcome.held_there.extend(applied.held);
        self.outcome.peer_frontier = applied.frontier.clone();
        let (peer, settled) = (self.peer.clone(), self.complete() && self.in_flight.is_empty());
        self.later(move |replica| {
            agree(replica, &peer, &applied.frontier)?;
            if settled {
                replica.acknowledged(&peer.device(), &applied.frontier)?;
            }
            Ok(Answer::Noted)
        });
    }

    fn hear_data(&mut self, bytes: Vec<u8>) {
        let Some(asked) = self.asked.front_mut() else { return self.protocol("data that nobody wanted") };
        let (apart, offset, len) = (asked.apart, asked.at, bytes.len() as u64);
        let most = match apart {
            Apart::Blob(content) => content.size,
            Apart::History(_) => MOST_HISTORY,
        };
        if bytes.is_empty() || offset.saturating_add(len) > most {
            let (peer, why) = (self.peer.clone(), format!("more than its {most} bytes, or none"));
            // What is here of it is of no use then.
            self.later(move |replica| {
                replica.apart_write(&apart, 0, &[]).map(|()| Answer::Noted).map_err(Into::into)
            });
            return self.fail(SyncError::Corrupt { peer, apart, why });
        }
        asked.at += len;
        self.outcome.progress.apart_bytes += len;
        self.backlog += bytes.len();
        self.writing += 1;
        self.later(move |replica| {
            replica.apart_write(&apart, offset, &bytes)?;
            Ok(Answer::Written(bytes.len()))
        });
    }

    fn finish(&mut self, asked: Asked) {
        let (apart, peer) = (asked.apart, self.peer.clone());
        self.writing += 1;
        self.later(move |replica| match replica.apart_finish(&apart) {
            Ok(()) => Ok(Answer::Finished),
            Err(ReplicaError::Corrupt { apart, why }) => Err(SyncError::Corrupt { peer, apart, why }),
            Err(other) => Err(other.into()),
        });
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Opened(hello, name) => {
                if self.peer.name().is_empty() {
                    self.peer = Peer::new(self.peer.device(), name);
                }
                self.mine = Some(hello.frontier.clone());
                self.send(&Frame::Hello(hello));
            }
            Answer::Met => self.met = true,
            Answer::Entries { cursor, pieces, raw, records } => {
                self.outcome.progress.sent += records;
                self.in_flight.push_back(raw);
                for piece in pieces {
                    self.send(&Frame::Records(piece));
                }
                self.sending = if cursor.at_end() { Step::Complete } else { Step::Open };
                self.cursor = Some(cursor);
            }
            Answer::Applied(Batch { chain, applied, records, integrated }) => {
                self.got = Frontier(chain.last.clone()).view();
                self.chain = Some(chain);
                self.outcome.progress.received += records;
                self.outcome.integrated += integrated;
                self.outcome.held.extend(applied.held.iter().copied());
                self.send(&Frame::Applied(applied));
                if self.receiving == Step::Complete {
                    self.look();
                }
            }
            Answer::Missing(wants) => {
                self.wants = wants
                    .into_iter()
                    .filter(|want| !self.asked.iter().any(|asked| asked.apart == *want))
                    .collect();
                self.receiving = Step::Complete;
            }
            Answer::Begun(wants) => {
                self.beginning = false;
                for want in wants {
                    self.asked.push_back(Asked { apart: want.apart, at: want.offset });
                    self.send(&Frame::Want(want));
                }
            }
            Answer::Written(len) => {
                self.backlog = self.backlog.saturating_sub(len);
                self.writing -= 1;
            }
            Answer::Finished => {
                self.outcome.apart_received += 1;
                self.writing -= 1;
            }
            Answer::Served { served, frame } => {
                self.serve_running = false;
                self.send(&frame);
                if matches!(frame, Frame::Data(_)) {
                    self.serving.push_front(served);
                }
            }
            Answer::Released => {}
            Answer::Noted => {
                if self.noting == Step::Busy {
                    self.noting = Step::Complete;
                }
            }
            Answer::Fresh(frontier) => {
                self.mine = Some(frontier.clone());
                self.fresh = Some(frontier);
            }
        }
    }

    /// Asks what is missing of what travels apart.
    fn look(&mut self) {
        self.receiving = Step::Busy;
        self.later(|replica| Ok(Answer::Missing(replica.missing_apart()?.into())));
    }

    /// Does all that can be done now.
    fn advance(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let (Some(mine), Some(theirs)) = (&self.mine, &self.theirs) else { return };
        if self.cursor.is_none() && self.chain.is_none() && self.sending == Step::Open && !self.met {
            let (frontier, lean) = (theirs.frontier.clone(), theirs.lean);
            let cursor = Cursor { have: frontier.view(), upto: mine.view() };
            let back = Cursor { have: mine.view(), upto: frontier.view() };
            self.outcome.progress.to_send = cursor.remaining();
            self.outcome.progress.to_receive = back.remaining();
            self.outcome.peer_frontier = frontier.clone();
            self.sending = if cursor.at_end() { Step::Complete } else { Step::Open };
            self.cursor = Some(cursor);
            let (peer, vault, last) = (self.peer.clone(), self.vault, mine.0.clone());
            self.chain = Some(Chain { peer: peer.clone(), vault, last, claimed: frontier.clone() });
            self.later(move |replica| {
                agree(replica, &peer, &frontier)?;
                replica.learn_lean(&peer.device(), lean)?;
                Ok(Answer::Met)
            });
        }
        if let Some(why) = &self.closing {
            // Whole batches that arrived are applied, so that even a bad line gets on.
            if self.met && (self.chain.is_none() || !self.batches.is_empty()) {
                return self.apply_next();
            }
            let error = SyncError::Broken { peer: self.peer.clone(), why: why.clone() };
            return self.end(Err(error));
        }
        if !self.met {
            return;
        }
        self.renew();
        self.send_more();
        self.apply_next();
        self.receive_end();
        self.serve_next();
        self.ask_next();
        self.conclude();
    }

    /// Live: what is new here is to be sent, but for what the peer has sent or says it has.
    fn renew(&mut self) {
        if self.news && self.is_live() && self.complete() {
            self.news = false;
            self.later(|replica| Ok(Answer::Fresh(replica.frontier()?)));
            // What the peer had not when it was asked may have come to it.
            if self.receiving == Step::Complete {
                self.look();
            }
        }
        let Some(cursor) = &mut self.cursor else { return };
        let Some(fresh) = self.fresh.take() else { return };
        cursor.have = cursor.have.union(&self.got).union(&self.outcome.peer_frontier.view());
        cursor.upto = fresh.view();
        self.outcome.progress.to_send = self.outcome.progress.sent + cursor.remaining();
        self.sending = if cursor.at_end() { Step::Complete } else { Step::Open };
    }

    fn send_more(&mut self) {
        let room = self.in_flight.iter().sum::<usize>() < WINDOW && self.wire.outgoing().len() < OUT;
        if self.sending != Step::Open || !room {
            return;
        }
        let Some(mut cursor) = self.cursor.take() else { return };
        self.sending = Step::Busy;
        self.later(move |replica| {
            let entries = replica.entries_since(&mut cursor, PIECE)?;
            if entries.is_empty() {
                let why = "its log does not hold all the records of its frontier; run `aios verify`";
                return Err(ReplicaError::Storage(why.into()).into());
            }
            let batch = entries.concat();
            Ok(Answer::Entries {
                cursor,
                pieces: Piece::cut(&batch),
                raw: batch.len(),
                records: entries.len() as u64,
            })
        });
    }

    fn apply_next(&mut self) {
        if self.batches.is_empty() {
            return;
        }
        let Some(chain) = self.chain.take() else { return };
        let Some(batch) = self.batches.pop_front() else { return };
        self.backlog = self.backlog.saturating_sub(batch.iter().map(|p| p.raw).sum());
        self.later(move |replica| chain.apply(replica, batch).map(Answer::Applied));
    }

    fn receive_end(&mut self) {
        let (Some(chain), Some(theirs), Step::Open) = (&self.chain, &self.theirs, self.receiving) else {
            return;
        };
        if chain.covers(&theirs.frontier) {
            return self.look();
        }
        if self.done_received && self.batches.is_empty() {
            let Some(record) = chain.beyond(&theirs.frontier) else { return };
            let peer = self.peer.clone();
            self.fail(SyncError::Unserved { peer, record });
        }
    }

    fn serve_next(&mut self) {
        if self.serve_running || self.wire.outgoing().len() >= OUT {
            return;
        }
        let Some(mut serve) = self.serving.pop_front() else { return };
        self.serve_running = true;
        self.later(move |replica| {
            let Want { apart, offset } = serve.want;
            let len = match serve.len {
                Some(len) => Some(len),
                None => replica.apart_len(&apart)?,
            };
            let frame = match len {
                None => Frame::Missing,
                Some(len) if offset >= len => Frame::DataEnd,
                Some(len) => {
                    let most = usize::try_from(len - offset).unwrap_or(PIECE).min(PIECE);
                    let bytes = replica.apart_read(&apart, offset, most)?;
                    if bytes.is_empty() || bytes.len() > most {
                        return Err(ReplicaError::Storage(format!("{apart} is shorter than it was")).into());
                    }
                    serve.want.offset += bytes.len() as u64;
                    Frame::Data(bytes)
                }
            };
            serve.len = len;
            Ok(Answer::Served { served: serve, frame })
        });
    }

    fn ask_next(&mut self) {
        let room = WANTS.saturating_sub(self.asked.len()).min(self.wants.len());
        if room == 0 || self.beginning {
            return;
        }
        self.beginning = true;
        let next: Vec<Apart> = self.wants.drain(..room).collect();
        self.later(move |replica| {
            let mut wants = Vec::with_capacity(next.len());
            for apart in next {
                if let Some(offset) = replica.apart_begin(&apart)? {
                    wants.push(Want { apart, offset });
                }
            }
            Ok(Answer::Begun(wants))
        });
    }

    fn conclude(&mut self) {
        let sent = self.sending == Step::Complete && self.in_flight.is_empty();
        let received = self.receiving == Step::Complete && self.batches.is_empty() && self.chain.is_some();
        let apart = self.wants.is_empty() && !self.beginning && self.asked.is_empty() && self.writing == 0;
        if !(sent && received && apart) || self.ended.is_some() {
            return;
        }
        if self.noting == Step::Open && self.jobs.is_empty() && !self.running {
            self.noting = Step::Busy;
            let (peer, frontier) = (self.peer.device(), self.outcome.peer_frontier.clone());
            let addrs = self.theirs.as_ref().map(|hello| hello.addrs.clone()).unwrap_or_default();
            self.later(move |replica| {
                replica.acknowledged(&peer, &frontier)?;
                let (members, me, known) = (replica.members()?, replica.device(), replica.peer_addrs()?);
                for (device, mut list) in addrs {
                    // A device knows best where it is itself; of others, hearsay only fills what is not known.
                    let news = !list.is_empty() && (device == peer || !known.contains_key(&device));
                    list.truncate(MOST_ADDRS);
                    if news
                        && device != me
                        && members.contains_key(&device)
                        && known.get(&device) != Some(&list)
                    {
                        replica.learn_addrs(&device, list)?;
                    }
                }
                Ok(Answer::Noted)
            });
        }
        if self.noting != Step::Complete {
            return;
        }
        if !self.done_sent {
            self.done_sent = true;
            self.send(&Frame::Done);
        }
        let served = self.serving.is_empty() && !self.serve_running;
        if self.done_received && served && self.mode == Mode::OneShot && self.ended.is_none() {
            self.ended = Some(Ok(()));
        }
    }

    fn end(&mut self, result: Result<(), SyncError>) {
        if self.ended.is_none() {
            self.ended = Some(result);
            self.batches.clear();
            self.wants.clear();
        }
    }
}

impl Machine for Exchange {
    type Answer = Reply;

    fn receive(&mut self, bytes: &[u8]) {
        self.wire.push(bytes);
        while self.ended.is_none() {
            match self.wire.frame() {
                Ok(Some(frame)) => self.hear(frame),
                Ok(None) => break,
                Err(source) => {
                    let peer = self.peer.clone();
                    self.fail(SyncError::Frame { peer, source });
                }
            }
        }
        self.advance();
    }

    fn closed(&mut self, why: &str) {
        if self.complete() {
            return self.end(Ok(()));
        }
        self.closing = Some(why.into());
        if self.met {
            return self.advance();
        }
        let error = SyncError::Broken { peer: self.peer.clone(), why: why.into() };
        self.end(Err(error));
    }

    fn outgoing(&self) -> &[u8] {
        self.wire.outgoing()
    }

    fn sent(&mut self, count: usize) {
        self.wire.sent(count);
        self.advance();
    }

    fn job(&mut self) -> Option<Job<Reply>> {
        if self.running {
            return None;
        }
        let job = self.jobs.pop_front()?;
        self.running = true;
        Some(job)
    }

    fn ran(&mut self, answer: Result<Reply, SyncError>) {
        self.running = false;
        match answer {
            Ok(Reply(answer)) if self.ended.is_none() => self.take(answer),
            Ok(_) => {}
            Err(error) => self.fail(error),
        }
        self.advance();
    }

    fn working(&mut self) {
        if self.ended.is_none() {
            self.send(&Frame::Wait);
        }
    }

    fn wants_input(&self) -> bool {
        // A record longer than the limit has to arrive all the same.
        self.backlog < BACKLOG || (!self.batch.is_empty() && self.batches.is_empty() && self.writing == 0)
    }

    fn at_rest(&self) -> bool {
        let idle =
            self.jobs.is_empty() && !self.running && self.in_flight.is_empty() && self.asked.is_empty();
        self.complete() && idle && self.fresh.is_none() && self.serving.is_empty()
    }

    fn changed(&mut self) {
        self.news = true;
        self.advance();
    }

    fn fail(&mut self, error: SyncError) {
        if self.ended.is_none() {
            self.wire.refuse(&error);
            self.end(Err(error));
        }
    }

    fn ended(&self) -> bool {
        // Bytes taken before the end are kept: jobs that are due run to their end.
        self.ended.is_some() && !self.running && self.jobs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_core::id::DeviceId;

    use crate::frame::FrameError;

    #[test]
    fn a_frame_error_is_named() {
        let mut exchange =
            Exchange::new(DeviceId([4; 32]).into(), VaultId([1; 32]), Mode::OneShot, vec![], "test");
        exchange.receive(&[0xff; 5]);
        let Some(Err(SyncError::Frame { peer, source: FrameError::Oversize(_) })) = exchange.result() else {
            panic!("{:?}", exchange.result())
        };
        assert_eq!(peer.device(), DeviceId([4; 32]));
    }
}
