//! The processes that came from one: counted, and ended with all that they started.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, waitpid};

/// How long it is tried to end those that go on starting others.
const PATIENCE: Duration = Duration::from_secs(5);

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Ends a process with its group, and waits for it.
pub fn end(child: &mut Child) {
    if let Some(group) = pid(child) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Ends a process with its group and all that came from it, those too that left the group. Needs that this process
/// [inherits](adopt) them.
pub fn end_all(child: &mut Child) -> Option<ExitStatus> {
    if let Some(group) = pid(child) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().ok();
    let late = Instant::now() + PATIENCE;
    loop {
        let left = descendants(None);
        if left.is_empty() || Instant::now() > late {
            return status;
        }
        for process in left {
            let _ = kill_process(process, Signal::KILL);
        }
        sleep(Duration::from_millis(2));
    }
}

/// Has processes whose parent has gone become this one's.
pub fn adopt() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

/// How many processes live that came from a child, with itself.
pub fn count(child: &Child) -> u64 {
    1 + descendants(pid(child)).len() as u64
}

/// All that came from this process, but for one; those that are over are buried.
fn descendants(except: Option<Pid>) -> Vec<Pid> {
    let own = children(getpid()).into_iter().filter(|it| Some(*it) != except);
    let mut out: Vec<Pid> =
        own.filter(|it| !matches!(waitpid(Some(*it), WaitOptions::NOHANG), Ok(Some(_)))).collect();
    let mut open: Vec<Pid> = out.iter().copied().chain(except).collect();
    while let Some(process) = open.pop() {
        let found = children(process);
        open.extend(&found);
        out.extend(found);
    }
    out
}

/// The children of a process (proc_pid_task(5)); none where the system does not say.
fn children(of: Pid) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", of.as_raw_nonzero())) else {
        return Vec::new();
    };
    let lists =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let pids = |list: String| {
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<Pid>>()
    };
    lists.flat_map(pids).collect()
}

/// The signal that ended a process, where one did.
pub fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}
