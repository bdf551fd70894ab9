//! The ways in which a job of the soak ends: ordinary ones, and hostile ones, each short.

/// One way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// What is handed to `brig run`; `{out}` is a directory of the caller's own.
    pub(crate) arguments: &'static [&'static str],
    /// The exit status that must come of it.
    pub(crate) exit: i32,
    /// What the caller does meanwhile.
    pub(crate) caller: Caller,
}

/// What a caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// It waits for the result.
    Waits,
    /// It goes away in the middle of the stream.
    Leaves,
    /// It submits and cancels.
    Cancels,
}

const fn run(arguments: &'static [&'static str], exit: i32) -> Way {
    Way {
        arguments,
        exit,
        caller: Caller::Waits,
    }
}

pub(crate) const ORDINARY: [Way; 10] = [
    run(&["-c", "print(1)"], 0),
    run(&["-c", "import json, threading; print(json.dumps([1]))"], 0),
    run(&["--", "sh", "-c", "echo out; echo err >&2"], 0),
    run(&["-c", "open('f', 'w').write('x' * 1000)"], 0),
    run(&["--", "true"], 0),
    run(
        &[
            "--in",
            "input.txt",
            "-c",
            "assert open('input.txt').read() == 'input'",
        ],
        0,
    ),
    run(
        &[
            "--out",
            "*.bin",
            "--out-dir",
            "{out}",
            "-c",
            "open('a.bin', 'wb').write(bytes(9999))",
        ],
        0,
    ),
    run(&["-c", "import sys; sys.exit(3)"], 3),
    run(&["-c", "raise ValueError('no')"], 1),
    run(&["-c", "for n in range(2000): print('line', n)"], 0),
];

const FORKS: &str =
    "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n";
const DETACHED: &str = "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        os.setsid()\n        \
    os.close(1); os.close(2)\n        time.sleep(100)\n";
const LINKS: &str = "import os\nos.symlink('/etc/shadow', 'a.out')\nos.symlink('/dev/zero', 'b.out')\n\
    os.mkfifo('c.out')\nos.mkdir('d.out')\nos.symlink('/', 'e.out')\nopen('good.out', 'w').write('good')\n";
// Whatever channel the runner has is among these.
const LIES: &str = "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'\\xff\\xff\\xff\\x7f\\x83' + \
    os.urandom(4000))\n    except OSError:\n        pass\n";
const REFUSED: &str = "import ctypes\ncall = ctypes.CDLL(None, use_errno=True).syscall\nfor number in (165, 166, 272, \
    101, 321, 155, 161):\n    for _ in range(20):\n        call(number, 0, 0, 0, 0)\n";
const KILLED_BY_FILTER: &str = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)";
const INODES: &str =
    "import os\nfor n in range(100000):\n    os.close(os.open(f'f{n}', os.O_CREAT | os.O_WRONLY))\n";
const HANDLES: &str = "import os\nkept = []\nwhile True:\n    kept.append(os.pipe())\n";
const THREADS: &str = "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(9,), \
    daemon=True).start()\n";
const DEAF: &str = "import signal\nfor number in range(1, 32):\n    try:\n        signal.signal(number, signal.SIG_IGN)\n    \
    except (OSError, ValueError):\n        pass\nwhile True:\n    pass\n";
const EVERYONE: &str = "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass\ntry:\n    os.kill(1, 9)\n\
    except OSError:\n    pass\n";
const SHARED: &str = "import mmap\nkept = []\nwhile True:\n    m = mmap.mmap(-1, 8 << 20)\n    m.write(b'x' * (8 << 20))\n    \
    kept.append(m)\n";

pub(crate) const HOSTILE: [Way; 20] = [
    run(&["--timeout", "400ms", "--pids", "24", "-c", FORKS], 124),
    run(
        &[
            "--memory",
            "192MiB",
            "--workspace",
            "8MiB",
            "-c",
            "x = bytearray(1 << 30)",
        ],
        137,
    ),
    run(
        &["--output-limit", "256KiB", "--", "sh", "-c", "yes; yes >&2"],
        123,
    ),
    run(&["--timeout", "300ms", "-c", "while True: pass"], 124),
    run(&["--timeout", "300ms", "--", "sleep", "50"], 124),
    run(&["-c", "import os; os.kill(os.getpid(), 11)"], 139),
    run(&["-c", REFUSED], 0),
    run(&["-c", KILLED_BY_FILTER], 159),
    run(
        &[
            "--workspace",
            "64KiB",
            "-c",
            "open('f', 'wb').write(bytes(1 << 20))",
        ],
        1,
    ),
    run(&["-c", INODES], 1),
    run(&["-c", DETACHED], 0),
    run(&["--out", "*.out", "--out-dir", "{out}", "-c", LINKS], 0),
    run(&["-c", LIES], 0),
    run(&["-c", HANDLES], 1),
    run(&["--pids", "16", "-c", THREADS], 1),
    run(&["--timeout", "300ms", "-c", DEAF], 124),
    run(&["-c", EVERYONE], 0),
    run(&["--memory", "192MiB", "--workspace", "8MiB", "-c", SHARED], 137),
    Way {
        arguments: &["--", "sh", "-c", "while :; do echo more; sleep 0.02; done"],
        exit: 0,
        caller: Caller::Leaves,
    },
    Way {
        arguments: &["--", "sleep", "50"],
        exit: 0,
        caller: Caller::Cancels,
    },
];
