//! Which calls of the kernel a thread may make: seccomp (<https://docs.kernel.org/userspace-api/seccomp_filter.html>).
//!
//! What is not listed is as if the kernel did not know it (`ENOSYS`), so that what comes with later kernels is refused, and so are the
//! numbers of other calling conventions; libraries do without or in another way. What is refused by name fails with `EPERM`. Calls of
//! another processor's kind end the program.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

use super::Refusal;

/// Whom a program may send signals to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// Those within the same walls: Landlock sees to it.
    Within,
    /// Nobody.
    None,
}

/// Calls, each with when it counts: where any of the rules holds; always, where there are none.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// What programs do. From the list that Docker's engine has by default, less the network, other processes and the machine.
const ALLOWED: &[c_long] = calls![
    SYS_brk SYS_capget SYS_chdir SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_clone SYS_close
    SYS_close_range SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
    SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2
    SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchown SYS_fcntl SYS_fdatasync SYS_fgetxattr
    SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate
    SYS_futex SYS_futex_waitv SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid
    SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority
    SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list SYS_getrusage SYS_getsid
    SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_ioctl SYS_kill
    SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_linkat SYS_lseek
    SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2
    SYS_mlockall SYS_mmap SYS_mprotect SYS_mremap SYS_mseal SYS_msync SYS_munlock SYS_munlockall SYS_munmap
    SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2
    SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2
    SYS_prlimit64 SYS_pselect6 SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat
    SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rseq
    SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn
    SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr
    SYS_sched_getparam SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getscheduler
    SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_yield SYS_seccomp SYS_sendfile SYS_sendmmsg
    SYS_sendmsg SYS_sendto SYS_setitimer SYS_setpgid SYS_setpriority SYS_setrlimit SYS_set_robust_list
    SYS_setsid SYS_setsockopt SYS_set_tid_address SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_socketpair
    SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill
    SYS_timer_create SYS_timer_delete SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime
    SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_times SYS_tkill SYS_umask SYS_uname
    SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
];
/// The older forms of some of them.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLDER: &[c_long] = calls![
    SYS_access SYS_alarm SYS_arch_prctl SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_fork
    SYS_getdents SYS_getpgrp SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll
    SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_vfork
];
#[cfg(target_arch = "aarch64")]
const ALLOWED_OLDER: &[c_long] = &[];

/// What is refused by name: the ways to others, and what Landlock does not see. Who changes a file's mode, owner, times or attributes by
/// its path changes those of any file of the user; by a descriptor it is a file that could be opened.
const REFUSED: &[c_long] = calls![
    SYS_socket SYS_connect SYS_bind SYS_listen SYS_accept SYS_accept4
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_pidfd_getfd SYS_kcmp
    SYS_fchmodat SYS_fchownat SYS_truncate SYS_setxattr SYS_lsetxattr SYS_removexattr
    SYS_lremovexattr SYS_inotify_add_watch SYS_fanotify_init SYS_fanotify_mark SYS_open_by_handle_at
    SYS_name_to_handle_at
    SYS_shmget SYS_shmat SYS_shmctl SYS_semget SYS_semctl SYS_semop SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl
    SYS_mq_open SYS_mq_unlink
    SYS_keyctl SYS_add_key SYS_request_key
    SYS_unshare SYS_setns SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_move_mount SYS_open_tree
    SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr
    SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_kexec_load SYS_init_module SYS_finit_module
    SYS_delete_module SYS_reboot SYS_swapon SYS_swapoff SYS_acct SYS_quotactl SYS_syslog SYS_settimeofday
    SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_sethostname SYS_setdomainname SYS_vhangup
    SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups SYS_setfsuid
    SYS_setfsgid SYS_capset SYS_personality
];
#[cfg(target_arch = "x86_64")]
const REFUSED_OLDER: &[c_long] = calls![
    SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_iopl SYS_ioperm
];
#[cfg(target_arch = "aarch64")]
const REFUSED_OLDER: &[c_long] = &[];

/// Attributes of any file of the user: as if the file system had none, which every program expects.
const WITHOUT_ATTRIBUTES: &[c_long] = calls![SYS_getxattr SYS_lgetxattr SYS_listxattr SYS_llistxattr];

/// Who is root owns what the system's folders hold, and could change it by a descriptor.
const REFUSED_TO_ROOT: &[c_long] = calls![SYS_fchmod SYS_fchown SYS_fsetxattr SYS_fremovexattr];

/// Where the kernel cannot tell whom a signal reaches.
const SIGNALS: &[c_long] =
    calls![SYS_kill SYS_tkill SYS_tgkill SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_pidfd_send_signal];

/// Whose first argument names a process or a thread, and may name none but the caller.
const OF_A_PROCESS: &[c_long] = calls![SYS_prlimit64 SYS_sched_setaffinity];

/// What begins anew with a process: namespaces, in which it would be root (clone(2)).
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// The bits of a kind of socket that are the kind (socket(2)).
const KIND: u64 = 0xf;
/// The ways to have signals sent to a process of one's choice when a descriptor is ready (fcntl(2), ioctl_tty(2)).
const OWNERS: [libc::c_int; 3] = [libc::F_SETOWN, 15, 10];
const OWNERS_IOCTL: [u64; 2] = [0x8901, 0x8902];

/// Shuts this thread in. It can take on no new rights from then on.
pub fn shut(signals: Signals, is_root: bool) -> Result<(), Refusal> {
    let kernel = |e: String| Refusal::Kernel(e);
    for (action, rest, rules) in filters(signals, is_root).map_err(|e| kernel(e.to_string()))? {
        let target = std::env::consts::ARCH.try_into();
        let filter = target
            .and_then(|arch| SeccompFilter::new(rules, rest, action, arch))
            .and_then(BpfProgram::try_from);
        let filter = filter.map_err(|e| kernel(e.to_string()))?;
        apply_filter(&filter).map_err(|e| kernel(e.to_string()))?;
    }
    Ok(())
}

/// What is done with calls that are listed, and with the others. Of several that refuse, the last says how.
fn filters(
    signals: Signals,
    is_root: bool,
) -> Result<[(SeccompAction, SeccompAction, Rules); 3], seccompiler::BackendError> {
    let fails = |with: libc::c_int| SeccompAction::Errno(with.unsigned_abs());
    let always = |calls: &[&[c_long]]| -> Rules {
        calls.iter().copied().flatten().map(|call| (*call, Vec::new())).collect()
    };
    let mut refused = always(&[REFUSED, REFUSED_OLDER]);
    if is_root {
        refused.append(&mut always(&[REFUSED_TO_ROOT]));
    }
    let when = |argument, length, op, value| {
        SeccompRule::new(vec![SeccompCondition::new(argument, length, op, value)?])
    };
    let word = Length::Dword;
    let bits = |flag: libc::c_int| u64::from(flag.unsigned_abs());
    let namespaces =
        NAMESPACES.iter().map(|flag| when(0, Length::Qword, Op::MaskedEq(bits(*flag)), bits(*flag)));
    refused.insert(libc::SYS_clone, namespaces.collect::<Result<_, _>>()?);
    for call in OF_A_PROCESS {
        refused.insert(*call, vec![when(0, word.clone(), Op::Ne, 0)?]);
    }
    refused.insert(libc::SYS_setpriority, vec![when(1, word.clone(), Op::Ne, 0)?]);
    // Without a path the times are those of an open file.
    refused.insert(libc::SYS_utimensat, vec![when(1, Length::Qword, Op::Ne, 0)?]);
    // Two ends that are bound to each other are with nobody else; an end of any other kind could send to another address.
    let bound = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(bits);
    let kinds = (0..=KIND).filter(|kind| !bound.contains(kind));
    let mut pairs: Vec<SeccompRule> =
        kinds.map(|kind| when(1, word.clone(), Op::MaskedEq(KIND), kind)).collect::<Result<_, _>>()?;
    pairs.push(when(0, word.clone(), Op::Ne, bits(libc::AF_UNIX))?);
    refused.insert(libc::SYS_socketpair, pairs);
    if signals == Signals::None {
        refused.append(&mut always(&[SIGNALS]));
        let owners = OWNERS.iter().map(|command| when(1, word.clone(), Op::Eq, bits(*command)));
        refused.insert(libc::SYS_fcntl, owners.collect::<Result<_, _>>()?);
        let owners = OWNERS_IOCTL.iter().map(|request| when(1, word.clone(), Op::Eq, *request));
        refused.insert(libc::SYS_ioctl, owners.collect::<Result<_, _>>()?);
    }
    // Those that fail with a word of their own are not allowed, either: of two that refuse, the later is heard.
    let named = [REFUSED, REFUSED_OLDER, WITHOUT_ATTRIBUTES];
    let allowed = always(&[&[ALLOWED, ALLOWED_OLDER][..], &named[..]].concat());
    Ok([
        (SeccompAction::Allow, fails(libc::ENOSYS), allowed),
        (fails(libc::EOPNOTSUPP), SeccompAction::Allow, always(&[WITHOUT_ATTRIBUTES])),
        (fails(libc::EPERM), SeccompAction::Allow, refused),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_both_refused_and_allowed() {
        let refused: Vec<&c_long> = REFUSED.iter().chain(REFUSED_OLDER).chain(WITHOUT_ATTRIBUTES).collect();
        assert!(ALLOWED.iter().chain(ALLOWED_OLDER).all(|call| !refused.contains(&call)));
        assert!([SIGNALS, OF_A_PROCESS, REFUSED_TO_ROOT].concat().iter().all(|call| ALLOWED.contains(call)));
    }

    /// As on a kernel that cannot tell whom signals reach.
    #[test]
    fn nobody_is_signalled_where_it_is_not_known_who_it_is() {
        let says =
            |script: &'static str| std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        let shut_in = move || {
            shut(Signals::None, true).unwrap();
            ["true", "kill -0 $$", "kill -0 $PPID"].map(|script| says(script).status.success())
        };
        assert_eq!(std::thread::spawn(shut_in).join().unwrap(), [true, false, false]);
        assert!(says("kill -0 $PPID").status.success(), "who was not shut in is as before");
    }

    #[test]
    fn every_filter_can_be_made() {
        for (signals, is_root) in [(Signals::Within, false), (Signals::None, true)] {
            for (action, rest, rules) in filters(signals, is_root).unwrap() {
                let arch = std::env::consts::ARCH.try_into().unwrap();
                let filter = SeccompFilter::new(rules, rest, action, arch).unwrap();
                // The kernel takes no more (`BPF_MAXINSNS`).
                assert!(BpfProgram::try_from(filter).unwrap().len() <= 4096);
            }
        }
    }
}
