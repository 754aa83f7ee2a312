//! What a component sees of a system: nothing. The libraries of most languages look for one (WASI 0.2) before they begin. They find no arguments,
//! no environment, no folders and no network; what they print goes nowhere, the time stands still, and what is random is the same each time.
//! So what a component does follows from what it is given. All else of WASI ends it when it is called.

use aios_core::id::ContentHash;
use wasmtime::component::types::Component as Kind;
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Error, Result, StoreContextMut};

use super::host::Host;

/// The most random bytes that are drawn at once.
const MOST_DRAWN: u64 = 1 << 16;
/// How much may be printed at once.
const MOST_PRINTED: u64 = 4096;

/// What a component sees of a system.
pub struct Surroundings {
    seed: ContentHash,
    drawn: u64,
}

/// Something that is read: it has ended.
struct Input;
/// Something that is written to: it forgets.
struct Output;
/// Why something could not be read or written.
struct Failed;
/// A terminal: there is none.
struct Terminal;
/// A file: there is none.
struct Descriptor;

/// `stream-error` of `wasi:io/streams`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Failed>),
    #[component(name = "closed")]
    Closed,
}

/// `datetime` of `wasi:clocks/wall-clock`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Cx<'a> = StoreContextMut<'a, Host>;
type Streamed<T> = (std::result::Result<T, StreamError>,);

impl Surroundings {
    /// What is random follows from the component.
    pub fn new(version: ContentHash) -> Surroundings {
        Surroundings { seed: version, drawn: 0 }
    }

    fn draw(&mut self, most: u64) -> Result<Vec<u8>> {
        if most > MOST_DRAWN {
            return Err(Error::msg("it wants too much that is random at once"));
        }
        let mut out = Vec::new();
        while (out.len() as u64) < most {
            self.drawn += 1;
            let block = ContentHash::of(format!("{} {}", self.seed.hex(), self.drawn).as_bytes());
            out.extend_from_slice(block.as_bytes());
        }
        out.truncate(usize::try_from(most)?);
        Ok(out)
    }

    fn number(&mut self) -> Result<u64> {
        Ok(self.draw(8)?.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte)))
    }
}

/// The name of an interface of WASI 0.2, without its version; nothing for any other.
fn interface(name: &str) -> Option<&str> {
    let (interface, version) = name.split_once('@')?;
    (interface.starts_with("wasi:") && version.starts_with("0.2.")).then_some(interface)
}

/// Whether an interface is one of a system.
pub fn is_of(name: &str) -> bool {
    interface(name).is_some()
}

/// Puts a system where a component looks for one.
///
/// # Errors
/// What the engine answers.
pub fn link(linker: &mut Linker<Host>, component: &Component, kind: &Kind) -> Result<()> {
    let engine = linker.engine().clone();
    for (name, _) in kind.imports(&engine) {
        if let Some(interface) = interface(name) {
            fill(interface, linker.instance(name)?)?;
        }
    }
    linker.define_unknown_imports_as_traps(component)
}

fn fill(interface: &str, mut it: LinkerInstance<'_, Host>) -> Result<()> {
    match interface {
        "wasi:cli/environment" => {
            it.func_wrap("get-environment", |_: Cx<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
            it.func_wrap("get-arguments", |_: Cx<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
            it.func_wrap("initial-cwd", |_: Cx<'_>, (): ()| Ok((None::<String>,)))
        }
        "wasi:cli/exit" => it.func_wrap("exit", |_: Cx<'_>, (status,): (std::result::Result<(), ()>,)| {
            let how = if status.is_ok() { "well" } else { "with a failure" };
            Err::<(), _>(Error::msg(format!("it left before it gave anything, {how}")))
        }),
        "wasi:cli/stdin" => {
            it.func_wrap("get-stdin", |_: Cx<'_>, (): ()| Ok((Resource::<Input>::new_own(0),)))
        }
        "wasi:cli/stdout" => {
            it.func_wrap("get-stdout", |_: Cx<'_>, (): ()| Ok((Resource::<Output>::new_own(0),)))
        }
        "wasi:cli/stderr" => {
            it.func_wrap("get-stderr", |_: Cx<'_>, (): ()| Ok((Resource::<Output>::new_own(0),)))
        }
        "wasi:cli/terminal-input" => resource::<Terminal>(&mut it, "terminal-input"),
        "wasi:cli/terminal-output" => resource::<Terminal>(&mut it, "terminal-output"),
        "wasi:cli/terminal-stdin" => no_terminal(&mut it, "get-terminal-stdin"),
        "wasi:cli/terminal-stdout" => no_terminal(&mut it, "get-terminal-stdout"),
        "wasi:cli/terminal-stderr" => no_terminal(&mut it, "get-terminal-stderr"),
        "wasi:io/error" => resource::<Failed>(&mut it, "error"),
        "wasi:io/streams" => streams(&mut it),
        "wasi:filesystem/types" => resource::<Descriptor>(&mut it, "descriptor"),
        "wasi:filesystem/preopens" => it.func_wrap("get-directories", |_: Cx<'_>, (): ()| {
            Ok((Vec::<(Resource<Descriptor>, String)>::new(),))
        }),
        "wasi:clocks/wall-clock" => {
            let still = |_: Cx<'_>, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 0 },));
            it.func_wrap("now", still)?;
            it.func_wrap("resolution", still)
        }
        "wasi:clocks/monotonic-clock" => {
            it.func_wrap("now", |_: Cx<'_>, (): ()| Ok((0_u64,)))?;
            it.func_wrap("resolution", |_: Cx<'_>, (): ()| Ok((1_u64,)))
        }
        "wasi:random/random" => draws(&mut it, "get-random-bytes", "get-random-u64"),
        "wasi:random/insecure" => draws(&mut it, "get-insecure-random-bytes", "get-insecure-random-u64"),
        "wasi:random/insecure-seed" => it.func_wrap("insecure-seed", |mut cx: Cx<'_>, (): ()| {
            let around = &mut cx.data_mut().around;
            Ok(((around.number()?, around.number()?),))
        }),
        _ => Ok(()),
    }
}

fn resource<T: 'static>(it: &mut LinkerInstance<'_, Host>, name: &str) -> Result<()> {
    it.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}

fn no_terminal(it: &mut LinkerInstance<'_, Host>, name: &str) -> Result<()> {
    it.func_wrap(name, |_: Cx<'_>, (): ()| Ok((None::<Resource<Terminal>>,)))
}

fn draws(it: &mut LinkerInstance<'_, Host>, bytes: &str, number: &str) -> Result<()> {
    it.func_wrap(bytes, |mut cx: Cx<'_>, (most,): (u64,)| Ok((cx.data_mut().around.draw(most)?,)))?;
    it.func_wrap(number, |mut cx: Cx<'_>, (): ()| Ok((cx.data_mut().around.number()?,)))
}

fn streams(it: &mut LinkerInstance<'_, Host>) -> Result<()> {
    resource::<Input>(it, "input-stream")?;
    resource::<Output>(it, "output-stream")?;
    for read in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        it.func_wrap(read, |_: Cx<'_>, _: (Resource<Input>, u64)| -> Result<Streamed<Vec<u8>>> {
            Ok((Err(StreamError::Closed),))
        })?;
    }
    it.func_wrap("[method]output-stream.check-write", |_: Cx<'_>, _: (Resource<Output>,)| {
        let most: Streamed<u64> = (Ok(MOST_PRINTED),);
        Ok(most)
    })?;
    for write in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        it.func_wrap(write, |_: Cx<'_>, _: (Resource<Output>, Vec<u8>)| -> Result<Streamed<()>> {
            Ok((Ok(()),))
        })?;
    }
    for flush in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        it.func_wrap(flush, |_: Cx<'_>, _: (Resource<Output>,)| -> Result<Streamed<()>> { Ok((Ok(()),)) })?;
    }
    Ok(())
}
