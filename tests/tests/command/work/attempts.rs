//! Ways out of a sandbox, as scripts. Each ends well when it got out.

/// One way out.
pub struct Attempt {
    /// Its name, that of a step.
    pub name: &'static str,
    /// What it is written in.
    pub language: Language,
    /// What is tried: commands, or the body of a function.
    pub script: &'static str,
    /// What comes of it without a sandbox.
    pub without: Without,
}

/// What comes of an attempt without a sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// It gets out.
    Out,
    /// It gets out where the machine does not keep everybody from it.
    Perhaps,
    /// It gets out, and would wait for itself: it is tried outside of any step.
    Plain,
    /// No program gets there; what the same does outside of any is tried by the test.
    Kept,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Sh,
    Python,
}

const fn sh(name: &'static str, script: &'static str) -> Attempt {
    Attempt { name, language: Language::Sh, script, without: Without::Out }
}

const fn python(name: &'static str, script: &'static str) -> Attempt {
    Attempt { name, language: Language::Python, script, without: Without::Out }
}

/// One that some machines keep everybody from.
const fn rare(name: &'static str, script: &'static str) -> Attempt {
    Attempt { without: Without::Perhaps, ..python(name, script) }
}

/// One that no program gets anywhere by.
const fn never(name: &'static str, script: &'static str) -> Attempt {
    Attempt { without: Without::Kept, ..sh(name, script) }
}

/// All of them. `@name@` stands for what the test fills in.
pub const ATTEMPTS: &[Attempt] = &[
    // Files.
    sh("read_a_key_of_ssh", "cat @home@/.ssh/id_ed25519"),
    sh("read_the_vault", "cat @vault@/clients/ann.md"),
    sh("list_the_vault", "ls @vault@/clients"),
    sh("read_the_log", "cat @vault@/.aios/log/*/*"),
    sh("list_the_devices", "ls @keys@/devices"),
    sh("read_the_devices_keys", "cat @keys@/devices/*/*.key"),
    sh("list_the_folder_of_all_scratch", "ls @tmp@"),
    sh("write_outside", "echo x > @home@/@mode@.written"),
    sh("write_to_the_vault", "echo x > @vault@/@mode@.md"),
    sh("append_to_a_policy", "echo >> @vault@/policies/all.md"),
    sh("remove_a_file", "rm @home@/@mode@.removed"),
    sh("move_a_file_in", "mv @home@/@mode@.moved ."),
    sh("make_a_folder", "mkdir @home@/@mode@.folder"),
    python("cut_a_file_short", "os.truncate('@home@/@mode@.cut', 0)"),
    sh("open_a_file_to_all", "chmod 0777 @home@/@mode@.mode"),
    python("change_a_files_times", "os.utime('@home@/@mode@.times', (1, 1))"),
    python("mark_a_file", "os.setxattr('@home@/@mode@.marked', 'user.x', b'1')"),
    sh("go_through_a_link", "ln -s @home@/.ssh/id_ed25519 link && cat link"),
    sh("go_through_a_link_to_a_folder", "ln -s @home@ folder && cat folder/.ssh/id_ed25519"),
    sh("go_up", "cat \"$HOME/../../../../..@home@/.ssh/id_ed25519\""),
    sh("make_a_hard_link", "ln @home@/.ssh/id_ed25519 hard && cat hard"),
    sh("run_a_program_outside", "@home@/tool"),
    rare("watch_a_folder", "assert libc.inotify_add_watch(libc.inotify_init(), b'@vault@', 0xfff) >= 0"),
    // Other processes.
    sh("read_through_the_daemons_root", "cat /proc/@daemon@/root@home@/.ssh/id_ed25519"),
    sh("read_the_daemons_environment", "grep -a WORD_OF_THE_OPERATOR /proc/@daemon@/environ"),
    sh("read_what_others_were_called_with", "cat /proc/@daemon@/cmdline"),
    sh("list_the_daemons_files", "ls /proc/@daemon@/fd/"),
    rare("read_anothers_memory", "open('/proc/@looked@/mem', 'rb').close()"),
    rare("copy_anothers_memory", "vectors(310)"),
    rare("write_anothers_memory", "vectors(311, True)"),
    rare("trace_another", "call(101, 0x4206, @looked@, 0, 0)"),
    rare("take_anothers_file", "call(438, os.pidfd_open(@looked@), 0, 0)"),
    sh("signal_another", "kill -9 @struck@"),
    python("signal_by_descriptor", "signal.pidfd_send_signal(os.pidfd_open(@looked@), 0)"),
    python("bound_another", "resource.prlimit(@looked@, resource.RLIMIT_CORE, (0, 0))"),
    python("hurry_another", "os.setpriority(os.PRIO_PROCESS, @looked@, 5)"),
    never("read_what_was_handed_down", "cat <&9"),
    never("find_a_word_in_the_environment", "env | grep WORD_OF_THE_OPERATOR"),
    // The network, and the daemon.
    python("connect_by_tcp", "socket.create_connection(('127.0.0.1', @tcp@), 5)"),
    rare("connect_by_tcp_6", "socket.create_connection(('::1', @tcp6@), 5)"),
    python("listen", "socket.create_server(('127.0.0.1', 0))"),
    python(
        "send_by_udp",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @udp@))",
    ),
    python("ask_the_kernel_for_routes", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    rare("listen_to_the_wire", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
    rare("call_the_host", "socket.socket(40, socket.SOCK_STREAM)"),
    python("connect_to_the_daemon", "socket.socket(socket.AF_UNIX).connect('@daemons@')"),
    python("connect_to_an_abstract_name", "socket.socket(socket.AF_UNIX).connect('\\0@abstract@')"),
    python(
        "turn_a_pair_to_another",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', '@datagrams@')",
    ),
    rare("go_around_by_a_ring", "call(425, 4, ctypes.create_string_buffer(120))"),
    // New rights.
    python("take_on_rights", "assert libc.prctl(39, 0, 0, 0, 0) == 0"),
    rare("begin_a_namespace", "call(272, 0x10000000)"),
    rare("begin_a_namespace_with_a_child", "child(call(56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0))"),
    rare("have_another_root", "os.chroot('/usr')"),
    rare("read_the_keyring", "call(250, 0, ctypes.c_int(-3), 1)"),
    rare("share_memory", "call(29, 0, 4096, 0o1600)"),
    rare("call_as_another_processor", "foreign()"),
    Attempt { without: Without::Plain, ..sh("approve_by_itself", APPROVE) },
];

/// Consent without the operator.
pub const APPROVE: &str =
    "TMPDIR=@tmp@ AIOS_DATA_DIR=@keys@ AIOS_NET=loopback @aios@ --vault @vault@ approve @asked@";

/// What stands before a body in Python.
pub const PYTHON: &str = r#"
import ctypes, json, mmap, os, resource, signal, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *args):
    args = [ctypes.c_long(it) if isinstance(it, int) else it for it in args]
    got = libc.syscall(ctypes.c_long(number), *args)
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got

def child(pid):
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)

class Vector(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]

# Bytes of another's stack: process_vm_readv(2) and process_vm_writev(2).
def vectors(number, back=False):
    line = next(line for line in open('/proc/@looked@/maps') if '[stack]' in line)
    at = int(line.split('-')[1].split()[0], 16) - 64
    bytes_ = ctypes.create_string_buffer(8)
    here, there = Vector(ctypes.addressof(bytes_), 8), Vector(at, 8)
    both = ctypes.byref(here), 1, ctypes.byref(there), 1, 0
    call(310, @looked@, *both)
    if back:
        call(number, @looked@, *both)

# A socket by the calls of 32 bits, which have other numbers: mov eax, 359; mov ebx, AF_INET; mov ecx, SOCK_STREAM; xor edx, edx; int 0x80; ret.
def foreign():
    code = bytes.fromhex('53b867010000bb02000000b90100000031d2cd805bc3')
    pid = os.fork()
    if pid == 0:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        made = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        os._exit(0 if made >= 0 else 1)
    assert os.waitpid(pid, 0)[1] == 0

def attempt():
    "#;
