//! Runs a state machine over two byte streams, with tokio.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::error::{Peer, SyncError};
use crate::machine::Machine;
use crate::replica::{Replica, ReplicaError};

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection is there.
    pub connect: Duration,
    /// Without a byte moving in either direction.
    pub stall: Duration,
    /// After which a peer is told that a job is still running; well below `stall`.
    pub beat: Duration,
    /// For all of it, where there is a limit.
    pub total: Option<Duration>,
    /// For the last bytes to leave after the end.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(3),
            stall: Duration::from_secs(10),
            beat: Duration::from_secs(3),
            total: None,
            linger: Duration::from_secs(3),
        }
    }
}

/// A handle of the vault that may be away, with a job on another thread.
pub type Handle = Option<Box<dyn Replica>>;

/// The two streams of a connection.
#[derive(Debug)]
pub struct Streams<R, W> {
    /// From the peer.
    pub read: R,
    /// To the peer.
    pub write: W,
}

type Ran<A> = JoinHandle<(Box<dyn Replica>, Result<A, SyncError>)>;

async fn answer<A>(running: &mut Option<Ran<A>>) -> Result<(Box<dyn Replica>, Result<A, SyncError>), String> {
    match running {
        Some(handle) => handle.await.map_err(|e| e.to_string()),
        None => std::future::pending().await,
    }
}

async fn told(changed: Option<&Notify>) {
    match changed {
        Some(changed) => changed.notified().await,
        None => std::future::pending().await,
    }
}

/// Runs `machine` to its end; errors end up in the machine. `see` is called after every step.
///
/// Dropping the future stops all at once, but for a job that is running: it ends on its thread, and its answer is
/// dropped.
pub async fn drive<M, R, W>(
    machine: &mut M,
    replica: &mut Handle,
    streams: &mut Streams<R, W>,
    peer: &Peer,
    limits: &Limits,
    changed: Option<&Notify>,
    mut see: impl FnMut(&M),
) where
    M: Machine,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let start = Instant::now();
    let (mut moved, mut beat) = (start, start);
    let mut running: Option<Ran<M::Answer>> = None;
    let (mut open, mut over) = (true, None);
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        while running.is_none() {
            let Some(job) = machine.job() else { break };
            let Some(mut handle) = replica.take() else {
                machine.ran(Err(ReplicaError::Storage("the vault is not open".into()).into()));
                continue;
            };
            beat = Instant::now();
            running = Some(tokio::task::spawn_blocking(move || {
                let answer = job(&mut *handle);
                (handle, answer)
            }));
        }
        see(machine);
        let flushed = machine.outgoing().is_empty();
        if machine.ended() {
            let until = *over.get_or_insert_with(|| Instant::now() + limits.linger);
            if flushed && running.is_none() || Instant::now() >= until {
                return;
            }
        }
        let quiet = running.is_none() && !machine.at_rest();
        let total = limits.total.map(|total| start + total);
        let wake = [
            quiet.then_some(moved + limits.stall),
            running.is_some().then_some(beat + limits.beat),
            total.filter(|_| over.is_none()),
            over,
        ];
        let wake = wake.into_iter().flatten().min();
        let reading = open && over.is_none() && machine.wants_input();
        tokio::select! {
            ran = answer(&mut running) => {
                running = None;
                moved = Instant::now();
                match ran {
                    Ok((handle, answer)) => {
                        *replica = Some(handle);
                        machine.ran(answer);
                    }
                    Err(why) => machine.ran(Err(ReplicaError::Storage(format!("work on the vault failed: {why}")).into())),
                }
            }
            wrote = streams.write.write(machine.outgoing()), if !flushed => match wrote {
                Ok(count) if count > 0 => {
                    moved = Instant::now();
                    machine.sent(count);
                }
                Ok(_) => return machine.closed("the stream is closed"),
                // What the peer said before it went may still be waiting to be read.
                Err(e) if !open || over.is_some() => return machine.closed(&e.to_string()),
                Err(e) => {
                    drain(machine, streams, &mut buffer, limits.linger).await;
                    machine.closed(&e.to_string());
                    let left = machine.outgoing().len();
                    machine.sent(left);
                    open = false;
                }
            },
            got = streams.read.read(&mut buffer), if reading => match got {
                Ok(0) => {
                    open = false;
                    machine.closed("the peer ended it");
                }
                Ok(count) => {
                    moved = Instant::now();
                    machine.receive(&buffer[..count]);
                }
                Err(e) => {
                    open = false;
                    machine.closed(&e.to_string());
                }
            },
            () = told(changed), if over.is_none() => machine.changed(),
            () = async { match wake { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {
                let now = Instant::now();
                if total.is_some_and(|at| now >= at) && over.is_none() {
                    let seconds = limits.total.unwrap_or_default().as_secs();
                    machine.fail(SyncError::Timeout { peer: peer.clone(), seconds });
                    over = Some(now + limits.linger);
                } else if running.is_some() && now >= beat + limits.beat {
                    beat = now;
                    machine.working();
                } else if quiet && now >= moved + limits.stall {
                    machine.fail(SyncError::Stalled { peer: peer.clone(), seconds: limits.stall.as_secs() });
                    moved = now;
                } else if over.is_some_and(|at| now >= at) {
                    return;
                }
            }
        }
    }
}

/// Reads what is there, up to the end of the stream or for a short while.
async fn drain<M, R, W>(machine: &mut M, streams: &mut Streams<R, W>, buffer: &mut [u8], limit: Duration)
where
    M: Machine,
    R: AsyncRead + Unpin,
{
    let until = Instant::now() + limit;
    while !machine.ended() {
        match tokio::time::timeout_at(until, streams.read.read(buffer)).await {
            Ok(Ok(count)) if count > 0 => machine.receive(&buffer[..count]),
            _ => return,
        }
    }
}
