//! Where the control group trees are mounted and where this process is in each of them.

use std::path::{Path, PathBuf};

/// A mounted tree, and the group of this process in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeMount {
    /// Where the tree is mounted.
    pub(crate) mount_point: PathBuf,
    /// The group of this process, as an absolute path.
    pub(crate) own: PathBuf,
    /// The tree's kind.
    pub(crate) hierarchy: Hierarchy,
}

/// A version 1 tree with its controllers, or the one version 2 tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// Version 1.
    V1(Vec<String>),
    /// Version 2.
    V2,
}

/// Reads the trees of this process from the kernel.
pub(crate) fn discover() -> Vec<TreeMount> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    parse(&mounts, &groups)
}

/// Every tree once (the first mount of it), in the order of the mounts.
fn parse(mountinfo: &str, groups: &str) -> Vec<TreeMount> {
    let mut trees: Vec<TreeMount> = Vec::new();
    for (root, mount_point, hierarchy) in mountinfo.lines().filter_map(parse_mount) {
        let Some(own) = own_group(groups, &hierarchy) else {
            continue;
        };
        if trees.iter().any(|tree| tree.hierarchy == hierarchy) {
            continue;
        }
        // A mount can show a part of the tree only; a group outside of that part is not reachable there.
        let below = own.strip_prefix(&root).unwrap_or_else(|_outside| Path::new(""));
        let own = mount_point.join(below.strip_prefix("/").unwrap_or(below));
        trees.push(TreeMount {
            mount_point,
            own,
            hierarchy,
        });
    }
    trees
}

/// `36 35 0:30 ROOT MOUNT_POINT OPTIONS optional… - TYPE SOURCE SUPER_OPTIONS`
fn parse_mount(line: &str) -> Option<(PathBuf, PathBuf, Hierarchy)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let root = PathBuf::from(unescape(fields.next()?));
    let mount_point = PathBuf::from(unescape(fields.next()?));
    let mut filesystem = filesystem.split(' ');
    let hierarchy = match filesystem.next()? {
        "cgroup2" => Hierarchy::V2,
        "cgroup" => Hierarchy::V1(controllers(filesystem.nth(1)?)),
        _ => return None,
    };
    Some((root, mount_point, hierarchy))
}

/// The options of the super block that are names of controllers which cells need.
fn controllers(super_options: &str) -> Vec<String> {
    let ours = ["memory", "cpu", "cpuacct", "pids"];
    super_options
        .split(',')
        .filter(|option| ours.contains(option))
        .map(String::from)
        .collect()
}

/// Mount points are written with `\040` for a space and so on.
fn unescape(field: &str) -> String {
    let mut plain = field.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, character);
    }
    plain
}

/// `ID:CONTROLLERS:PATH`; version 2 has id 0 and no controllers.
fn own_group(groups: &str, hierarchy: &Hierarchy) -> Option<PathBuf> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let same = match hierarchy {
            Hierarchy::V2 => id == "0" && names.is_empty(),
            Hierarchy::V1(controllers) => names
                .split(',')
                .any(|name| controllers.iter().any(|controller| controller == name)),
        };
        same.then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
25 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
29 25 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const HYBRID_GROUPS: &str = "9:name=systemd:/\n4:memory:/api/1\n2:cpu,cpuacct:/\n0::/user";

    #[test]
    fn a_hybrid_host_gives_every_tree_with_the_own_group() {
        let trees = parse(HYBRID_MOUNTS, HYBRID_GROUPS);
        let own: Vec<_> = trees
            .iter()
            .map(|tree| tree.own.to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            own,
            [
                "/sys/fs/cgroup/cpu,cpuacct/",
                "/sys/fs/cgroup/memory/api/1",
                "/sys/fs/cgroup/unified/user"
            ]
        );
        assert_eq!(
            trees[0].hierarchy,
            Hierarchy::V1(vec!["cpu".into(), "cpuacct".into()])
        );
        assert_eq!(trees[2].hierarchy, Hierarchy::V2);
    }

    #[test]
    fn a_container_that_sees_a_part_of_the_tree_finds_itself_in_it() {
        let mounts = "30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate";
        let trees = parse(mounts, "0::/docker/abc/inner");
        assert_eq!(trees[0].own, PathBuf::from("/sys/fs/cgroup/inner"));
    }

    #[test]
    fn a_mount_point_with_a_space_is_read() {
        let trees = parse("30 25 0:26 / /mnt/a\\040b rw - cgroup2 cgroup rw", "0::/");
        assert_eq!(trees[0].mount_point, PathBuf::from("/mnt/a b"));
    }

    #[test]
    fn nonsense_gives_no_tree() {
        assert_eq!(parse("garbage\n - \n1 2 3", "::\n0"), vec![]);
    }
}
