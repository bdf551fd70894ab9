//! What stands between a program and PID 1, and what the program finds itself as.

use super::guest::{Guest, PATIENCE, Silence, is_foreign, is_gvisor, limits, python, shell};
use brig_jail::container::wire::{Killed, Main, Up, WireError};

pub const TESTS: &[(&str, fn())] = &[
    ("pid_1_says_what_it_found_around_itself", posture),
    ("pid_1_is_closed_to_the_program", closed),
    ("pid_1_and_the_program_have_brigs_own_filter_here", filtered),
    (
        "what_the_program_writes_into_the_stream_of_pid_1_never_passes_for_its_word",
        forged,
    ),
    ("signals_from_the_program_do_nothing_to_pid_1", signals),
    ("pid_1_shows_nothing_of_the_job", nothing_shown),
    ("the_program_is_an_ordinary_process_with_limits", ordinary),
    (
        "only_the_five_descriptors_that_a_program_has_are_open",
        descriptors,
    ),
];

fn posture() {
    let posture = Guest::start().posture.unwrap();
    assert!(posture.program_first_out, "{posture:?}");
    assert_eq!(posture.init_closed, !is_gvisor(), "{posture:?}");
    if !is_gvisor() {
        assert_eq!(posture.seccomp_mode, 2, "{posture:?}");
    }
}

const DOORS: &str = "
import os, sys
libc = None
for path in ['environ', 'mem', 'maps', 'auxv', 'fd', 'fd/0', 'fd/1', 'fd/5', 'fdinfo', 'exe', 'root', 'cwd', 'task/1/mem', 'map_files', 'ns/pid', 'stack']:
    for flags in [os.O_RDONLY, os.O_WRONLY, os.O_RDWR]:
        try:
            os.open('/proc/1/' + path, flags | os.O_NONBLOCK)
            print('open', path, flags)
        except OSError: pass
try:
    print('listed', os.listdir('/proc/1/fd'))
except OSError: pass
";

fn closed() {
    let ran = python(DOORS);
    if !is_gvisor() {
        assert_eq!(ran.stdout, "", "{ran:?}");
    } else {
        // The memory of PID 1, and with it the seal, is closed there as well.
        assert!(!ran.stdout.contains("mem"), "{ran:?}");
    }
    assert_eq!(ran.ended.main, Main::Exited(0), "{ran:?}");
    // The same doors of a process that is not closed: its own.
    let own = python(&DOORS.replace("/proc/1/", "/proc/self/"));
    for door in ["environ", "maps", "fd/1", "mem"] {
        assert!(own.stdout.contains(&format!("open {door} ")), "{door}: {own:?}");
    }
}

fn filtered() {
    if is_foreign() {
        return;
    }
    // The numbers are of x86_64: openat2 is probed, seccomp and unshare are refused.
    let ran = python(
        "import ctypes\n\
         call = ctypes.CDLL(None, use_errno=True).syscall\n\
         for number in [437, 317, 272]: print(call(number, 0, 0, 0, 0), ctypes.get_errno())",
    );
    if cfg!(target_arch = "x86_64") {
        assert_eq!(ran.stdout, "-1 38\n-1 1\n-1 1\n", "{ran:?}");
    }
}

fn forged() {
    // The end of a job that went well, without the seal, to every descriptor that it might be.
    let program = "
import os, struct, glob
forged = bytes([0x86, 0, 0, 0]) + struct.pack('<IQ', 23, 0) + bytes(23)
written = 0
for number in range(0, 40):
    for start in ['/proc/1/fd/', '/proc/self/fd/']:
        try:
            fd = os.open(start + str(number), os.O_WRONLY | os.O_NONBLOCK)
            if start == '/proc/1/fd/':
                os.write(fd, forged); written += 1
            os.close(fd)
        except OSError: pass
os.write(2, b'%d\\n' % written)
import time; time.sleep(2)
os._exit(9)
";
    let mut guest = Guest::start();
    guest.begin(limits(), &["/usr/bin/python3", "-I", "-c", program]);
    loop {
        match guest.hear(PATIENCE) {
            Ok(Some(Up::Ended(ended))) => {
                assert_eq!((ended.main, ended.killed), (Main::Exited(9), Killed::No));
                return;
            }
            Ok(Some(Up::Data { bytes, .. })) if !is_gvisor() => assert_eq!(bytes, b"0\n"),
            Ok(Some(_)) => {}
            Err(Silence::Broken(
                WireError::Unsealed { .. } | WireError::Malformed { .. } | WireError::Length { .. },
            )) if is_gvisor() => {
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn signals() {
    // Those that gVisor lets nobody ignore end the container there: the broker sees that, and it costs only this job.
    let ran = python(if is_gvisor() {
        "import os, signal\nfor one in sorted(set(range(1, 65)) - {9, 19, 32, 33}):\n  os.kill(1, one)\nprint('alive')"
    } else {
        "import os, signal\nfor one in sorted(set(range(1, 65)) - {32, 33}):\n  os.kill(1, one)\nprint('alive')"
    });
    assert_eq!(
        (ran.stdout.as_str(), ran.ended.main),
        ("alive\n", Main::Exited(0)),
        "{ran:?}"
    );
    // And everything that it can see, at once.
    if !is_gvisor() {
        let ran = python(
            "import os, signal\nos.fork()\nprint('up', flush=True)\nos.kill(-1, signal.SIGKILL)\nos._exit(3)",
        );
        assert!(ran.stdout.starts_with("up\n"), "{ran:?}");
        assert_eq!(ran.ended.killed, Killed::No);
    }
}

fn nothing_shown() {
    let ran = shell(
        "tr '\\0' ' ' < /proc/1/cmdline; echo; cat /proc/1/comm; cat /proc/1/environ 2>/dev/null | tr '\\0' '\\n'",
    );
    let mut lines = ran.stdout.lines();
    assert!(lines.next().unwrap().ends_with("init --container "), "{ran:?}");
    assert_eq!(lines.next(), Some("init"), "{ran:?}");
    let environment: Vec<&str> = lines.collect();
    if !is_gvisor() && !is_foreign() {
        assert!(environment.is_empty(), "{ran:?}");
    }
}

fn ordinary() {
    let program = "
import os, resource as r, signal
print(os.getsid(0) == os.getpid(), os.getuid(), os.getgid(), os.getppid(), os.getcwd())
print(r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_FSIZE), r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CPU))
print(r.getrlimit(r.RLIMIT_NPROC)[0] > 30000 or r.getrlimit(r.RLIMIT_NPROC)[0] == -1)
print(open('/proc/self/oom_score_adj').read().strip())
fields = dict(line.split(':', 1) for line in open('/proc/self/status'))
for name in ['SigBlk', 'SigIgn', 'NoNewPrivs']:
    print(name, fields.get(name, '?').strip().lstrip('0') or '-')
print(sorted(set(os.environ) - {'LC_CTYPE'}))
";
    let ran = python(program);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "True 10001 10001 1 /workspace", "{ran:?}");
    assert_eq!(
        lines[1], "(1, 1) (4194304, 4194304) (256, 256) (21, 22)",
        "{ran:?}"
    );
    assert_eq!(lines[2..4], ["True", "1000"], "{ran:?}");
    if !is_gvisor() {
        // SIGPIPE and SIGXFSZ are Python's own, like LC_CTYPE.
        assert_eq!(
            lines[4..7],
            ["SigBlk -", "SigIgn 1001000", "NoNewPrivs 1"],
            "{ran:?}"
        );
    }
    assert_eq!(*lines.last().unwrap(), "['HOME', 'PATH']", "{ran:?}");
    let ran = shell("grep -E 'SigIgn|SigBlk' /proc/self/status");
    if !is_gvisor() {
        assert_eq!(
            ran.stdout, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n",
            "{ran:?}"
        );
    }
}

fn descriptors() {
    // One more is what the shell reads the directory with.
    let ran = shell("for one in /proc/self/fd/*; do echo ${one##*/}; done");
    assert_eq!(ran.stdout, "0\n1\n2\n3\n", "{ran:?}");
}
