//! `/proc`: the cell's own, without what tells about the host or changes it.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use std::ffi::CStr;
use std::path::{Path, PathBuf};

use super::{DisabledLayer, JailPlan, Step, at, item, make_directories, write_file};
use crate::stage::Stage;
use crate::sys::child::{self as sys, MountAttributes};

/// Files that read as empty: addresses and contents of kernel memory, logs, keys, timers of all processes, counters
/// fine enough to follow what others do (interrupts tell keystrokes and packets), and what only tells about the
/// host: the boot id would show any two cells that they are neighbours.
const HIDDEN_FILES: [&CStr; 34] = [
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/key-users",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/sched_debug",
    c"/proc/latency_stats",
    c"/proc/kallsyms",
    c"/proc/kmsg",
    c"/proc/sysrq-trigger",
    c"/proc/config.gz",
    c"/proc/cmdline",
    c"/proc/modules",
    c"/proc/vmallocinfo",
    c"/proc/slabinfo",
    c"/proc/mtrr",
    c"/proc/cgroups",
    c"/proc/interrupts",
    c"/proc/softirqs",
    c"/proc/schedstat",
    c"/proc/locks",
    c"/proc/diskstats",
    c"/proc/partitions",
    c"/proc/swaps",
    c"/proc/iomem",
    c"/proc/ioports",
    c"/proc/dma",
    c"/proc/consoles",
    c"/proc/zoneinfo",
    c"/proc/buddyinfo",
    c"/proc/pagetypeinfo",
    c"/proc/kpagecount",
    c"/proc/kpageflags",
    c"/proc/sys/kernel/random/boot_id",
];

/// Directories that are empty: hardware.
const HIDDEN_DIRECTORIES: [&CStr; 5] = [
    c"/proc/acpi",
    c"/proc/scsi",
    c"/proc/asound",
    c"/proc/pressure",
    c"/proc/driver",
];

/// Trees that stay readable and are not writable: settings of the kernel.
const READ_ONLY: [&CStr; 4] = [c"/proc/sys", c"/proc/bus", c"/proc/fs", c"/proc/irq"];

const INERT: MountAttributes = MountAttributes::READ_ONLY
    .and(MountAttributes::NO_SUID)
    .and(MountAttributes::NO_DEVICES)
    .and(MountAttributes::NO_EXEC);

/// A procfs of the cell's own pid namespace, in which processes that a process could not trace do not appear: 4 is 2
/// without the group that sees everything, which would be the host's group 0.
pub(super) fn mount_own(plan: &JailPlan) -> nix::Result<()> {
    make_directories(Path::new("/proc"))?;
    let options = if plan.has(DisabledLayer::ProcMasks) {
        Some("hidepid=4")
    } else {
        None
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, options)
}

/// Hides and seals. What this kernel does not have needs no mask.
pub(super) fn mask() -> Step<()> {
    // Trees first: binding one over itself would cover what was hidden below it.
    let masks = READ_ONLY.iter().map(|path| (*path, Mask::ReadOnly));
    let masks = masks.chain(HIDDEN_DIRECTORIES.iter().map(|path| (*path, Mask::Directory)));
    let masks = masks.chain(HIDDEN_FILES.iter().map(|path| (*path, Mask::File)));
    for (number, (path, mask)) in (item::PROC_MASKS..).zip(masks) {
        match apply(path, mask) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(at(Stage::Mount, number)(errno)),
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Mask {
    File,
    Directory,
    ReadOnly,
}

/// Plain bind mounts: a detached copy of a tree counts as a mount namespace, of which no more may be made by now.
fn apply(path: &CStr, mask: Mask) -> nix::Result<()> {
    let bind = |source: &CStr| mount(Some(source), path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    let inert = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mask {
        Mask::File => bind(c"/dev/null"),
        Mask::Directory => mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            inert,
            Some("size=4k,nr_inodes=2,mode=555"),
        ),
        Mask::ReadOnly => {
            bind(path)?;
            sys::restrict_mount(path, INERT)
        }
    }
}

/// Files of the outer `/proc` that are the same for every process and tell nothing about any.
const COPIED: [&str; 5] = [
    "cpuinfo",
    "meminfo",
    "filesystems",
    "version",
    "sys/kernel/osrelease",
];

/// Where the kernel refuses a new procfs: a few static files. The outer `/proc` is never bound in.
pub(super) fn make_synthetic(old_root: &str) -> nix::Result<()> {
    for name in COPIED {
        let content = std::fs::read(PathBuf::from(old_root).join("proc").join(name)).unwrap_or_default();
        let target = Path::new("/proc").join(name);
        make_directories(target.parent().ok_or(Errno::ENOENT)?)?;
        write_file(&target, &content)?;
    }
    write_file(Path::new("/proc/uptime"), b"1.00 1.00\n")?;
    write_file(Path::new("/proc/loadavg"), b"0.00 0.00 0.00 1/1 1\n")
}
