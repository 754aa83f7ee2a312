//! The engine: what is compiled once, and what is begun anew for each piece of work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aios_agents::component::{Ended, Limits};
use aios_agents::runtime::Stop;
use aios_core::id::ContentHash;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, OptLevel, Store, Trap, UpdateDeadline};

use super::host::{self, Host};
use super::{Code, Worker, wasi};

/// How often a component at work is looked after.
const LOOK: Duration = Duration::from_millis(20);
/// The most compiled components that are kept.
const MOST_KEPT: usize = 32;
/// What a component's own calls may take of the stack, in bytes.
const STACK: usize = 512 << 10;
/// The memory that is set aside at once for a component that grows, in bytes: addresses, and no pages yet.
const RESERVED: u64 = 64 << 20;
/// The function that does the work.
const WORK: &str = "work";

/// What a component may use follows from its bytes and from what it is granted.
type Known = (ContentHash, BTreeSet<String>);

/// The engine of this process.
fn engine() -> Result<&'static Engine, Ended> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let made = ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config
            .consume_fuel(true)
            .epoch_interruption(true)
            // No handler of signals in a process that does other work: what is out of bounds is seen by a comparison.
            .signals_based_traps(false)
            .memory_reservation(RESERVED)
            .memory_guard_size(0)
            .max_wasm_stack(STACK)
            // The same on every device, to the bit.
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true)
            .cranelift_opt_level(OptLevel::Speed);
        Engine::new(&config).map_err(|e| format!("{e:#}"))
    });
    made.as_ref().map_err(|what| Ended::Unfit(what.clone()))
}

/// A component, ready to be begun with what it is granted.
///
/// # Errors
/// Why it cannot be.
pub fn check(code: &Code, granted: &BTreeSet<String>) -> Result<InstancePre<Host>, Ended> {
    static READY: Mutex<BTreeMap<Known, InstancePre<Host>>> = Mutex::new(BTreeMap::new());
    let key = (code.version, granted.clone());
    if let Some(found) = READY.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(found.clone());
    }
    let made = prepare(&code.bytes, granted)?;
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    if ready.len() >= MOST_KEPT {
        ready.clear();
    }
    ready.insert(key, made.clone());
    Ok(made)
}

fn prepare(bytes: &[u8], granted: &BTreeSet<String>) -> Result<InstancePre<Host>, Ended> {
    let unfit = |e: wasmtime::Error| Ended::Unfit(format!("{e:#}"));
    let engine = engine()?;
    let component = Component::from_binary(engine, bytes)
        .map_err(|e| Ended::Unfit(format!("it is no component: {e:#}")))?;
    let kind = component.component_type();
    for (name, item) in kind.imports(engine) {
        if wasi::is_of(name) {
            continue;
        }
        let ComponentItem::ComponentInstance(of) = item.ty else {
            return Err(Ended::Ungranted(format!("`{name}`")));
        };
        if !host::is_of(name) {
            return Err(Ended::Ungranted(format!("`{name}`")));
        }
        let lacks = of.exports(engine).find(|(tool, item)| {
            matches!(item.ty, ComponentItem::ComponentFunc(_)) && !granted.contains(*tool)
        });
        if let Some((tool, _)) = lacks {
            return Err(Ended::Ungranted(format!("the tool `{tool}`")));
        }
    }
    if !kind
        .exports(engine)
        .any(|(name, item)| name == WORK && matches!(item.ty, ComponentItem::ComponentFunc(_)))
    {
        return Err(Ended::Unfit(format!("it has no function `{WORK}`")));
    }
    let mut linker = Linker::new(engine);
    host::link(&mut linker, granted).map_err(unfit)?;
    wasi::link(&mut linker, &component, &kind).map_err(unfit)?;
    linker.instantiate_pre(&component).map_err(unfit)
}

/// Has a component work once, from its beginning to its end or to a call that was not made yet.
pub fn run(worker: &Worker, input: &str, stop: &Stop) -> Ended {
    let limits = worker.agent.component.as_ref().map(|it| it.limits).unwrap_or_default();
    let ready = match check(&worker.code, &worker.granted) {
        Ok(ready) => ready,
        Err(ended) => return ended,
    };
    let engine = ready.engine().clone();
    let mut store = Store::new(&engine, Host::new(worker, &limits));
    // It ends when the other end is gone, and that is when this is over.
    let (_over, ends) = channel::<()>();
    thread::spawn(move || {
        while ends.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            engine.increment_epoch();
        }
    });
    let (stop, late) = (stop.clone(), Instant::now() + Duration::from_millis(limits.time));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut cx| {
        let why = match (stop.is_stopped(Duration::ZERO), Instant::now() >= late) {
            (true, _) => Ended::Stopped,
            (false, true) => Ended::Late,
            (false, false) => return Ok(UpdateDeadline::Continue(1)),
        };
        cx.data_mut().end(why);
        Ok(UpdateDeadline::Interrupt)
    });
    store.limiter(|host| host);
    store.set_hostcall_fuel(usize::try_from(limits.output).unwrap_or(usize::MAX));
    let called = store.set_fuel(limits.fuel).and_then(|()| call(&mut store, &ready, input, &limits));
    called.unwrap_or_else(|error| ended(store.data_mut(), &error))
}

fn call(
    store: &mut Store<Host>,
    ready: &InstancePre<Host>,
    input: &str,
    limits: &Limits,
) -> wasmtime::Result<Ended> {
    let instance = ready.instantiate(&mut *store)?;
    let work = instance.get_typed_func::<(&str,), (Result<String, String>,)>(&mut *store, WORK)?;
    let (gave,) = work.call(&mut *store, (input,))?;
    let size = gave.as_ref().map_or_else(String::len, String::len) as u64;
    Ok(match gave {
        _ if size > limits.output => Ended::Flooded,
        Ok(text) => Ended::Gave(text),
        Err(why) => Ended::Refused(why),
    })
}

/// What an error means: what this side ended it for, or what it did itself.
fn ended(host: &mut Host, error: &wasmtime::Error) -> Ended {
    if let Some(why) = host.ended() {
        return why;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Ended::Spent,
        // What is copied from it at once has a bound, and the engine has no other name for that.
        None if error.root_cause().to_string().starts_with("too much data is being copied") => Ended::Flooded,
        _ => Ended::Trapped(format!("{error:#}")),
    }
}
