//! The root file system of a cell: a private tree of mounts, the image read-only in it, and nothing of the host.
//!
//! Sources are copied as detached mount trees, with their restrictions already on them, before the new root
//! exists; so paths outside are resolved outside and paths inside are resolved inside, and nothing is ever
//! visible without its restrictions.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, mkdir, pivot_root, symlinkat};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Step, at};
use crate::plan::{DisabledLayer, ImageEntry, JailPlan, ProcMount};
use crate::stage::Stage;
use crate::sys::child::{self as sys, Depth, MountAttributes};

mod proc;

/// Items of [`Stage::Mount`] beyond the image's entries (which count from 0).
pub(super) mod item {
    pub(in super::super) const PRIVATE: u16 = 1000; // the remedies know this limit
    pub(in super::super) const ROOT: u16 = 1001;
    pub(in super::super) const PIVOT: u16 = 1002;
    pub(in super::super) const DEV: u16 = 1003;
    pub(in super::super) const TMPFS: u16 = 1004;
    pub(in super::super) const PROC: u16 = 1010;
    pub(in super::super) const PROC_MASKS: u16 = 1020;
    pub(in super::super) const SEAL: u16 = 1900;
}

/// Any directory that every host has: the new root is mounted there, and pivoting moves it away again.
const STAGING: [&str; 4] = ["/tmp", "/run", "/usr", "/etc"];

/// Where the old root hangs until the new one is complete: a new procfs needs to see the old one.
const OLD_ROOT: &str = "/.old";

/// Room for the image's own small files; sealed afterwards.
const ROOT_TMPFS: &str = "mode=755,size=16m,nr_inodes=4096";

const NO_PRIVILEGE: MountAttributes = MountAttributes::NO_SUID.and(MountAttributes::NO_DEVICES);

/// Builds everything below the new root and pivots into it.
pub(super) fn build(plan: &JailPlan) -> Step<()> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(at(Stage::Mount, item::PRIVATE))?;
    let trees = copy_sources(plan)?;
    mount_root().map_err(at(Stage::Mount, item::ROOT))?;
    pivot().map_err(at(Stage::Mount, item::PIVOT))?;
    // Before the image, whose entries may lie below what is made here (devices below /dev).
    mount_writable(plan)?;
    for (number, (entry, tree)) in (0u16..).zip(plan.image.iter().zip(trees)) {
        place(entry, tree).map_err(at(Stage::Mount, number))?;
    }
    make_devices().map_err(at(Stage::Mount, item::DEV))?;
    match plan.proc_mount {
        ProcMount::Own => proc::mount_own(plan),
        ProcMount::Synthetic => proc::make_synthetic(OLD_ROOT),
    }
    .map_err(at(Stage::Mount, item::PROC))
}

/// Removes the old root, masks `/proc`, makes the root read-only; gives a descriptor of the workspace.
pub(super) fn seal(plan: &JailPlan) -> Step<OwnedFd> {
    let failed = at(Stage::Mount, item::SEAL);
    umount2(OLD_ROOT, MntFlags::MNT_DETACH).map_err(&failed)?;
    nix::unistd::unlinkat(
        nix::fcntl::AT_FDCWD,
        OLD_ROOT,
        nix::unistd::UnlinkatFlags::RemoveDir,
    )
    .map_err(&failed)?;
    if plan.has(DisabledLayer::ProcMasks) && plan.proc_mount == ProcMount::Own {
        proc::mask()?;
    }
    let everything = NO_PRIVILEGE.and(MountAttributes::NO_EXEC);
    let root = if plan.has(DisabledLayer::ReadOnlyRoot) {
        everything.and(MountAttributes::READ_ONLY)
    } else {
        everything
    };
    sys::restrict_mount(c"/", root).map_err(&failed)?;
    open(
        "/workspace",
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(&failed)
}

/// A detached copy of every mount that the image needs, already restricted; `None` for entries without one.
fn copy_sources(plan: &JailPlan) -> Step<Vec<Option<OwnedFd>>> {
    let writable_root = !plan.has(DisabledLayer::ReadOnlyRoot);
    let read_only = if writable_root {
        NO_PRIVILEGE
    } else {
        NO_PRIVILEGE.and(MountAttributes::READ_ONLY)
    };
    let device = MountAttributes::NO_SUID.and(MountAttributes::NO_EXEC);
    let copies = (0u16..).zip(&plan.image).map(|(number, entry)| {
        let copied = match entry {
            ImageEntry::ReadOnlyBind { source, .. } => copy_tree(source, read_only, Depth::Recursive),
            ImageEntry::Device { source, .. } => copy_tree(source, device, Depth::One),
            ImageEntry::Symlink { .. } | ImageEntry::File { .. } | ImageEntry::Directory { .. } => {
                return Ok(None);
            }
        };
        copied.map(Some).map_err(at(Stage::Mount, number))
    });
    copies.collect()
}

fn copy_tree(source: &Path, attributes: MountAttributes, depth: Depth) -> nix::Result<OwnedFd> {
    let tree = sys::clone_tree(&c_path(source)?, depth)?;
    sys::restrict_tree(tree.as_fd(), attributes, depth)?;
    Ok(tree)
}

fn c_path(path: &Path) -> nix::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_nul| Errno::EINVAL)
}

fn mount_root() -> nix::Result<()> {
    let mut outcome = Err(Errno::ENOENT);
    for staging in STAGING {
        outcome = mount(
            Some("tmpfs"),
            staging,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(ROOT_TMPFS),
        )
        .and_then(|()| chdir(staging));
        if outcome != Err(Errno::ENOENT) {
            break;
        }
    }
    outcome
}

fn pivot() -> nix::Result<()> {
    let name = OLD_ROOT.trim_start_matches('/');
    mkdir(name, Mode::S_IRWXU)?;
    pivot_root(".", name)?;
    chdir("/")
}

/// Carries out one entry of the image inside the new root.
fn place(entry: &ImageEntry, tree: Option<OwnedFd>) -> nix::Result<()> {
    if let Some(parent) = entry.inside().parent() {
        make_directories(parent)?;
    }
    match entry {
        ImageEntry::ReadOnlyBind { target, .. } | ImageEntry::Device { target, .. } => {
            attach(tree.ok_or(Errno::EBADF)?, target)
        }
        ImageEntry::Symlink { link, points_to } => symlinkat(points_to, nix::fcntl::AT_FDCWD, link),
        ImageEntry::File { target, content } => write_file(target, content.as_bytes()),
        ImageEntry::Directory { target } => make_directories(target),
    }
}

/// Attaches a tree; the target is made to be what the tree's root is, a directory or a file.
fn attach(tree: OwnedFd, target: &Path) -> nix::Result<()> {
    let mode = nix::sys::stat::fstat(tree.as_fd())?.st_mode;
    if mode & libc::S_IFMT == libc::S_IFDIR {
        make_directories(target)?;
    } else {
        write_file(target, b"")?;
    }
    sys::attach_tree(tree.as_fd(), &c_path(target)?)
}

fn write_file(target: &Path, content: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = open(target, flags, Mode::from_bits_truncate(0o444))?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = nix::unistd::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or(&[]);
    }
    Ok(())
}

fn make_directories(path: &Path) -> nix::Result<()> {
    match mkdir(path, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => {
            make_directories(path.parent().ok_or(Errno::ENOENT)?)?;
            mkdir(path, Mode::from_bits_truncate(0o755))
        }
        // A read-only file system in which the directory exists already.
        Err(Errno::EROFS) if path.is_dir() => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Terminals are counted over the whole host, and a kernel gives all cells together 3,072 by default.
const TERMINALS: &str = "newinstance,ptmxmode=0666,mode=0620,max=64";

/// The links of `/dev`, and terminals of the cell's own. Device nodes come with the image.
fn make_devices() -> nix::Result<()> {
    make_directories(Path::new("/dev/pts"))?;
    make_directories(Path::new("/dev/shm"))?;
    mount(
        Some("devpts"),
        "/dev/pts",
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some(TERMINALS),
    )?;
    let links = [
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ];
    for (link, points_to) in links {
        match symlinkat(points_to, nix::fcntl::AT_FDCWD, link) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The three places where a program may write, each with its own limits.
fn mount_writable(plan: &JailPlan) -> Step<()> {
    let shape = &plan.shape;
    let no_exec = MsFlags::MS_NOEXEC;
    // Wheels, compilers and `subprocess` need to execute what they put into /workspace and /tmp; nothing that
    // runs today needs that of shared memory.
    let mounts = [
        ("/tmp", "1777", shape.tmp_bytes, shape.tmp_files, MsFlags::empty()),
        ("/dev/shm", "1777", shape.shm_bytes, shape.tmp_files, no_exec),
        (
            "/workspace",
            "755",
            shape.workspace_bytes,
            shape.workspace_files,
            MsFlags::empty(),
        ),
    ];
    for (number, (target, mode, bytes, files, extra)) in (item::TMPFS..).zip(mounts) {
        let failed = at(Stage::Mount, number);
        make_directories(Path::new(target)).map_err(&failed)?;
        let options = if plan.has(DisabledLayer::TmpfsLimits) {
            // The root directory of a tmpfs is an inode too.
            format!("mode={mode},size={bytes},nr_inodes={}", files.saturating_add(1))
        } else {
            format!("mode={mode},size=0,nr_inodes=0")
        };
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | extra;
        mount(
            Some("tmpfs"),
            target,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )
        .map_err(&failed)?;
    }
    Ok(())
}
