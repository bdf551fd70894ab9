//! What to do about a set-up that failed: from *(stage, item, errno)* and what the host looks like to words.

mod signs;

pub use signs::HostSigns;

use crate::stage::{SetupFailure, Stage};
use nix::errno::Errno;

/// Items of the stages that the keeper's side carries out. Append only: the numbers cross the wire.
pub mod item {
    /// [`Stage::Request`](crate::stage::Stage::Request): the root of the image cannot be had: no store has it (ENOENT), or
    /// somebody else could have changed it (EPERM).
    pub const UNKNOWN_IMAGE: u16 = 1;
    /// Request: as many cells as the operator allows.
    pub const TOO_MANY_CELLS: u16 = 2;
    /// Request: the keeper drains.
    pub const DRAINING: u16 = 3;
    /// Request: there is no such cell, or it is not in a state for this.
    pub const NO_SUCH_CELL: u16 = 4;
    /// Request: the cell was given up before it was ready.
    pub const GIVEN_UP: u16 = 5;
    /// Request: as many enter-helpers work in this cell as one cell may have.
    pub const TOO_MANY_HELPERS: u16 = 6;

    /// [`Stage::Cgroup`](crate::stage::Stage::Cgroup): no group in which the keeper may make groups.
    pub const CGROUP_NOT_DELEGATED: u16 = 1;
    /// Cgroup: the memory, CPU or process controller is missing.
    pub const CGROUP_CONTROLLER_MISSING: u16 = 2;
    /// Cgroup: making a cell's groups.
    pub const CGROUP_CREATE: u16 = 3;
    /// Cgroup: writing the limits.
    pub const CGROUP_LIMIT: u16 = 4;
    /// Cgroup: opening a cell's groups.
    pub const CGROUP_OPEN: u16 = 5;
    /// Cgroup: moving the future program into its cell's groups.
    pub const CGROUP_ENTER: u16 = 6;
    /// Cgroup: turned off in the configuration.
    pub const CGROUP_CONFIGURED_OFF: u16 = 8;

    /// [`Stage::Clone`](crate::stage::Stage::Clone): the outer user namespace.
    pub const OUTER_NAMESPACE: u16 = 1;
    /// Clone: the helper process itself.
    pub const HELPER: u16 = 2;
    /// Clone: joining the outer user namespace.
    pub const JOIN_OUTER: u16 = 3;
    /// Clone: clone3 into the cell's namespaces.
    pub const CLONE: u16 = 4;
    /// Clone: becoming the agent user.
    pub const BECOME_INIT: u16 = 5;
    /// Clone: executing brig-jail-init.
    pub const EXECUTE_INIT: u16 = 6;
    /// Clone: PID 1 died before it said anything.
    pub const INIT_DIED: u16 = 7;
    /// Clone: the set-up took too long.
    pub const SETUP_TIMEOUT: u16 = 8;
    /// Clone: going to the root of the image.
    pub const ENTER_IMAGE: u16 = 9;

    /// [`Stage::IdMap`](crate::stage::Stage::IdMap): writing the map of the outer namespace.
    pub const OUTER_MAP: u16 = 1;
    /// IdMap: writing a cell's map.
    pub const CELL_MAP: u16 = 2;
    /// IdMap: the user has no line in `/etc/subuid` or `/etc/subgid`.
    pub const NO_SUBORDINATE_RANGE: u16 = 3;
    /// IdMap: newuidmap or newgidmap is not installed.
    pub const MAP_HELPER_MISSING: u16 = 4;
    /// IdMap: newuidmap or newgidmap refused.
    pub const MAP_HELPER_FAILED: u16 = 5;
    /// IdMap: the configuration asks for the own uid.
    pub const OWN_UID_CONFIGURED: u16 = 6;
    /// IdMap: no free id in the range.
    pub const NO_FREE_ID: u16 = 7;
}

/// What is wrong and what to do, in one sentence each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// What is wrong.
    pub problem: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

/// Items of [`Stage::Mount`] below this are the entries of the image, the others are the cell's own mounts.
const FIRST_OWN_MOUNT: u16 = 1000;

const fn remedy(problem: &'static str, fix: &'static str) -> Remedy {
    Remedy { problem, fix }
}

/// The remedy for a failure on a host that looks like this; `None` where only the bare failure can be told.
#[must_use]
pub fn for_failure(failure: &SetupFailure, signs: &HostSigns) -> Option<Remedy> {
    match failure.stage {
        Stage::Cgroup => for_cgroup(failure, signs),
        Stage::Clone => for_clone(failure, signs),
        Stage::IdMap => for_id_map(failure, signs),
        Stage::Mount => for_mount(failure, signs),
        // A host that stops unprivileged namespaces with AppArmor lets them be made, without capabilities in
        // them: the first step that needs one fails.
        Stage::Namespace | Stage::Identity | Stage::Rlimit => for_namespace(failure, signs),
        Stage::Files => Some(for_landlock(signs)),
        Stage::Syscalls => for_syscalls(failure),
        Stage::Request => for_request(failure),
        Stage::Plan | Stage::Channels | Stage::Spec | Stage::Exec | Stage::Enter => None,
    }
}

fn for_request(failure: &SetupFailure) -> Option<Remedy> {
    match failure.item {
        item::UNKNOWN_IMAGE => Some(for_image(failure)),
        item::TOO_MANY_CELLS => Some(remedy(
            "as many cells exist as the configuration allows",
            "wait until a job ends, or raise the number of concurrent jobs",
        )),
        item::DRAINING => Some(remedy(
            "the service is shutting down",
            "try again when it has restarted",
        )),
        _ => None,
    }
}

fn for_image(failure: &SetupFailure) -> Remedy {
    let errno = Errno::from_raw(failure.errno);
    if errno == Errno::ENOENT {
        return remedy(
            "the root file system of the image is in no store that the keeper knows",
            "make it: `brig image build NAME` or `brig image import`; if it is in a store of its own, name that in \
             `images_dirs` of the configuration",
        );
    }
    if errno == Errno::EPERM || errno == Errno::EACCES {
        return remedy(
            "others than root and the user who runs Brig could change the image, or cells may not read it",
            "give the store of images to root or to the user who runs Brig, and set its modes: `chmod -R go-w STORE` \
             and `chmod go+rx STORE/roots/*/`",
        );
    }
    remedy(
        "the root file system of the image cannot be used",
        "make it again: `brig image build NAME`",
    )
}

fn for_cgroup(failure: &SetupFailure, signs: &HostSigns) -> Option<Remedy> {
    match failure.item {
        item::CGROUP_NOT_DELEGATED if signs.cgroup_v1 => Some(remedy(
            "this host has control groups of version 1, which only root can use for cells with a uid of their own",
            "boot with version 2 (`systemd.unified_cgroup_hierarchy=1` on the kernel's command line), or run Brig as \
             root, or name the cgroup optional, or use the level `workstation`",
        )),
        item::CGROUP_NOT_DELEGATED if signs.container => Some(remedy(
            "the control groups of this container are read-only",
            "give the container its own writable cgroup (Docker: `--cgroupns=private` with a writable /sys/fs/cgroup; \
             Kubernetes: a delegated cgroup), or name the cgroup optional, or use the level `workstation`",
        )),
        item::CGROUP_NOT_DELEGATED => Some(remedy(
            "no control group is delegated to this user",
            "run Brig as a systemd service with `Delegate=yes` (or start it with \
             `systemd-run --user --scope -p Delegate=yes`), or name the cgroup optional, or use the level `workstation`",
        )),
        item::CGROUP_CONTROLLER_MISSING => Some(remedy(
            "the memory, cpu or pids controller is not available in the delegated control group",
            "delegate all three: `systemctl edit user@.service` with `[Service]` `Delegate=cpu memory pids`; on a \
             Raspberry Pi add `cgroup_enable=memory` to the kernel's command line",
        )),
        item::CGROUP_CONFIGURED_OFF => Some(remedy(
            "control groups are turned off in the configuration",
            "turn them on, or name the cgroup optional",
        )),
        _ => None,
    }
}

fn for_clone(failure: &SetupFailure, signs: &HostSigns) -> Option<Remedy> {
    let errno = Errno::from_raw(failure.errno);
    if signs.wsl == Some(1) {
        return Some(remedy(
            "WSL 1 has no Linux kernel, so no namespaces",
            "convert the distribution: `wsl --set-version NAME 2`",
        ));
    }
    if errno == Errno::ENOSPC || signs.max_user_namespaces == Some(0) {
        return Some(remedy(
            "the number of user namespaces is limited to what is already in use (user.max_user_namespaces)",
            "as root: `sysctl user.max_user_namespaces=15000`, and write it to /etc/sysctl.d/60-brig.conf",
        ));
    }
    if signs.unprivileged_clone == Some(0) {
        return Some(remedy(
            "this kernel is set to refuse user namespaces to unprivileged users",
            "as root: `sysctl kernel.unprivileged_userns_clone=1`, and write it to /etc/sysctl.d/60-brig.conf",
        ));
    }
    for_namespace(failure, signs)
}

fn for_namespace(failure: &SetupFailure, signs: &HostSigns) -> Option<Remedy> {
    let errno = Errno::from_raw(failure.errno);
    if errno != Errno::EPERM && errno != Errno::EACCES {
        return None;
    }
    if signs.apparmor_restricts {
        return Some(remedy(
            "AppArmor takes the capabilities in user namespaces from programs without a profile (the default of Ubuntu 24.04)",
            "as root: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, and write it to \
             /etc/sysctl.d/60-brig.conf; or install an AppArmor profile for brig with `userns,`",
        ));
    }
    if signs.container {
        return Some(remedy(
            "the container's seccomp profile refuses to make namespaces",
            "start the container with `--security-opt seccomp=unconfined` (Docker) or with a profile that allows \
             clone, clone3, unshare, setns, mount, umount2 and pivot_root; in a pod set `seccompProfile: {type: Localhost, …}`",
        ));
    }
    Some(remedy(
        "the kernel refuses to make namespaces for this user",
        "look for a security module's message in the kernel's log (`dmesg`), or run Brig as root",
    ))
}

fn for_id_map(failure: &SetupFailure, signs: &HostSigns) -> Option<Remedy> {
    match failure.item {
        item::NO_SUBORDINATE_RANGE => Some(remedy(
            "this user has no range of subordinate ids, so cells would run with the user's own id",
            "as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`; or name the uid \
             optional, or use the level `workstation`",
        )),
        item::MAP_HELPER_MISSING => Some(remedy(
            "newuidmap and newgidmap are not installed, so cells would run with the user's own id",
            "install the package `uidmap` (Debian, Ubuntu) or `shadow-utils` (Fedora, RHEL); or name the uid \
             optional, or use the level `workstation`",
        )),
        item::MAP_HELPER_FAILED => Some(remedy(
            "newuidmap refused to map the range of subordinate ids",
            "check that /usr/bin/newuidmap is setuid root (or has cap_setuid), that `no_new_privs` is not set \
             (systemd: `NoNewPrivileges=no`), and that the line in /etc/subuid is this user's",
        )),
        item::OWN_UID_CONFIGURED => Some(remedy(
            "the configuration asks for cells with the user's own id",
            "ask for `best`; or name the uid optional, or use the level `workstation`",
        )),
        _ => for_namespace(failure, signs),
    }
}

fn for_mount(failure: &SetupFailure, signs: &HostSigns) -> Option<Remedy> {
    let errno = Errno::from_raw(failure.errno);
    if errno == Errno::EPERM && signs.proc_masked {
        return Some(remedy(
            "parts of /proc are masked here, so the kernel refuses a new /proc in a cell",
            "Docker: `--security-opt systempaths=unconfined`; Kubernetes: `procMount: Unmasked` with \
             `hostUsers: false`; or allow a synthetic /proc in Brig's configuration",
        ));
    }
    if errno == Errno::EACCES && failure.item < FIRST_OWN_MOUNT {
        return Some(remedy(
            "the users of cells may not enter a directory above what `python` or `read_only` of [images.host] names",
            "put the virtual environment, and the interpreter that it links to, where every user may read, for example \
             below /opt or /srv; or open the directories above it (`chmod o+x DIRECTORY`)",
        ));
    }
    if errno == Errno::ENOSYS {
        return Some(remedy(
            "this kernel is too old: mount_setattr needs Linux 5.12",
            "use a newer kernel (Debian 12 and Ubuntu 22.04 have one)",
        ));
    }
    for_namespace(failure, signs)
}

fn for_landlock(signs: &HostSigns) -> Remedy {
    match signs.landlock_listed {
        Some(false) => remedy(
            "Landlock is built into this kernel but not turned on",
            "add `landlock` to the `lsm=` parameter of the kernel's command line (see /sys/kernel/security/lsm for \
             what is on now) and restart; or name Landlock optional",
        ),
        Some(true) => remedy(
            "this kernel's Landlock is too old, or a container's seccomp profile hides it",
            "use Linux 5.19 or newer and a seccomp profile that allows landlock_create_ruleset, landlock_add_rule \
             and landlock_restrict_self; or name Landlock optional",
        ),
        None => remedy(
            "this kernel has no Landlock of version 2 or newer",
            "use Linux 5.19 or newer with CONFIG_SECURITY_LANDLOCK (WSL 2: `wsl --update`); or name Landlock optional",
        ),
    }
}

fn for_syscalls(failure: &SetupFailure) -> Option<Remedy> {
    let errno = Errno::from_raw(failure.errno);
    (errno == Errno::EINVAL || errno == Errno::ENOSYS).then_some(remedy(
        "this kernel has no seccomp filters",
        "use a kernel with CONFIG_SECCOMP_FILTER; under WSL 1 convert to WSL 2",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(stage: Stage, item: u16, errno: Errno) -> SetupFailure {
        SetupFailure {
            stage,
            item,
            errno: errno as i32,
        }
    }

    fn fix(failure: &SetupFailure, signs: &HostSigns) -> &'static str {
        for_failure(failure, signs).map_or("", |remedy| remedy.fix)
    }

    #[test]
    fn stock_ubuntu_24_04_is_told_the_sysctl() {
        let signs = HostSigns {
            apparmor_restricts: true,
            ..HostSigns::default()
        };
        for stage in [Stage::Clone, Stage::Mount, Stage::Namespace] {
            let failure = failure(stage, 0, Errno::EPERM);
            assert!(fix(&failure, &signs).contains("kernel.apparmor_restrict_unprivileged_userns=0"));
        }
    }

    #[test]
    fn an_environment_in_a_closed_home_is_told_to_move() {
        let signs = HostSigns {
            container: true,
            ..HostSigns::default()
        };
        assert!(fix(&failure(Stage::Mount, 31, Errno::EACCES), &signs).contains("virtual environment"));
        assert!(fix(&failure(Stage::Mount, 1001, Errno::EACCES), &signs).contains("seccomp"));
    }

    #[test]
    fn a_masked_proc_is_told_the_line_of_the_container() {
        let signs = HostSigns {
            container: true,
            proc_masked: true,
            ..HostSigns::default()
        };
        let words = fix(&failure(Stage::Mount, 9, Errno::EPERM), &signs);
        assert!(words.contains("systempaths=unconfined") && words.contains("procMount: Unmasked"));
    }

    #[test]
    fn no_user_namespaces_at_all_names_the_limit() {
        let signs = HostSigns {
            max_user_namespaces: Some(0),
            ..HostSigns::default()
        };
        assert!(
            fix(
                &failure(Stage::Clone, item::OUTER_NAMESPACE, Errno::EPERM),
                &signs
            )
            .contains("user.max_user_namespaces")
        );
        let signs = HostSigns {
            unprivileged_clone: Some(0),
            ..HostSigns::default()
        };
        assert!(
            fix(
                &failure(Stage::Clone, item::OUTER_NAMESPACE, Errno::EPERM),
                &signs
            )
            .contains("unprivileged_userns_clone")
        );
    }

    #[test]
    fn a_container_that_refuses_clone_is_told_about_its_profile() {
        let signs = HostSigns {
            container: true,
            ..HostSigns::default()
        };
        assert!(
            fix(&failure(Stage::Clone, item::CLONE, Errno::EPERM), &signs).contains("seccomp=unconfined")
        );
    }

    #[test]
    fn missing_uids_and_groups_name_package_file_and_unit() {
        let signs = HostSigns::default();
        let errno = Errno::ENOENT;
        assert!(fix(&failure(Stage::IdMap, item::MAP_HELPER_MISSING, errno), &signs).contains("uidmap"));
        assert!(fix(&failure(Stage::IdMap, item::NO_SUBORDINATE_RANGE, errno), &signs).contains("usermod"));
        assert!(
            fix(&failure(Stage::Cgroup, item::CGROUP_NOT_DELEGATED, errno), &signs).contains("Delegate=yes")
        );
    }

    #[test]
    fn groups_of_version_1_are_not_blamed_on_the_container() {
        let signs = HostSigns {
            container: true,
            cgroup_v1: true,
            ..HostSigns::default()
        };
        let told = fix(
            &failure(Stage::Cgroup, item::CGROUP_NOT_DELEGATED, Errno::EACCES),
            &signs,
        );
        assert!(told.contains("unified_cgroup_hierarchy"), "{told}");
    }

    #[test]
    fn landlock_that_is_off_names_the_boot_parameter() {
        let signs = HostSigns {
            landlock_listed: Some(false),
            ..HostSigns::default()
        };
        assert!(fix(&failure(Stage::Files, 0, Errno::EOPNOTSUPP), &signs).contains("lsm="));
    }

    #[test]
    fn wsl_1_is_told_to_convert() {
        let signs = HostSigns {
            wsl: Some(1),
            ..HostSigns::default()
        };
        assert!(fix(&failure(Stage::Clone, item::CLONE, Errno::EINVAL), &signs).contains("--set-version"));
    }
}
