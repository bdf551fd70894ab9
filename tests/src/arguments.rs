//! What the filters on arguments let pass and what they refuse, as seen by a program in a cell: the harmless values, the
//! dangerous ones beside them, and every one of them with bits set that the kernel does not look at.

/// One call whose arguments are filtered.
#[derive(Debug, Clone, Copy)]
pub struct Filtered {
    /// Its name.
    pub call: &'static str,
    /// Its number on x86_64 and on aarch64.
    pub numbers: (u32, Option<u32>),
    /// Which arguments the filter looks at.
    pub looked_at: &'static [usize],
    /// What is asked and what must come of it.
    pub attempts: &'static [Attempt],
}

/// What must come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The filter lets it pass: the kernel does it or fails it with an error of its own.
    Passes,
    /// The filter refuses it with EPERM, and it is counted.
    Refused,
    /// The filter fails it with this error, and it is not counted.
    Fails(&'static str),
}

/// Title, arguments, answer.
pub type Attempt = (&'static str, [u64; 6], Answer);

const NOBODY: u64 = u32::MAX as u64;
/// A descriptor that nobody has.
const NONE: u64 = NOBODY;

const fn pass(title: &'static str, arguments: [u64; 6]) -> Attempt {
    (title, arguments, Answer::Passes)
}

const fn refuse(title: &'static str, arguments: [u64; 6]) -> Attempt {
    (title, arguments, Answer::Refused)
}

const fn fail(title: &'static str, arguments: [u64; 6], error: &'static str) -> Attempt {
    (title, arguments, Answer::Fails(error))
}

const fn two(a: u64, b: u64) -> [u64; 6] {
    [a, b, 0, 0, 0, 0]
}

const fn three(a: u64, b: u64, c: u64) -> [u64; 6] {
    [a, b, c, 0, 0, 0]
}

const fn flags_of_message(flags: u64) -> [u64; 6] {
    [NONE, 0, 0, flags, 0, 0]
}

/// All of them. A test insists that every call with conditions in the policy is here.
pub const FILTERED: &[Filtered] = &[
    Filtered {
        call: "mknodat",
        numbers: (259, Some(33)),
        looked_at: &[2],
        attempts: &[
            pass("a FIFO", three(NONE, 0, 0o010_600)),
            pass("a plain file", three(NONE, 0, 0o100_600)),
            pass("no type", three(NONE, 0, 0o600)),
            // The kernel takes 16 bits of the mode.
            pass(
                "a FIFO with bits above the mode",
                three(NONE, 0, 0x7fff_0000 | 0o010_600),
            ),
            refuse("a character device", three(NONE, 0, 0o020_600)),
            refuse("a block device", three(NONE, 0, 0o060_600)),
            refuse(
                "a block device with bits above the mode",
                three(NONE, 0, 0x7fff_0000 | 0o060_600),
            ),
            refuse("a socket", three(NONE, 0, 0o140_600)),
            refuse("a directory", three(NONE, 0, 0o040_700)),
            refuse("a link", three(NONE, 0, 0o120_700)),
            refuse("every type at once", three(NONE, 0, 0o170_000)),
        ],
    },
    Filtered {
        call: "fcntl",
        numbers: (72, Some(25)),
        looked_at: &[1],
        attempts: &[
            pass("F_GETFL", two(NONE, 3)),
            pass("F_OFD_SETLKW", two(NONE, 38)),
            pass("F_GET_SEALS", two(NONE, 1034)),
            refuse("F_SETOWN", two(NONE, 8)),
            refuse("F_SETSIG", two(NONE, 10)),
            refuse("F_SETOWN_EX", two(NONE, 15)),
            refuse("F_SETLEASE", two(NONE, 1024)),
            refuse("F_NOTIFY", two(NONE, 1026)),
            refuse("F_SET_RW_HINT", two(NONE, 1036)),
            refuse("-1", two(NONE, NOBODY)),
        ],
    },
    Filtered {
        call: "ioctl",
        numbers: (16, Some(29)),
        looked_at: &[1],
        attempts: &[
            pass("TCGETS", two(NONE, 0x5401)),
            pass("FIOCLEX", two(NONE, 0x5451)),
            pass("TCSETSF2", two(NONE, 0x402c_542d)),
            pass("SIOCGIFINDEX", two(NONE, 0x8933)),
            fail("FICLONE", two(NONE, 0x4004_9409), "EOPNOTSUPP"),
            fail("FS_IOC_GETFLAGS", two(NONE, 0x8008_6601), "EOPNOTSUPP"),
            refuse("TIOCSTI", two(NONE, 0x5412)),
            refuse("TIOCLINUX", two(NONE, 0x541c)),
            refuse("TIOCCONS", two(NONE, 0x541d)),
            refuse("TIOCSETD", two(NONE, 0x5423)),
            refuse("SIOCSIFFLAGS", two(NONE, 0x8914)),
            refuse("SIOCSIFADDR", two(NONE, 0x8916)),
            refuse("SIOCADDRT", two(NONE, 0x890b)),
            refuse("FS_IOC_SETFLAGS", two(NONE, 0x4008_6602)),
            refuse("KVM_CREATE_VM", two(NONE, 0xae01)),
            refuse("TUNSETIFF", two(NONE, 0x4004_54ca)),
            // In the lower half of a larger number a permitted one could hide.
            refuse("TCGETS in the upper half", two(NONE, 0x5401 << 32)),
            refuse("TCGETS with another direction", two(NONE, 0x8000_5401)),
        ],
    },
    Filtered {
        call: "clone",
        numbers: (56, Some(220)),
        looked_at: &[0],
        attempts: &[
            pass("fork", two(17, 0)),
            // Threads that share no memory do not exist: the kernel says so.
            pass("a thread without shared memory", two(0x1_0000, 0)),
            refuse("CLONE_NEWNS", two(0x0002_0000 | 17, 0)),
            refuse("CLONE_NEWCGROUP", two(0x0200_0000 | 17, 0)),
            refuse("CLONE_NEWUTS", two(0x0400_0000 | 17, 0)),
            refuse("CLONE_NEWIPC", two(0x0800_0000 | 17, 0)),
            refuse("CLONE_NEWUSER", two(0x1000_0000 | 17, 0)),
            refuse("CLONE_NEWPID", two(0x2000_0000 | 17, 0)),
            refuse("CLONE_NEWNET", two(0x4000_0000 | 17, 0)),
            refuse("CLONE_PTRACE", two(0x2000 | 17, 0)),
            refuse("CLONE_PARENT", two(0x8000 | 17, 0)),
            refuse("every namespace at once", two(0x7e02_0000 | 17, 0)),
            refuse("a thread in a new user namespace", two(0x1001_0f00, 0)),
        ],
    },
    Filtered {
        call: "prlimit64",
        numbers: (302, Some(261)),
        looked_at: &[0],
        attempts: &[
            pass("the caller", two(0, 7)),
            refuse("PID 1", two(1, 7)),
            refuse("somebody", two(2, 7)),
            refuse("-1", two(NOBODY, 7)),
        ],
    },
    Filtered {
        call: "setresuid",
        numbers: (117, Some(147)),
        looked_at: &[0, 1, 2],
        attempts: &[
            pass("what the user is already", three(NOBODY, 10_001, NOBODY)),
            refuse("root", three(NOBODY, 0, NOBODY)),
            refuse("all three root", three(0, 0, 0)),
            refuse("a neighbour", three(NOBODY, 10_002, NOBODY)),
            refuse("nothing at all", three(NOBODY, NOBODY, NOBODY)),
        ],
    },
    Filtered {
        call: "setresgid",
        numbers: (119, Some(149)),
        looked_at: &[0, 1, 2],
        attempts: &[
            pass("what the group is already", three(NOBODY, 10_001, NOBODY)),
            refuse("root", three(NOBODY, 0, NOBODY)),
            refuse("all three root", three(0, 0, 0)),
            refuse("a neighbour", three(NOBODY, 10_002, NOBODY)),
            refuse("nothing at all", three(NOBODY, NOBODY, NOBODY)),
        ],
    },
    Filtered {
        call: "setpriority",
        numbers: (141, Some(140)),
        looked_at: &[0, 1],
        attempts: &[
            pass("the caller", three(0, 0, 0)),
            refuse("PID 1", three(0, 1, 19)),
            refuse("the group of processes", three(1, 0, 19)),
            refuse("everybody of the user", three(2, 0, 19)),
            refuse("-1", three(0, NOBODY, 19)),
        ],
    },
    Filtered {
        call: "sched_setscheduler",
        numbers: (144, Some(119)),
        looked_at: &[0, 1],
        attempts: &[
            pass("the caller", three(0, 0, 0)),
            pass("another by number", three(0x7fff_fff0, 0, 0)),
            refuse("PID 1", three(1, 0, 0)),
            refuse("SCHED_FIFO", three(0, 1, 0)),
            refuse("SCHED_IDLE", three(0, 5, 0)),
            refuse("SCHED_DEADLINE", three(0, 6, 0)),
            refuse("SCHED_RESET_ON_FORK", three(0, 0x4000_0000, 0)),
            refuse("-1", three(0, NOBODY, 0)),
        ],
    },
    Filtered {
        call: "sched_setaffinity",
        numbers: (203, Some(122)),
        looked_at: &[0],
        attempts: &[
            pass("the caller", three(0, 0, 0)),
            refuse("PID 1", three(1, 0, 0)),
            refuse("somebody", three(2, 0, 0)),
            refuse("-1", three(NOBODY, 0, 0)),
        ],
    },
    Filtered {
        call: "prctl",
        numbers: (157, Some(167)),
        looked_at: &[0],
        attempts: &[
            pass("PR_GET_DUMPABLE", two(3, 0)),
            pass("PR_GET_NO_NEW_PRIVS", two(39, 0)),
            pass("PR_CAP_AMBIENT_IS_SET", two(47, 1)),
            fail("PR_SET_VMA", two(0x5356_4d41, 0), "EINVAL"),
            fail("PR_CAPBSET_READ", two(23, 0), "EINVAL"),
            refuse("PR_CAP_AMBIENT_RAISE", two(47, 2)),
            refuse("PR_CAP_AMBIENT_CLEAR_ALL", two(47, 4)),
            refuse("PR_SET_KEEPCAPS", two(8, 1)),
            refuse("PR_SET_SECCOMP", two(22, 2)),
            refuse("PR_CAPBSET_DROP", two(24, 0)),
            refuse("PR_SET_SECUREBITS", two(28, 0)),
            refuse("PR_TASK_PERF_EVENTS_DISABLE", two(31, 0)),
            refuse("PR_SET_MM", two(35, 0)),
            refuse("PR_SET_SPECULATION_CTRL", two(53, 0)),
            refuse("PR_SET_SYSCALL_USER_DISPATCH", two(59, 1)),
            refuse("PR_SCHED_CORE", two(62, 0)),
            refuse("PR_SET_MEMORY_MERGE", two(67, 1)),
            refuse("PR_SET_PTRACER", two(0x5961_6d61, NOBODY)),
            refuse("-1", two(NOBODY, 0)),
        ],
    },
    Filtered {
        call: "socket",
        numbers: (41, Some(198)),
        looked_at: &[0, 1, 2],
        attempts: &[
            pass("a local stream", three(1, 1, 0)),
            pass("TCP, closed at exec and not blocking", three(2, 1 | 0x8_0800, 6)),
            pass("UDP", three(10, 2, 17)),
            pass("route netlink", three(16, 3, 0)),
            fail("multipath TCP", three(2, 1, 262), "EINVAL"),
            refuse("a raw socket", three(2, 3, 1)),
            refuse("a ping socket", three(2, 2, 1)),
            refuse("a packet socket", three(17, 3, 0x300)),
            refuse("the old packet socket", three(2, 10, 0x300)),
            refuse("SCTP", three(2, 1, 132)),
            refuse("UDP-Lite", three(2, 2, 136)),
            refuse("AF_KEY", three(15, 3, 2)),
            refuse("netlink netfilter", three(16, 3, 12)),
            refuse("netlink audit", three(16, 3, 9)),
            refuse("netlink for crypto", three(16, 3, 21)),
            refuse("netlink of kernel events", three(16, 2, 15)),
            refuse("AF_ALG", three(38, 5, 0)),
            refuse("AF_VSOCK", three(40, 1, 0)),
            refuse("AF_BLUETOOTH", three(31, 3, 1)),
            refuse("AF_TIPC", three(30, 5, 0)),
            refuse("AF_XDP", three(44, 3, 0)),
            refuse("another flag of the type", three(2, 0x1_0001, 0)),
            refuse("-1", three(NOBODY, 1, 0)),
        ],
    },
    Filtered {
        call: "socketpair",
        numbers: (53, Some(199)),
        looked_at: &[0, 1],
        attempts: &[
            pass("local streams", two(1, 1)),
            pass("local packets, closed at exec", two(1, 5 | 0x8_0000)),
            refuse("raw local sockets", two(1, 3)),
            refuse("TIPC", two(30, 1)),
            refuse("inet", two(2, 1)),
        ],
    },
    Filtered {
        call: "setsockopt",
        numbers: (54, Some(208)),
        looked_at: &[1, 2],
        attempts: &[
            pass("SO_REUSEADDR", three(NONE, 1, 2)),
            pass("TCP_NODELAY", three(NONE, 6, 1)),
            pass("IPV6_V6ONLY", three(NONE, 41, 26)),
            refuse("SO_DEBUG", three(NONE, 1, 1)),
            refuse("SO_BINDTODEVICE", three(NONE, 1, 25)),
            refuse("SO_ATTACH_FILTER", three(NONE, 1, 26)),
            refuse("SO_SNDBUFFORCE", three(NONE, 1, 32)),
            refuse("SO_MARK", three(NONE, 1, 36)),
            refuse("SO_ATTACH_BPF", three(NONE, 1, 50)),
            refuse("SO_ATTACH_REUSEPORT_CBPF", three(NONE, 1, 51)),
            refuse("SO_ATTACH_REUSEPORT_EBPF", three(NONE, 1, 52)),
            refuse("SO_ZEROCOPY", three(NONE, 1, 60)),
            refuse("IP_OPTIONS", three(NONE, 0, 4)),
            refuse("IP_ADD_MEMBERSHIP", three(NONE, 0, 35)),
            refuse("IPT_SO_SET_REPLACE", three(NONE, 0, 64)),
            refuse("MRT_INIT", three(NONE, 0, 200)),
            refuse("IP6T_SO_SET_REPLACE", three(NONE, 41, 64)),
            refuse("IPV6_ADDRFORM", three(NONE, 41, 1)),
            refuse("TCP_MD5SIG", three(NONE, 6, 14)),
            refuse("TCP_REPAIR", three(NONE, 6, 19)),
            refuse("TCP_ULP", three(NONE, 6, 31)),
            refuse("UDP_ENCAP", three(NONE, 17, 100)),
            refuse("NETLINK_ADD_MEMBERSHIP", three(NONE, 270, 1)),
            refuse("SOL_PACKET", three(NONE, 263, 1)),
            refuse("SOL_TLS", three(NONE, 282, 1)),
            refuse("-1", three(NONE, NOBODY, 2)),
        ],
    },
    Filtered {
        call: "arch_prctl",
        numbers: (158, None),
        looked_at: &[0],
        attempts: &[
            pass("ARCH_GET_XCOMP_SUPP", two(0x1021, 0)),
            fail("ARCH_SHSTK_STATUS", two(0x5005, 0), "EINVAL"),
            refuse("ARCH_SET_GS", two(0x1001, 0)),
            refuse("ARCH_GET_GS", two(0x1004, 0)),
            refuse("ARCH_SET_CPUID", two(0x1012, 0)),
            refuse("ARCH_MAP_VDSO_X32", two(0x2001, 0)),
            refuse("ARCH_ENABLE_TAGGED_ADDR", two(0x4002, 0)),
            refuse("ARCH_SHSTK_ENABLE", two(0x5001, 0)),
        ],
    },
    Filtered {
        call: "memfd_create",
        numbers: (319, Some(279)),
        looked_at: &[1],
        attempts: &[
            pass("closed at exec, to be sealed", two(0, 3)),
            fail("huge pages", two(0, 4), "EINVAL"),
            fail("huge pages among others", two(0, 7), "EINVAL"),
        ],
    },
    Filtered {
        call: "mmap",
        numbers: (9, Some(222)),
        looked_at: &[3],
        attempts: &[
            pass("private memory", [0, 4096, 3, 0x22, NONE, 0]),
            fail("huge pages", [0, 4096, 3, 0x4_0022, NONE, 0], "EINVAL"),
            fail(
                "huge pages of 1 GiB",
                [0, 4096, 3, 0x7804_0022, NONE, 0],
                "EINVAL",
            ),
        ],
    },
    Filtered {
        call: "madvise",
        numbers: (28, Some(233)),
        looked_at: &[2],
        attempts: &[
            pass("MADV_DONTNEED", three(0, 0, 4)),
            pass("MADV_FREE", three(0, 0, 8)),
            fail("MADV_MERGEABLE", three(0, 0, 12), "EINVAL"),
        ],
    },
    Filtered {
        call: "futex",
        numbers: (202, Some(98)),
        looked_at: &[1],
        attempts: &[
            pass("FUTEX_WAKE", two(1, 1)),
            fail("FUTEX_LOCK_PI", two(1, 6), "ENOSYS"),
            fail("FUTEX_LOCK_PI, private", two(1, 6 | 128), "ENOSYS"),
            fail(
                "FUTEX_WAIT_REQUEUE_PI by the wall clock",
                two(1, 11 | 256),
                "ENOSYS",
            ),
            fail("FUTEX_CMP_REQUEUE_PI", two(1, 12), "ENOSYS"),
        ],
    },
    Filtered {
        call: "sendto",
        numbers: (44, Some(206)),
        looked_at: &[3],
        attempts: &[
            pass("MSG_DONTWAIT", flags_of_message(0x40)),
            fail("MSG_OOB", flags_of_message(1), "EOPNOTSUPP"),
            fail("MSG_OOB among others", flags_of_message(0x4041), "EOPNOTSUPP"),
        ],
    },
    Filtered {
        call: "recvfrom",
        numbers: (45, Some(207)),
        looked_at: &[3],
        attempts: &[
            pass("MSG_PEEK", flags_of_message(2)),
            fail("MSG_OOB", flags_of_message(1), "EOPNOTSUPP"),
            fail("MSG_OOB and MSG_PEEK", flags_of_message(3), "EOPNOTSUPP"),
        ],
    },
    Filtered {
        call: "sendmsg",
        numbers: (46, Some(211)),
        looked_at: &[2],
        attempts: &[
            pass("MSG_DONTWAIT", three(NONE, 0, 0x40)),
            fail("MSG_OOB", three(NONE, 0, 0x41), "EOPNOTSUPP"),
        ],
    },
    Filtered {
        call: "recvmsg",
        numbers: (47, Some(212)),
        looked_at: &[2],
        attempts: &[
            pass("MSG_DONTWAIT", three(NONE, 0, 0x40)),
            fail("MSG_OOB", three(NONE, 0, 0x41), "EOPNOTSUPP"),
        ],
    },
];
