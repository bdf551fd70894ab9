//! System calls that neither the keeper nor anything that it starts ever makes. They are refused to the keeper, and so to
//! its children, by a filter of their own.
//!
//! The answer is `SECCOMP_RET_TRACE`, which fails with ENOSYS where nobody traces: it is the one refusal that the kernel
//! ranks below a cell's listener. An errno would rank above, and a cell's refused calls would no longer be
//! counted and named.

use crate::bpf::{Architecture, deny};
use crate::plan::FilterInstruction;
use crate::policy::call_number;

/// By name. None of them is on the allow-list of cells.
pub(crate) const DENIED: &[&str] = &[
    // Other processes: their memory, their descriptors, their control.
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    // Code and devices of the kernel.
    "bpf",
    "perf_event_open",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "iopl",
    "ioperm",
    "userfaultfd",
    "memfd_secret",
    // Rings do what they are told in the kernel's name, past every filter.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    // Keys.
    "add_key",
    "request_key",
    "keyctl",
    // The machine as a whole.
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "syslog",
    "quotactl",
    "quotactl_fd",
    "vhangup",
    "nfsservctl",
    "_sysctl",
    "sysfs",
    "lookup_dcookie",
    // Files by number, past every directory's mode; news of every file of a mount.
    "name_to_handle_at",
    "open_by_handle_at",
    "fanotify_init",
    "fanotify_mark",
    // Old and rare ways into the kernel.
    "uselib",
    "personality",
    "modify_ldt",
    "move_pages",
    "migrate_pages",
];

/// The filter for this architecture. Calls of foreign architectures pass: a cell's own filter kills them.
pub(crate) fn filter(architecture: Architecture) -> Vec<FilterInstruction> {
    let numbers: Vec<u32> = DENIED
        .iter()
        .filter_map(|name| call_number(architecture, name))
        .collect();
    deny(architecture, &numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::interpreter::{CallData, run};
    use crate::bpf::{RETURN_ALLOW, RETURN_TRACE};

    fn answer(filter: &[FilterInstruction], number: u32) -> u32 {
        let architecture = Architecture::HERE.audit_number();
        run(
            filter,
            &CallData {
                number,
                architecture,
                arguments: [0; 6],
            },
        )
    }

    #[test]
    fn every_name_is_a_call_somewhere_and_is_refused_there() {
        for name in DENIED {
            let known = [Architecture::X86_64, Architecture::Aarch64];
            assert!(
                known.iter().any(|here| call_number(*here, name).is_some()),
                "{name}"
            );
        }
        let filter = filter(Architecture::HERE);
        let bpf = call_number(Architecture::HERE, "bpf").unwrap();
        assert_eq!(answer(&filter, bpf), RETURN_TRACE);
        for needed in [
            "clone3",
            "setns",
            "mount",
            "pivot_root",
            "execveat",
            "unshare",
            "seccomp",
        ] {
            let number = call_number(Architecture::HERE, needed).unwrap();
            assert_eq!(answer(&filter, number), RETURN_ALLOW, "{needed}");
        }
    }

    #[test]
    fn nothing_that_cells_may_do_is_refused_to_the_keeper() {
        let allowed = crate::policy::allowed_names(Architecture::HERE);
        assert!(allowed.len() > 100);
        for name in DENIED {
            assert!(!allowed.iter().any(|one| one == name), "{name}");
        }
    }
}
