//! The control groups of a container, as the kernel has them: counters, and a way to kill that needs no engine.

use crate::docker::protocol::ContainerFacts;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a container's groups are. A tree that is not mounted, or not of that container, is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Groups {
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    pids: Option<PathBuf>,
    unified: Option<PathBuf>,
}

/// Names of version 1 controllers that are of use.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];

impl Groups {
    /// The groups of a process that must be of this container: another's are never touched.
    pub(super) fn of(pid: i64, container: &str) -> Groups {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Groups::parse(&mounts, &groups, container)
    }

    fn parse(mounts: &str, groups: &str, container: &str) -> Groups {
        let mut found = Groups::default();
        let ours = |path: &str| container.len() >= 12 && path.contains(container);
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            if !ours(path) {
                continue;
            }
            if names.is_empty() {
                found.unified = mounted(mounts, None, path);
            }
            for controller in names.split(',').filter(|name| CONTROLLERS.contains(name)) {
                let place = mounted(mounts, Some(controller), path);
                match controller {
                    "memory" => found.memory = place,
                    "cpu" => found.cpu = place,
                    "cpuacct" => found.cpuacct = place,
                    _ => found.pids = place,
                }
            }
        }
        found
    }

    /// CPU time of everything that ever ran in the container.
    pub(super) fn cpu_used(&self) -> Option<Duration> {
        if let Some(nanos) = number(self.cpuacct.as_deref(), "cpuacct.usage") {
            return Some(Duration::from_nanos(nanos));
        }
        keyed(self.unified.as_deref(), "cpu.stat", "usage_usec").map(Duration::from_micros)
    }

    /// What was counted.
    pub(super) fn facts(&self) -> ContainerFacts {
        let unified = self.unified.as_deref();
        let either = |old: Option<u64>, new: Option<u64>| old.or(new).unwrap_or(0);
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (memory, pids) = (self.memory.as_deref(), self.pids.as_deref());
        ContainerFacts {
            oom_kills: short(either(
                keyed(memory, "memory.oom_control", "oom_kill"),
                keyed(unified, "memory.events", "oom_kill"),
            )),
            forks_refused: short(either(
                keyed(pids, "pids.events", "max"),
                keyed(unified, "pids.events", "max"),
            )),
            cpu_nanos: self.cpu_used().map_or(0, nanos),
            throttled_nanos: either(
                keyed(self.cpu.as_deref(), "cpu.stat", "throttled_time"),
                keyed(unified, "cpu.stat", "throttled_usec").map(|micros| micros.saturating_mul(1_000)),
            ),
            memory_peak_bytes: either(
                number(memory, "memory.max_usage_in_bytes"),
                number(unified, "memory.peak"),
            ),
            processes_peak: short(either(number(pids, "pids.peak"), number(unified, "pids.peak"))),
            oom_killed: None,
            exit_code: None,
        }
    }

    /// Kills everything in the container, where this process may. `true`: nothing is left.
    pub(super) async fn kill_all(&self) -> bool {
        const ROUNDS: u32 = 100;
        for _ in 0..ROUNDS {
            if let Some(unified) = &self.unified {
                // Not there before Linux 5.14.
                std::fs::write(unified.join("cgroup.kill"), "1").ok();
            }
            let processes = self.processes();
            if processes.is_empty() {
                return true;
            }
            for process in processes {
                // It may be gone already.
                kill(process, Signal::SIGKILL).ok();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn processes(&self) -> Vec<Pid> {
        let groups = [&self.pids, &self.memory, &self.unified];
        let Some(group) = groups.into_iter().flatten().next() else {
            return Vec::new();
        };
        let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let numbers = text.lines().filter_map(|line| line.trim().parse::<i32>().ok());
        // 0 is a process of another namespace, which a signal would take for our own group.
        numbers.filter(|number| *number > 1).map(Pid::from_raw).collect()
    }
}

/// Where a group of a tree can be reached. `None` for the controller: the version 2 tree.
fn mounted(mounts: &str, controller: Option<&str>, group: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut filesystem = filesystem.split(' ');
        let kind = filesystem.next()?;
        let right = match controller {
            None => kind == "cgroup2",
            Some(name) => kind == "cgroup" && filesystem.nth(1)?.split(',').any(|option| option == name),
        };
        let below = Path::new(group).strip_prefix(root).ok()?;
        right.then(|| Path::new(&point.replace("\\040", " ")).join(below))
    })
}

fn number(group: Option<&Path>, file: &str) -> Option<u64> {
    std::fs::read_to_string(group?.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn keyed(group: Option<&Path>, file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(group?.join(file)).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";
    const MOUNTS: &str = "\
25 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
29 25 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn every_tree_of_a_container_is_found() {
        let text = format!(
            "9:name=systemd:/docker/{ID}\n4:memory:/docker/{ID}\n3:pids:/docker/{ID}\n2:cpu,cpuacct:/docker/{ID}\n0::/docker/{ID}"
        );
        let groups = Groups::parse(MOUNTS, &text, ID);
        let at = |tree: &str| Some(PathBuf::from(format!("/sys/fs/cgroup/{tree}/docker/{ID}")));
        let all = Groups {
            memory: at("memory"),
            cpu: at("cpu,cpuacct"),
            cpuacct: at("cpu,cpuacct"),
            pids: at("pids"),
            unified: at("unified"),
        };
        assert_eq!(groups, all);
        let text = format!("0::/system.slice/docker-{ID}.scope");
        let v2 = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate";
        let unified = Groups::parse(v2, &text, ID).unified;
        let expected = format!("/sys/fs/cgroup/system.slice/docker-{ID}.scope");
        assert_eq!(unified, Some(PathBuf::from(expected)));
    }

    #[test]
    fn the_groups_of_somebody_else_are_never_taken() {
        let text = "4:memory:/docker/fedcba\n3:pids:/\n0::/user.slice";
        assert_eq!(Groups::parse(MOUNTS, text, ID), Groups::default());
        let own = format!("4:memory:/docker/{ID}");
        assert!(
            Groups::parse(MOUNTS, &own, "") == Groups::default(),
            "no id matches everything"
        );
    }

    #[test]
    fn the_counters_of_both_versions_are_read() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
        file(
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        );
        file("memory.max_usage_in_bytes", "4096\n");
        file("pids.events", "max 7\n");
        file("cpu.stat", "nr_periods 3\nthrottled_time 55\n");
        file("cpuacct.usage", "1234\n");
        let here = Some(place.path().to_owned());
        let old = Groups {
            memory: here.clone(),
            cpu: here.clone(),
            cpuacct: here.clone(),
            pids: here.clone(),
            unified: None,
        };
        let facts = old.facts();
        assert_eq!(
            (facts.oom_kills, facts.forks_refused, facts.cpu_nanos),
            (2, 7, 1_234)
        );
        assert_eq!((facts.throttled_nanos, facts.memory_peak_bytes), (55, 4_096));
        file("memory.events", "low 0\noom 4\noom_kill 3\n");
        file("memory.peak", "8192\n");
        file("pids.peak", "5\n");
        file("cpu.stat", "usage_usec 9\nthrottled_usec 2\n");
        let new = Groups {
            unified: here,
            ..Groups::default()
        };
        let facts = new.facts();
        assert_eq!(
            (facts.oom_kills, facts.forks_refused, facts.cpu_nanos),
            (3, 7, 9_000)
        );
        assert_eq!(
            (
                facts.throttled_nanos,
                facts.memory_peak_bytes,
                facts.processes_peak
            ),
            (2_000, 8_192, 5)
        );
    }
}
