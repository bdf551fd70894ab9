//! The modes: with which power Brig runs, and how a job reaches it.

use crate::cells::Cells;
use crate::process;
use crate::skip::Skip;
use nix::unistd::{Uid, User};
use std::path::{Path, PathBuf};
use std::process::Command;

/// With which power the keeper runs (docs/modes.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// As root: every layer.
    Root,
    /// As an ordinary user with a subordinate range and delegated control groups: every layer.
    Subordinate,
    /// As an ordinary user with neither.
    Bare,
}

/// How a job reaches the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// `brig run` starts the engine in its own process.
    Embedded,
    /// `brig run` talks to a `brig serve`.
    Served,
}

/// One mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode {
    /// With which power.
    pub privilege: Privilege,
    /// How reached.
    pub reach: Reach,
    /// Where jobs run.
    pub cells: Cells,
}

/// What a check asks of the mode beside the layers that every mode has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// A control group: limits on the memory and CPU of the whole cell, and their counters.
    Cgroup,
    /// A uid that no other job and no user of the host has.
    DistinctUid,
    /// The harness itself must be root.
    HarnessRoot,
    /// Every job has a keeper and an engine of its own.
    Embedded,
    /// A machine that may be harmed: the virtual one.
    DisposableMachine,
}

impl Need {
    /// Whether it is the mode that gives it or not, and not how the tests were started.
    #[must_use]
    pub fn is_of_the_mode(self) -> bool {
        match self {
            Need::Cgroup | Need::DistinctUid => true,
            Need::HarnessRoot | Need::Embedded | Need::DisposableMachine => false,
        }
    }
}

const CONTROLLERS: [&str; 7] = ["memory", "pids", "cpu", "cpuacct", "freezer", "blkio", "unified"];
const DELEGATED: &str = "delegated-to-brig-sub";

impl Mode {
    /// The modes of the corpus in the jail on the host's own files, in the order in which they are run.
    pub const ALL: [Mode; 4] = [
        Mode::jail(Privilege::Root, Reach::Embedded),
        Mode::jail(Privilege::Root, Reach::Served),
        Mode::jail(Privilege::Subordinate, Reach::Embedded),
        Mode::jail(Privilege::Bare, Reach::Embedded),
    ];

    /// The other kinds of cells, each with a daemon of root.
    pub const OTHER_CELLS: [Mode; 3] = [
        Mode::of_cells(Cells::JailOnImage),
        Mode::of_cells(Cells::Docker),
        Mode::of_cells(Cells::Gvisor),
    ];

    /// The backends that every program must behave alike on: a daemon of root with each kind of cells.
    pub const BACKENDS: [Mode; 4] = [
        Mode::of_cells(Cells::Jail),
        Mode::of_cells(Cells::JailOnImage),
        Mode::of_cells(Cells::Docker),
        Mode::of_cells(Cells::Gvisor),
    ];

    /// The jail on the host's own files.
    #[must_use]
    pub const fn jail(privilege: Privilege, reach: Reach) -> Self {
        Self {
            privilege,
            reach,
            cells: Cells::Jail,
        }
    }

    /// A daemon of root with these cells.
    #[must_use]
    pub const fn of_cells(cells: Cells) -> Self {
        Self {
            privilege: Privilege::Root,
            reach: Reach::Served,
            cells,
        }
    }

    /// The modes in which `brig run` is alone.
    #[must_use]
    pub fn embedded() -> Vec<Mode> {
        Self::ALL
            .into_iter()
            .filter(|mode| mode.reach == Reach::Embedded)
            .collect()
    }

    /// As in the names of tests.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self.cells != Cells::Jail {
            return self.cells.name();
        }
        match (self.privilege, self.reach) {
            (Privilege::Root, Reach::Embedded) => "root",
            (Privilege::Root, Reach::Served) => "root, served",
            (Privilege::Subordinate, Reach::Embedded) => "subordinate",
            (Privilege::Subordinate, Reach::Served) => "subordinate, served",
            (Privilege::Bare, Reach::Embedded) => "bare",
            (Privilege::Bare, Reach::Served) => "bare, served",
        }
    }

    /// The highest level that this mode gives.
    #[must_use]
    pub fn level(self) -> &'static str {
        if self.has_cgroup() {
            "strict"
        } else {
            "workstation"
        }
    }

    /// The level that nobody asked for: `brig run` alone and not as root asks for no more than every machine gives.
    #[must_use]
    pub fn default_level(self) -> &'static str {
        match (self.reach, self.privilege) {
            (Reach::Embedded, Privilege::Subordinate | Privilege::Bare) => "workstation",
            (Reach::Embedded, Privilege::Root) | (Reach::Served, _) => self.level(),
        }
    }

    /// Whether cells are in control groups: version 1 lets only root move a process of another uid, and a cell's
    /// uid is another one.
    #[must_use]
    pub fn has_cgroup(self) -> bool {
        match self.privilege {
            Privilege::Root => true,
            Privilege::Subordinate => is_version_2(),
            Privilege::Bare => false,
        }
    }

    /// Whether cells have a uid of their own on the host.
    #[must_use]
    pub fn has_own_uid(self) -> bool {
        self.privilege != Privilege::Bare && !self.cells.are_containers()
    }

    /// Whether this harness can run the mode.
    ///
    /// # Errors
    /// The reason why not.
    pub fn available(self) -> Result<(), Skip> {
        if !Uid::effective().is_root() {
            return match self.privilege {
                Privilege::Bare => Ok(()),
                Privilege::Root | Privilege::Subordinate => {
                    Err(Skip::because("the tests do not run as root"))
                }
            };
        }
        match self.user_name() {
            None => self.cells.available(),
            Some(name) if user(name).is_none() => {
                Err(Skip::because(format!("no user {name}: tests/run makes it")))
            }
            Some(_) if self.privilege == Privilege::Subordinate && !has_program("newuidmap") => {
                Err(Skip::because("newuidmap is not installed (package uidmap)"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the mode gives what a check needs.
    ///
    /// # Errors
    /// The reason why not, as docs/modes.md has it.
    pub fn gives(self, need: Need) -> Result<(), Skip> {
        match need {
            Need::Cgroup if !self.has_cgroup() => Err(Skip::because(
                "not given in this mode on this host: no control group",
            )),
            // What a container lacks is on the list of exceptions, with its reason.
            Need::DistinctUid if !self.has_own_uid() && !self.cells.are_containers() => Err(Skip::because(
                "not given in this mode: the cell runs with the user's own uid",
            )),
            Need::HarnessRoot if !Uid::effective().is_root() => Err(Skip::because(
                "looking from outside needs the tests to run as root",
            )),
            Need::Embedded if self.reach == Reach::Served => {
                Err(Skip::because("asked of embedded runs only"))
            }
            Need::DisposableMachine if !machine_is_disposable() => Err(Skip::because(
                "this machine must not be harmed: tried in the virtual machine",
            )),
            Need::Cgroup
            | Need::DistinctUid
            | Need::HarnessRoot
            | Need::Embedded
            | Need::DisposableMachine => Ok(()),
        }
    }

    fn user_name(self) -> Option<&'static str> {
        match self.privilege {
            Privilege::Root => None,
            Privilege::Subordinate => Some("brig-sub"),
            Privilege::Bare => Some("brig-bare"),
        }
    }

    /// The user whom the mode runs as, where it is not the harness's own.
    #[must_use]
    pub fn user(self) -> Option<User> {
        if !Uid::effective().is_root() {
            return None;
        }
        self.user_name().and_then(user)
    }

    /// A command that runs `program` with the power of the mode and an environment of its own.
    #[must_use]
    pub fn command(self, program: &Path) -> Command {
        let mut command = match self.user() {
            None => process::command(program),
            Some(user) => {
                let mut command = process::command("sh");
                command.arg("-c").arg(drop_script(self.privilege)).arg("sh");
                command
                    .arg(user.uid.to_string())
                    .arg(user.gid.to_string())
                    .arg(program);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LANG", "C.UTF-8");
        command
    }
}

/// Enters the delegated groups (where the mode has them), then becomes the user: `sh -c SCRIPT sh UID GID PROGRAM ..`.
fn drop_script(privilege: Privilege) -> String {
    let become_user = r#"exec setpriv --reuid "$u" --regid "$g" --clear-groups -- "$@""#;
    let mut script = "u=$1; g=$2; shift 2; ".to_owned();
    if privilege == Privilege::Subordinate {
        if is_version_2() {
            script.push_str(DELEGATE);
        } else {
            for directory in delegated_groups() {
                script.push_str(&format!("echo $$ > {}/cgroup.procs && ", directory.display()));
            }
        }
        script.push_str("true && ");
    }
    script + become_user
}

/// What a service manager does for a unit with `Delegate=yes`: a new group for every start, handed to the user, the
/// process put into it. The groups of starts that are over are removed first.
const DELEGATE: &str = r#"top=/sys/fs/cgroup
for old in $top/delegated-to-brig-sub-*; do
    [ -d "$old" ] && [ ! -e "/proc/${old##*-}" ] && rmdir "$old"/*/ "$old" 2>/dev/null
done
echo '+cpu +memory +pids' >$top/cgroup.subtree_control &&
own=$top/delegated-to-brig-sub-$$ && mkdir "$own" &&
chown "$u:$g" "$own" "$own/cgroup.procs" "$own/cgroup.threads" "$own/cgroup.subtree_control" &&
echo $$ >"$own/cgroup.procs" && "#;

/// Whether this host has the one tree of version 2 and nothing else.
fn is_version_2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The version 1 groups that belong to the user of the subordinate mode, made when missing.
fn delegated_groups() -> Vec<PathBuf> {
    let trees = CONTROLLERS
        .iter()
        .map(|name| Path::new("/sys/fs/cgroup").join(name))
        .filter(|tree| tree.is_dir());
    trees.filter_map(|tree| delegate(&tree)).collect()
}

fn delegate(tree: &Path) -> Option<PathBuf> {
    let owner = user("brig-sub")?;
    let directory = tree.join(DELEGATED);
    std::fs::create_dir_all(&directory).ok()?;
    let own = |path: &Path| nix::unistd::chown(path, Some(owner.uid), Some(owner.gid)).ok();
    own(&directory)?;
    for file in [
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
        "tasks",
    ] {
        own(&directory.join(file));
    }
    Some(directory)
}

/// Takes the delegated groups away again, as far as they are empty.
pub fn take_back_groups() {
    for name in CONTROLLERS {
        std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(name).join(DELEGATED)).ok();
    }
    let tops = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    for top in tops.filter(|entry| entry.file_name().to_string_lossy().starts_with(DELEGATED)) {
        for below in std::fs::read_dir(top.path()).into_iter().flatten().flatten() {
            std::fs::remove_dir(below.path()).ok();
        }
        std::fs::remove_dir(top.path()).ok();
    }
}

/// Whether this is a machine that nobody will miss: only the virtual one says so.
#[must_use]
pub fn machine_is_disposable() -> bool {
    std::env::var_os("BRIG_TESTS_DISPOSABLE").is_some()
}

fn user(name: &str) -> Option<User> {
    User::from_name(name).ok().flatten()
}

/// Whether a program is in the path of the tests.
#[must_use]
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(name).is_file()))
}
