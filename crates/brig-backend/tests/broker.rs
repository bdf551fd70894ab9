//! The broker with a real engine: `BRIG_TESTS_ENGINE` names its socket.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts the broker, and asks the engine as a person would"
    )
)]

#[cfg(test)]
mod engine;

#[cfg(test)]
mod tests {
    use super::engine::{Daemon, Engine, Place, until};
    use brig_backend::docker::protocol::{How, Reply, Request, WhyGone};
    use brig_jail::protocol::{CellLimits, KillReason};
    use std::io::Read;
    use std::time::{Duration, Instant};

    /// An engine, an image and a broker; `None`, with the reason on stderr, where there is no engine.
    fn start(name: &str) -> Option<(Engine, Place, Daemon)> {
        let engine = Engine::of_the_tests(name)?;
        let place = Place::new(name)?;
        let mut config = place.config(&engine.0);
        config.warm.count = 0;
        let daemon = Daemon::start(&config, &place.directory.path().join("init"));
        Some((engine, place, daemon))
    }

    #[test]
    fn a_container_is_as_hard_as_its_receipt_says() {
        let Some((_engine, place, mut daemon)) = start("hard") else {
            return;
        };
        let mut cell = daemon.open(&place);
        assert_eq!(cell.how, How::Cold);
        let status = cell.sh("cat /proc/self/status");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(cell.sh("touch /tmp/a /dev/shm/a /workspace/a 2>&1"), "");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
        }
        assert_eq!(
            (field("NoNewPrivs:"), field("Seccomp:")),
            ("1".to_owned(), "2".to_owned())
        );
        assert_eq!(
            (field("Uid:"), field("Gid:")),
            ("10001".to_owned(), "10001".to_owned())
        );
        assert_eq!(cell.sh("hostname"), "cell");
        // Nothing of the host's resolver or names.
        assert_eq!(cell.sh("cat /etc/resolv.conf"), "nameserver 127.0.0.1");
        let hosts = cell.sh("cat /etc/hosts");
        assert!(
            hosts.contains("127.0.0.1\tlocalhost") && hosts.contains("127.0.0.1\tcell"),
            "{hosts}"
        );
        let names = hosts.lines().filter_map(|line| line.split_whitespace().nth(1));
        let own = |name: &str| ["localhost", "cell"].contains(&name) || name.starts_with("ip6-");
        assert!(names.into_iter().all(own), "{hosts}");
        assert_eq!(
            cell.sh("ls /sys; ls /proc/acpi 2>/dev/null; cat /proc/sys/kernel/random/boot_id"),
            ""
        );
        assert_eq!(
            cell.sh("cat /proc/net/dev | sed 1,2d | sed 's/:.*//'").trim(),
            "lo"
        );
        assert!(
            cell.sh("(echo x > /etc/x) 2>&1").contains("Read-only"),
            "the root can be written to"
        );
        assert!(
            cell.sh("(echo x > /proc/sys/kernel/hostname) 2>&1")
                .contains("Read-only")
        );
        daemon.release(cell.number);
        daemon.end();
    }

    #[test]
    fn a_container_is_told_nothing_of_its_tenant_and_has_the_limits_of_its_receipt() {
        let Some((engine, place, mut daemon)) = start("limits") else {
            return;
        };
        let mut cell = daemon.open(&place);
        let environment = cell.sh("env");
        let names: Vec<&str> = environment
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        let known = ["PATH", "HOSTNAME", "HOME", "PWD", "SHLVL"];
        assert!(names.iter().all(|name| known.contains(name)), "{environment}");
        let limits = cell.receipt.cgroup.clone();
        assert_eq!(
            limits.processes,
            CellLimits::DEFAULT.processes + limits.processes_overhead
        );
        let id = engine.containers(&place).remove(0);
        let host = engine.docker(&[
            "inspect",
            "--format",
            "{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}} {{.Name}}",
            &id,
        ]);
        assert!(
            host.starts_with(&format!("{} {} /brig-", limits.processes, limits.memory_bytes)),
            "{host}"
        );
        daemon.release(cell.number);
        assert!(engine.containers(&place).is_empty(), "Released came too early");
        daemon.end();
    }

    #[test]
    fn a_broker_that_is_killed_leaves_nothing_that_runs_and_nothing_at_all_soon() {
        let Some((engine, place, mut daemon)) = start("killed") else {
            return;
        };
        let mut cell = daemon.open(&place);
        assert_eq!(engine.containers(&place).len(), 1);
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        // Without anybody's help: init's input was closed, and what ended the engine removes.
        engine.until_none(&place);
        let mut rest = Vec::new();
        cell.wire.read_to_end(&mut rest).ok();
    }

    #[test]
    fn the_next_broker_removes_what_a_dead_one_left_and_nothing_of_a_living_one() {
        let Some((engine, place, mut daemon)) = start("leftovers") else {
            return;
        };
        let cell = daemon.open(&place);
        // As a dead broker's would look that could not end: it runs on and has no input.
        let instance = format!("dev.brig.instance={}", place.instance);
        let image = engine.docker(&[
            "images",
            "-q",
            "--filter",
            &format!("label=dev.brig.rootfs={}", place.digest),
        ]);
        let image = image.lines().next().unwrap().to_owned();
        let dead = "dev.brig.broker=0.0.1.1";
        let run = [
            "run",
            "-d",
            "--network",
            "none",
            "--label",
            &instance,
            "--label",
            dead,
            "--entrypoint",
            "/bin/sleep",
            &image,
            "1000",
        ];
        engine.docker(&run);
        assert_eq!(engine.containers(&place).len(), 2);
        let second = Daemon::start(&place.config(&engine.0), &place.directory.path().join("init"));
        until(
            || engine.containers(&place).len() == 1,
            "the dead broker's container is not removed",
        );
        drop(second.socket);
        daemon.release(cell.number);
        daemon.end();
    }

    #[test]
    fn a_daemon_that_goes_leaves_no_container() {
        let Some((engine, place, mut daemon)) = start("goes") else {
            return;
        };
        let _one = daemon.open(&place);
        let _two = daemon.open(&place);
        daemon.end();
        assert!(engine.containers(&place).is_empty());
    }

    #[test]
    fn a_container_that_is_removed_by_hand_is_told_as_that() {
        let Some((engine, place, mut daemon)) = start("by-hand") else {
            return;
        };
        let cell = daemon.open(&place);
        engine.docker(&["rm", "-f", &engine.containers(&place)[0]]);
        assert_eq!(daemon.gone(cell.number).0, WhyGone::ByHand);
        daemon.release(cell.number);
        daemon.end();
    }

    #[test]
    fn a_kill_is_told_with_its_reason_and_what_was_counted() {
        let Some((_engine, place, mut daemon)) = start("kill") else {
            return;
        };
        let mut cell = daemon.open(&place);
        daemon.say(&Request::Start {
            cell: cell.number,
            wall_nanos: 0,
            cpu_nanos: 0,
            lease_nanos: 0,
        });
        cell.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
        assert!(daemon.facts(cell.number).cpu_nanos > 1_000_000);
        daemon.say(&Request::Kill {
            cell: cell.number,
            reason: KillReason::OutputLimit,
        });
        let (why, facts) = daemon.gone(cell.number);
        assert_eq!(
            why,
            WhyGone::Killed {
                reason: KillReason::OutputLimit
            }
        );
        assert!(facts.cpu_nanos > 1_000_000, "{facts:?}");
        daemon.release(cell.number);
        daemon.end();
    }

    #[test]
    fn the_brokers_own_deadlines_end_what_init_does_not() {
        let Some((_engine, place, mut daemon)) = start("deadlines") else {
            return;
        };
        let second = 1_000_000_000;
        let cases = [
            (second, 60 * second, 60 * second, KillReason::WallTime),
            (60 * second, 60 * second, second, KillReason::Lease),
            (60 * second, second / 2, 60 * second, KillReason::CpuTime),
        ];
        for (wall_nanos, cpu_nanos, lease_nanos, reason) in cases {
            let cell = daemon.open(&place);
            let begun = Instant::now();
            daemon.say(&Request::Start {
                cell: cell.number,
                wall_nanos,
                cpu_nanos,
                lease_nanos,
            });
            cell.send("while :; do :; done");
            if reason == KillReason::CpuTime {
                daemon.until(|reply| matches!(reply, Reply::Overrun { .. }));
                assert!(begun.elapsed() >= Duration::from_millis(400));
            }
            assert_eq!(daemon.gone(cell.number).0, WhyGone::Killed { reason });
            assert!(begun.elapsed() < Duration::from_secs(20), "{reason:?} came late");
            daemon.release(cell.number);
        }
        daemon.end();
    }

    #[test]
    fn the_kernel_counts_what_the_limits_refused() {
        let Some((_engine, place, mut daemon)) = start("counts") else {
            return;
        };
        let limits = CellLimits {
            processes: 8,
            memory_bytes: 64 << 20,
            tmp_bytes: 128 << 20,
            ..CellLimits::DEFAULT
        };
        let mut cell = daemon.open_with(&place, limits, true).unwrap();
        cell.sh("(echo 1000 > /proc/self/oom_score_adj; exec dd if=/dev/zero of=/dev/null bs=200M count=1) 2>/dev/null");
        cell.sh("sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done' 2>/dev/null; kill -9 -1 2>/dev/null; true");
        let facts = daemon.facts(cell.number);
        assert!(facts.forks_refused > 0, "{facts:?}");
        assert!(facts.oom_kills > 0, "{facts:?}");
        assert!(facts.memory_peak_bytes > 32 << 20, "{facts:?}");
        daemon.release(cell.number);
        daemon.end();
    }

    #[test]
    fn the_pool_gives_a_ready_container_once_and_never_again() {
        let Some((engine, place, daemon)) = start("pool") else {
            return;
        };
        daemon.end();
        let mut config = place.config(&engine.0);
        config.warm.count = 1;
        let mut daemon = Daemon::start(&config, &place.directory.path().join("init"));
        let mut cell = daemon.open(&place);
        assert_eq!(cell.how, How::Cold);
        assert_eq!(
            cell.sh("echo mine > /workspace/mark; cat /workspace/mark"),
            "mine"
        );
        let mut seen = engine.containers(&place);
        daemon.release(cell.number);
        for _ in 0..3 {
            let ready = |reply: &Reply| matches!(reply, Reply::Health { counts, .. } if counts.warm == 1 && counts.leased == 0);
            daemon.early.clear();
            daemon.until(ready);
            let mut cell = daemon.open(&place);
            assert_eq!(cell.how, How::Warm);
            assert_eq!(
                cell.sh("ls /workspace /tmp /dev/shm"),
                "/dev/shm:\n\n/tmp:\n\n/workspace:"
            );
            let now = engine.containers(&place);
            assert!(
                seen.iter().all(|old| !now.contains(old)),
                "a container came twice"
            );
            seen.extend(now);
            daemon.release(cell.number);
        }
        daemon.end();
        assert!(engine.containers(&place).is_empty());
    }

    #[test]
    fn requests_that_cannot_be_carried_out_say_what_to_do() {
        let Some((_engine, mut place, mut daemon)) = start("refused") else {
            return;
        };
        place.digest = brig_backend::docker::protocol::RootDigest::new([7; 32]);
        let refused = daemon
            .open_with(&place, CellLimits::DEFAULT, false)
            .err()
            .unwrap();
        let Reply::Refused { trouble, .. } = *refused else {
            panic!("not refused")
        };
        assert_eq!(trouble.stage, "image");
        assert!(trouble.item.contains("0707"), "{trouble:?}");
        assert!(!trouble.remedy.is_empty());
        daemon.end();
    }
}
