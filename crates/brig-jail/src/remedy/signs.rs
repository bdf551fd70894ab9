//! What a host looks like: files that tell which of the known obstacles is in the way.

use std::path::Path;

/// Signs of known hosts. Gathered before the daemon confines itself: some of the files are out of reach then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent observations, each set from one file"
)]
pub struct HostSigns {
    /// Ubuntu's AppArmor takes capabilities in user namespaces from unconfined programs.
    pub apparmor_restricts: bool,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`.
    pub unprivileged_clone: Option<u64>,
    /// A container of Docker, Podman or Kubernetes.
    pub container: bool,
    /// Control groups of version 1 hold the controllers.
    pub cgroup_v1: bool,
    /// Parts of `/proc` are covered by other mounts.
    pub proc_masked: bool,
    /// The version of the Windows subsystem, where it is one.
    pub wsl: Option<u8>,
    /// Whether Landlock is in the list of active security modules, where that list can be read.
    pub landlock_listed: Option<bool>,
}

impl HostSigns {
    /// Looks at this host.
    #[must_use]
    pub fn gather() -> HostSigns {
        let number = |path: &str| read(path).and_then(|text| text.trim().parse::<u64>().ok());
        HostSigns {
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            container: in_container(),
            cgroup_v1: Path::new("/sys/fs/cgroup/memory").is_dir(),
            proc_masked: read("/proc/self/mountinfo").is_some_and(|mounts| masks_proc(&mounts)),
            wsl: read("/proc/version").and_then(|version| wsl_version(&version)),
            landlock_listed: read("/sys/kernel/security/lsm")
                .map(|list| list.trim().split(',').any(|module| module == "landlock")),
        }
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv", "/run/secrets/kubernetes.io"]
        .iter()
        .any(|path| Path::new(path).exists())
        || std::env::var_os("container").is_some()
}

/// Mounts below `/proc` cover parts of it; binfmt_misc is a place made for a mount.
fn masks_proc(mountinfo: &str) -> bool {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .into_iter()
        .any(|point| point.starts_with("/proc/") && point != "/proc/sys/fs/binfmt_misc")
}

/// WSL 1 reports a kernel of Microsoft's without the suffix that WSL 2's real kernel has.
fn wsl_version(version: &str) -> Option<u8> {
    let version = version.to_lowercase();
    if !version.contains("microsoft") {
        None
    } else if version.contains("wsl2") || version.contains("microsoft-standard") {
        Some(2)
    } else {
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_container_masks_proc_and_a_host_does_not() {
        let container = "1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /proc rw - proc proc rw\n3 2 0:3 /null /proc/kcore rw - tmpfs t rw";
        assert!(masks_proc(container));
        let host =
            "2 1 0:2 / /proc rw - proc proc rw\n3 2 0:3 / /proc/sys/fs/binfmt_misc rw - binfmt_misc b rw";
        assert!(!masks_proc(host));
    }

    #[test]
    fn both_versions_of_wsl_are_told_apart() {
        assert_eq!(
            wsl_version("Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)"),
            Some(1)
        );
        assert_eq!(
            wsl_version("Linux version 5.15.90.1-microsoft-standard-WSL2"),
            Some(2)
        );
        assert_eq!(
            wsl_version("Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)"),
            None
        );
    }
}
