#![cfg(test)]

use super::*;
use crate::bpf::interpreter::{CallData, run};
use crate::bpf::{RETURN_ALLOW, RETURN_ERRNO, RETURN_KILL_PROCESS};

pub(super) const BOTH: [Architecture; 2] = [Architecture::X86_64, Architecture::Aarch64];

/// What the kernel would answer: the strictest of all filters.
fn answer(stack: &FilterStack, architecture: Architecture, call: &str, arguments: &[u64]) -> u32 {
    let number = call_number(architecture, call).unwrap();
    answer_number(stack, architecture, number, arguments)
}

pub(super) fn answer_number(
    stack: &FilterStack,
    architecture: Architecture,
    number: u32,
    arguments: &[u64],
) -> u32 {
    let mut padded = [0; 6];
    padded[..arguments.len()].copy_from_slice(arguments);
    let data = CallData {
        number,
        architecture: architecture.audit_number(),
        arguments: padded,
    };
    let programs = std::iter::once(&stack.foreign_abi)
        .chain(&stack.probed)
        .chain([&stack.allow_list]);
    let answers: Vec<u32> = programs.map(|program| run(program, &data)).collect();
    if answers.contains(&RETURN_KILL_PROCESS) {
        return RETURN_KILL_PROCESS;
    }
    answers.into_iter().min().unwrap()
}

pub(super) fn stack(architecture: Architecture) -> FilterStack {
    compile_for(architecture, Listener::Keeper).unwrap().stack
}

const ASK: u32 = RETURN_USER_NOTIFICATION;

#[test]
fn every_rule_has_a_comment_and_every_condition_a_meaning() {
    for architecture in BOTH {
        let Rules { allow, probed } = rules(architecture).unwrap();
        let allow = allow.iter().map(|rule| (&rule.call, &rule.comment, &rule.any));
        let probed = probed.iter().map(|rule| (&rule.call, &rule.comment, &rule.any));
        for (call, comment, any) in allow.chain(probed) {
            assert!(
                comment.len() >= 10,
                "{call} has no comment that says who needs it"
            );
            for condition in any.iter().flatten() {
                assert!(
                    !condition.meaning.is_empty(),
                    "{call} has a condition without a meaning"
                );
                let masked = matches!(condition.op, Operator::MaskedEq);
                assert_eq!(
                    condition.mask.is_some(),
                    masked,
                    "{call}: a mask belongs to masked_eq"
                );
            }
        }
    }
}

#[test]
fn the_allow_list_has_120_to_160_calls_on_both_architectures() {
    for architecture in BOTH {
        let count = compile_for(architecture, Listener::Keeper).unwrap().allowed_calls;
        assert!(
            (120..=160).contains(&count),
            "{architecture:?} allows {count} calls"
        );
    }
}

/// A program of aarch64 makes the generic form of every old call of x86_64, and no other calls.
#[test]
fn the_lists_of_both_architectures_are_the_same_but_for_the_forms_of_calls() {
    let here = rules(Architecture::X86_64).unwrap().allow;
    let there = rules(Architecture::Aarch64).unwrap().allow;
    let has = |list: &[AllowRule], call: &str| list.iter().any(|rule| rule.call == call);
    for rule in &here {
        match &rule.generic {
            // Every thread's local memory: aarch64 has a register for it.
            None => assert!(
                rule.call == "arch_prctl" || has(&there, &rule.call),
                "{}",
                rule.call
            ),
            Some(generic) => {
                assert!(
                    call_number(Architecture::Aarch64, &rule.call).is_none(),
                    "{}",
                    rule.call
                );
                assert!(has(&there, generic), "{} needs {generic} there", rule.call);
            }
        }
    }
    for rule in &there {
        let stands_for = here
            .iter()
            .any(|old| old.generic.as_deref() == Some(rule.call.as_str()));
        assert!(
            has(&here, &rule.call) || stands_for,
            "{} is only there",
            rule.call
        );
    }
}

#[test]
fn every_filter_fits_into_the_kernel() {
    for architecture in BOTH {
        let stack = stack(architecture);
        for program in stack.probed.iter().chain([&stack.foreign_abi, &stack.allow_list]) {
            assert!(program.len() <= 4096, "{} instructions", program.len());
        }
    }
}

/// What a cell must never reach, whatever a rule is added for.
const NEVER: &str =
    "unshare setns mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount
    fspick mount_setattr ptrace process_vm_readv process_vm_writev bpf perf_event_open userfaultfd
    keyctl add_key request_key init_module finit_module delete_module kexec_load kexec_file_load
    reboot swapon swapoff acct clock_settime settimeofday adjtimex clock_adjtime sethostname
    setdomainname setuid setgid setresuid setresgid setgroups capset seccomp open_by_handle_at
    name_to_handle_at quotactl syslog personality kcmp pidfd_getfd memfd_secret process_madvise
    move_pages migrate_pages fanotify_init lookup_dcookie vhangup shmget semget msgget mq_open
    ioprio_set statmount listmount mincore cachestat readahead rt_sigqueueinfo rt_tgsigqueueinfo sched_setattr
    sched_setparam timer_settime execveat fanotify_mark remap_file_pages modify_ldt ioperm iopl uselib
    nfsservctl lsm_set_self_attr map_shadow_stack mseal file_setattr";

#[test]
fn no_call_is_known_to_be_dangerous_and_allowed() {
    for architecture in BOTH {
        let stack = stack(architecture);
        for call in NEVER.split_whitespace() {
            if call_number(architecture, call).is_some() {
                assert_eq!(
                    answer(&stack, architecture, call, &[]),
                    ASK,
                    "{call} on {architecture:?}"
                );
            }
        }
    }
}

#[test]
fn clone_makes_processes_and_threads_but_no_namespaces() {
    for architecture in BOTH {
        let stack = stack(architecture);
        let sigchld = 17;
        let thread = 0x3d_0f00;
        let posix_spawn = 0x4100 | sigchld;
        for flags in [sigchld, thread, posix_spawn] {
            assert_eq!(
                answer(&stack, architecture, "clone", &[flags]),
                RETURN_ALLOW,
                "{flags:#x}"
            );
        }
        for namespace in [
            0x0002_0000,
            0x0200_0000,
            0x0400_0000,
            0x0800_0000,
            0x1000_0000,
            0x2000_0000,
            0x4000_0000,
        ] {
            assert_eq!(
                answer(&stack, architecture, "clone", &[namespace | sigchld]),
                ASK,
                "{namespace:#x}"
            );
        }
        assert_eq!(answer(&stack, architecture, "clone3", &[]), RETURN_ERRNO | 38);
    }
}

#[test]
fn sockets_are_local_inet_and_route_netlink_only() {
    let cases: [(&[u64], u32); 14] = [
        (&[1, 1, 0], RETURN_ALLOW),
        (&[1, 1 | 0x8_0000 | 0x800, 0], RETURN_ALLOW),
        (&[2, 1, 0], RETURN_ALLOW),
        (&[2, 2 | 0x8_0000, 17], RETURN_ALLOW),
        (&[10, 1, 6], RETURN_ALLOW),
        (&[16, 3 | 0x8_0000, 0], RETURN_ALLOW),
        (&[2, 3, 1], ASK),
        (&[2, 2, 1], ASK),
        (&[2, 1, 262], RETURN_ERRNO | 22),
        (&[17, 3, 768], ASK),
        (&[16, 3, 15], ASK),
        (&[38, 5, 0], ASK),
        (&[40, 1, 0], ASK),
        (&[1, 3, 0], ASK),
    ];
    for architecture in BOTH {
        let stack = stack(architecture);
        for (arguments, expected) in cases {
            assert_eq!(
                answer(&stack, architecture, "socket", arguments),
                expected,
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn limits_and_priorities_are_changed_on_the_caller_only() {
    for architecture in BOTH {
        let stack = stack(architecture);
        for (call, own, other) in [
            ("prlimit64", [0, 0], [1, 0]),
            ("setpriority", [0, 0], [0, 1]),
            ("setpriority", [0, 0], [1, 0]),
            ("sched_setaffinity", [0, 0], [1, 0]),
        ] {
            assert_eq!(answer(&stack, architecture, call, &own), RETURN_ALLOW, "{call}");
            assert_eq!(answer(&stack, architecture, call, &other), ASK, "{call}");
        }
        for (arguments, expected) in [
            ([0, 0], RETURN_ALLOW),
            ([7, 0], RETURN_ALLOW),
            ([1, 0], ASK),
            ([0, 5], ASK),
        ] {
            assert_eq!(
                answer(&stack, architecture, "sched_setscheduler", &arguments),
                expected,
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn the_limit_of_core_dumps_is_read_and_not_set() {
    for architecture in BOTH {
        let stack = stack(architecture);
        for (arguments, expected) in [
            ([0, 4, 0, 0x7fff_0000], RETURN_ALLOW),
            ([0, 4, 0x7fff_0000, 0], RETURN_ERRNO | 1),
            // The lower half of this pointer is zero.
            ([0, 4, 1 << 32, 0], RETURN_ERRNO | 1),
            ([0, 4 | 1 << 32, 1 << 32, 0], RETURN_ERRNO | 1),
            ([0, 7, 0x7fff_0000, 0], RETURN_ALLOW),
        ] {
            let answer = answer(&stack, architecture, "prlimit64", &arguments);
            assert_eq!(answer, expected, "{arguments:?}");
        }
    }
}

#[test]
fn a_program_may_become_who_it_is_and_nobody_else() {
    let unchanged = u64::from(u32::MAX);
    for architecture in BOTH {
        let stack = stack(architecture);
        for call in ["setresuid", "setresgid"] {
            let asked = |ids: [u64; 3]| answer(&stack, architecture, call, &ids);
            assert_eq!(asked([unchanged, 10_001, unchanged]), RETURN_ALLOW, "{call}");
            assert_eq!(asked([u64::MAX, 10_001, u64::MAX]), RETURN_ALLOW, "{call}");
            for other in [
                [0, 0, 0],
                [unchanged, 0, unchanged],
                [0, 10_001, 10_001],
                [10_002; 3],
            ] {
                assert_eq!(asked(other), ASK, "{call} {other:?}");
            }
        }
    }
}

#[test]
fn terminals_cannot_be_typed_into_and_devices_cannot_be_made() {
    for architecture in BOTH {
        let stack = stack(architecture);
        assert_eq!(answer(&stack, architecture, "ioctl", &[0, 0x5401]), RETURN_ALLOW);
        assert_eq!(
            answer(&stack, architecture, "ioctl", &[0, 0x5412]),
            ASK,
            "TIOCSTI"
        );
        assert_eq!(
            answer(&stack, architecture, "mknodat", &[0, 0, 0x1000 | 0o600]),
            RETURN_ALLOW
        );
        for device in [0x2000, 0x6000, 0xc000] {
            assert_eq!(
                answer(&stack, architecture, "mknodat", &[0, 0, device | 0o600]),
                ASK
            );
        }
        assert_eq!(
            answer(&stack, architecture, "setsockopt", &[3, 1, 26]),
            ASK,
            "SO_ATTACH_FILTER"
        );
        assert_eq!(
            answer(&stack, architecture, "setsockopt", &[3, 1, 2]),
            RETURN_ALLOW
        );
        assert_eq!(
            answer(&stack, architecture, "setsockopt", &[3, 0, 64]),
            ASK,
            "IPT_SO_SET_REPLACE"
        );
    }
}

#[test]
fn the_upper_half_of_an_argument_changes_nothing() {
    let stack = stack(Architecture::X86_64);
    let dirty = 0xdead_beef_0000_0000;
    assert_eq!(
        answer(&stack, Architecture::X86_64, "socket", &[dirty | 17, 3, 0]),
        ASK
    );
    assert_eq!(
        answer(&stack, Architecture::X86_64, "clone", &[dirty | 0x1000_0000]),
        ASK
    );
}

#[test]
fn unknown_numbers_ask_and_foreign_ones_kill() {
    let stack = stack(Architecture::X86_64);
    for number in [5000, 0x3fff_ffff, 0x8000_0000, u32::MAX] {
        assert_eq!(
            answer_number(&stack, Architecture::X86_64, number, &[]),
            ASK,
            "{number:#x}"
        );
    }
    let x32 = 0x4000_0000;
    assert_eq!(
        answer_number(&stack, Architecture::X86_64, x32, &[]),
        RETURN_KILL_PROCESS
    );
}

#[test]
fn without_a_listener_a_refused_call_fails_by_itself() {
    let stack = compile_for(Architecture::X86_64, Listener::None).unwrap().stack;
    assert_eq!(
        answer(&stack, Architecture::X86_64, "mount", &[]),
        RETURN_ERRNO | 1
    );
    assert_eq!(answer(&stack, Architecture::X86_64, "read", &[]), RETURN_ALLOW);
}

#[test]
fn without_a_listener_a_probed_call_still_gets_its_own_error() {
    for architecture in BOTH {
        let stack = compile_for(architecture, Listener::None).unwrap().stack;
        let number = call_number(architecture, "clone3").unwrap();
        let data = CallData {
            number,
            architecture: architecture.audit_number(),
            arguments: [0; 6],
        };
        // The kernel takes the newest of several filters that fail a call: it must not be the allow-list.
        assert_eq!(run(&stack.allow_list, &data), RETURN_ALLOW);
        assert_eq!(answer(&stack, architecture, "clone3", &[]), RETURN_ERRNO | 38);
    }
}

#[test]
fn a_rule_is_taken_off_by_its_name_and_only_in_a_control_arm() {
    let without = |name: &str| compile_without(Listener::Keeper, &[name.to_owned()]);
    if !cfg!(feature = "control-arms") {
        assert!(matches!(without("getpid"), Err(PolicyError::RulesTakenOff)));
        return;
    }
    let here = Architecture::HERE;
    let whole = without("getpid").unwrap();
    assert_eq!(
        whole.allowed_calls + 1,
        compile(Listener::Keeper).unwrap().allowed_calls
    );
    assert_eq!(answer(&whole.stack, here, "getpid", &[]), ASK);
    let tcgets = without("ioctl/TCGETS").unwrap().stack;
    assert_eq!(answer(&tcgets, here, "ioctl", &[0, 0x5401]), ASK);
    assert_eq!(answer(&tcgets, here, "ioctl", &[0, 0x5402]), RETURN_ALLOW);
    // The last alternative takes the call with it: without conditions it would pass whatever its arguments.
    let limits = without("prlimit64/the caller").unwrap().stack;
    assert_eq!(answer(&limits, here, "prlimit64", &[0]), ASK);
    assert_eq!(answer(&limits, here, "prlimit64", &[1]), ASK);
    for unknown in [
        "",
        "/",
        "mount",
        "ioctl/",
        "ioctl/TIOCSTI",
        "ioctl/TCGETS/x",
        "getpid/x",
    ] {
        let error = without(unknown).unwrap_err();
        assert!(
            matches!(error, PolicyError::NoSuchRule { .. }),
            "{unknown}: {error}"
        );
    }
}

#[test]
fn no_two_rules_have_the_same_name() {
    for architecture in BOTH {
        for rule in rules(architecture).unwrap().allow {
            let mut names: Vec<String> = rule.any.iter().map(|one| removal::name_of(one)).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all, "{}", rule.call);
        }
    }
}

#[test]
fn the_digest_depends_on_the_filters_alone() {
    let one = compile_for(Architecture::X86_64, Listener::Keeper).unwrap();
    let same = compile_for(Architecture::X86_64, Listener::Keeper).unwrap();
    let other = compile_for(Architecture::X86_64, Listener::None).unwrap();
    assert_eq!(one.digest, same.digest);
    assert_ne!(one.digest, other.digest);
}

#[test]
fn the_table_of_calls_agrees_with_libc() {
    for (name, number) in [
        ("read", libc::SYS_read),
        ("execve", libc::SYS_execve),
        ("clone3", libc::SYS_clone3),
        ("openat2", libc::SYS_openat2),
        ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
        ("newfstatat", libc::SYS_newfstatat),
        ("sendfile", libc::SYS_sendfile),
        ("prlimit64", libc::SYS_prlimit64),
    ] {
        let number = u32::try_from(number).unwrap();
        assert_eq!(call_number(Architecture::HERE, name), Some(number), "{name}");
        assert_eq!(call_name(number), Some(name));
    }
    assert!(!is_known_call(5000));
}

/// A refused call is told by its name, whichever it is.
#[test]
fn every_number_that_the_kernel_gave_has_one_name() {
    // Up to Linux 6.17. What lies between are numbers that no architecture or only another one has.
    let (x86_64, aarch64) = (
        (0..=334).chain(424..=469).collect::<Vec<u32>>(),
        (0..=243).chain(260..=294).chain(424..=469).collect::<Vec<u32>>(),
    );
    for (architecture, numbers) in [(Architecture::X86_64, x86_64), (Architecture::Aarch64, aarch64)] {
        for number in numbers {
            let names: Vec<&str> = calls::CALLS
                .iter()
                .filter(|(name, _, _)| call_number(architecture, name) == Some(number))
                .map(|(name, _, _)| *name)
                .collect();
            assert_eq!(names.len(), 1, "{architecture:?} {number}: {names:?}");
        }
    }
    let mut names: Vec<&str> = calls::CALLS.iter().map(|(name, _, _)| *name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "a name is there twice");
}
