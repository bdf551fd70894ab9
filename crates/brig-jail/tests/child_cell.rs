//! Whole cells, built by `brig-jail-init` without the keeper.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test")]

mod cell;

#[cfg(test)]
mod tests {
    use super::cell::{Cell, Init, plan, run, spec};
    use brig_jail::boot_time::nanos_after;
    use brig_jail::control::{FromInit, KilledBy, ToInit};

    fn shell(script: &str) -> super::cell::Ran {
        run(&plan(), &["/bin/sh", "-c", script])
    }

    #[test]
    fn a_command_runs_and_its_streams_and_code_come_out() {
        let ran = shell("echo out; echo err >&2; exit 7");
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("out\n", "err\n"),
            "{ran:?}"
        );
        assert_eq!(ran.exit_code(), Some(7));
    }

    #[test]
    fn python_runs_threads_processes_and_sockets() {
        let program = "
import threading, subprocess, multiprocessing, socket, tempfile, ctypes, sqlite3
results = []
t = threading.Thread(target=lambda: results.append('thread')); t.start(); t.join()
results.append(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout.strip())
with multiprocessing.Pool(2) as pool: results.append(str(sum(pool.map(abs, [-1, -2]))))
s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); results.append('tcp')
sqlite3.connect('/workspace/x.db').execute('create table t(x)')
with open('/dev/stdout', 'w') as again: again.write('reopened ')
print(*results)
";
        let ran = run(&plan(), &["python3", "-I", "-c", program]);
        assert_eq!(ran.stdout, "reopened thread child 3 tcp\n", "{ran:?}");
        assert_eq!(ran.exit_code(), Some(0));
    }

    #[test]
    fn the_program_is_nobody_and_cannot_become_anybody() {
        let ran = shell("id -u; id -g; id -G; grep -E 'Cap|NoNewPrivs|Seccomp:|Groups' /proc/self/status");
        let mut lines = ran.stdout.lines();
        assert_eq!(lines.next(), Some("10001"), "{ran:?}");
        assert_eq!(lines.next(), Some("10001"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(
                ran.stdout.contains(&format!("{set}:\t0000000000000000")),
                "{ran:?}"
            );
        }
        assert!(ran.stdout.contains("NoNewPrivs:\t1"), "{ran:?}");
        assert!(ran.stdout.contains("Seccomp:\t2"), "{ran:?}");
    }

    #[test]
    fn only_the_three_places_are_writable() {
        let ran = shell(
            "for d in / /usr /etc /dev /proc/sys/kernel /workspace /tmp /dev/shm; do \
             if (echo x > $d/probe) 2>/dev/null; then echo $d; fi; done; ls -A /; ls /dev; ls /proc/1 2>&1 | head -1",
        );
        assert!(ran.stdout.starts_with("/workspace\n/tmp\n/dev/shm\n"), "{ran:?}");
        assert!(ran.stdout.contains("\nworkspace\n"), "{ran:?}");
        assert!(
            !ran.stdout.contains("\nsys\n") && !ran.stdout.contains(".old"),
            "{ran:?}"
        );
    }

    #[test]
    fn limits_of_the_writable_places_hold() {
        let ran = shell(
            "head -c 3000000 /dev/zero > /workspace/a && echo fits; \
             head -c 5000000 /dev/zero > /workspace/big; echo $?; \
             i=0; while [ $i -lt 300 ]; do (: > /workspace/f$i) || break; i=$((i+1)); done; echo $i",
        );
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines[0], "fits", "{ran:?}");
        assert_ne!(lines[1], "0", "{ran:?}");
        let files: u32 = lines.last().unwrap().parse().unwrap();
        assert!((250..256).contains(&files), "{ran:?}");
    }

    #[test]
    fn a_deadline_ends_everything_and_is_named() {
        let mut cell = Cell::build(&plan());
        cell.init.say(ToInit::Start {
            wall_nanos: 150_000_000,
            lease_until_nanos: 0,
        });
        cell.execute(&spec(&[
            "/bin/sh",
            "-c",
            "trap '' TERM INT; setsid sleep 100 & while :; do :; done",
        ]));
        let ran = cell.finish();
        let FromInit::Ended {
            killed_by,
            wait_status,
            ..
        } = ran.ended
        else {
            panic!("{ran:?}")
        };
        assert_eq!((killed_by, wait_status), (KilledBy::WallTime, libc::SIGKILL));
    }

    #[test]
    fn a_lease_that_is_not_renewed_ends_the_cell_and_a_renewal_keeps_it() {
        let mut cell = Cell::build(&plan());
        cell.init.say(ToInit::Start {
            wall_nanos: 0,
            lease_until_nanos: nanos_after(std::time::Duration::from_millis(100)),
        });
        cell.init.say(ToInit::Renew {
            lease_until_nanos: nanos_after(std::time::Duration::from_millis(600)),
        });
        let begun = std::time::Instant::now();
        cell.execute(&spec(&["/bin/sleep", "100"]));
        let ran = cell.finish();
        assert!(begun.elapsed().as_millis() >= 590, "{:?}", begun.elapsed());
        assert!(
            matches!(
                ran.ended,
                FromInit::Ended {
                    killed_by: KilledBy::Lease,
                    ..
                }
            ),
            "{ran:?}"
        );
    }

    #[test]
    fn a_kill_of_the_keeper_ends_the_cell() {
        let mut cell = Cell::build(&plan());
        cell.execute(&spec(&["/bin/sleep", "100"]));
        cell.init.say(ToInit::Kill);
        let ran = cell.finish();
        assert!(
            matches!(
                ran.ended,
                FromInit::Ended {
                    killed_by: KilledBy::Keeper,
                    ..
                }
            ),
            "{ran:?}"
        );
    }

    #[test]
    fn processes_that_outlive_the_program_are_killed_and_counted() {
        let ran = shell("setsid sleep 100 >/dev/null 2>&1 & setsid sleep 100 >/dev/null 2>&1 & echo done");
        let FromInit::Ended {
            leftovers, killed_by, ..
        } = ran.ended
        else {
            panic!("{ran:?}")
        };
        assert_eq!((leftovers, killed_by), (2, KilledBy::Nobody), "{ran:?}");
    }

    #[test]
    fn the_end_of_the_keeper_is_the_end_of_the_cell() {
        let mut cell = Cell::build(&plan());
        cell.execute(&spec(&["/bin/sh", "-c", "echo up; exec sleep 100"]));
        let Cell {
            init,
            mut stdout,
            listener,
            ..
        } = cell;
        drop(listener);
        let mut line = [0; 3];
        std::io::Read::read_exact(&mut stdout, &mut line).unwrap();
        let Init { .. } = &init;
        let other = nix::unistd::dup(&init.control).unwrap();
        nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&other),
            nix::sys::socket::Shutdown::Both,
        )
        .unwrap();
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut rest).unwrap();
        assert!(rest.is_empty());
    }

    #[test]
    fn a_command_that_is_not_there_is_127_and_one_that_cannot_run_126() {
        let missing = run(&plan(), &["no-such-tool"]);
        assert_eq!(missing.exit_code(), Some(127), "{missing:?}");
        assert_eq!(missing.stderr, "brig: no-such-tool: command not found\n");
        let forbidden = run(&plan(), &["/etc/passwd"]);
        assert_eq!(forbidden.exit_code(), Some(126), "{forbidden:?}");
    }

    #[test]
    fn signals_to_pid_1_do_nothing_and_pid_1_is_not_seen() {
        let ran = shell("kill -9 1 2>&1; kill -TERM 1 2>&1; cat /proc/1/status 2>&1 | head -1; echo alive");
        assert!(ran.stdout.ends_with("alive\n"), "{ran:?}");
        assert!(!ran.stdout.contains("Name:"), "{ran:?}");
    }

    #[test]
    fn a_fork_bomb_hits_the_wall_and_the_cell_ends() {
        if nix::unistd::geteuid().is_root() {
            // RLIMIT_NPROC does not hold against real root, which is what 10001 is mapped to in this harness.
            println!("skipped: as root");
            return;
        }
        let program = "
import os
n = 0
try:
    while True:
        if os.fork() == 0:
            __import__('signal').pause()
        n += 1
except OSError as e:
    print(n, e.errno)
";
        let ran = run(&plan(), &["python3", "-I", "-c", program]);
        assert_eq!(ran.exit_code(), Some(0), "{ran:?}");
        // 32 processes: the program, its 30 children, and `unshare`, which this harness leaves in the namespace.
        assert_eq!(ran.stdout, "30 11\n", "{ran:?}");
    }

    #[test]
    fn a_storm_of_signals_at_pid_1_delays_no_deadline() {
        let mut cell = Cell::build(&plan());
        cell.init.say(ToInit::Start {
            wall_nanos: 200_000_000,
            lease_until_nanos: 0,
        });
        let storm = "import os
while True:
    try:
        os.kill(1, 17)
    except OSError:
        pass
    try:
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    except OSError:
        pass
";
        cell.execute(&spec(&["python3", "-I", "-c", storm]));
        let begun = std::time::Instant::now();
        let ran = cell.finish();
        let slack = std::env::var("BRIG_TESTS_SLACK").map_or(1, |factor| factor.parse().unwrap());
        assert!(
            begun.elapsed().as_millis() < 1200 * slack,
            "{:?}",
            begun.elapsed()
        );
        assert!(
            matches!(
                ran.ended,
                FromInit::Ended {
                    killed_by: KilledBy::WallTime,
                    ..
                }
            ),
            "{ran:?}"
        );
    }

    #[test]
    fn where_no_procfs_can_be_had_a_synthetic_one_serves_python() {
        let mut plan = plan();
        plan.proc_mount = brig_jail::plan::ProcMount::Synthetic;
        let program =
            "import subprocess, os; print(subprocess.check_output(['echo', 'child']), os.listdir('/proc'))";
        let ran = run(&plan, &["python3", "-I", "-c", program]);
        assert!(ran.stdout.starts_with("b'child\\n' ["), "{ran:?}");
        assert!(
            !ran.stdout.contains("self") && ran.stdout.contains("cpuinfo"),
            "{ran:?}"
        );
    }

    /// Mount point and options of every mount, as the program sees them.
    fn mounts() -> Vec<(String, Vec<String>)> {
        let ran = shell("cat /proc/self/mountinfo");
        let parse = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            (
                fields[4].to_owned(),
                fields[5].split(',').map(str::to_owned).collect(),
            )
        };
        ran.stdout.lines().map(parse).collect()
    }

    #[test]
    fn every_mount_is_restricted_and_only_the_named_ones_are_writable() {
        let mounts = mounts();
        assert!(mounts.len() > 15, "{mounts:?}");
        let has = |options: &[String], word: &str| options.iter().any(|option| option == word);
        for (place, options) in &mounts {
            let device = place.starts_with("/dev/") && place != "/dev/shm";
            // A mask is a bind of the null device.
            let mask = place.starts_with("/proc/");
            assert!(has(options, "nosuid"), "{place} {options:?}");
            assert!(has(options, "nodev") || device || mask, "{place} {options:?}");
            let free = ["/workspace", "/tmp", "/dev/shm", "/proc"].contains(&place.as_str());
            assert!(
                has(options, "ro") || free || device || mask,
                "{place} {options:?}"
            );
        }
        assert!(
            mounts.iter().all(|(place, _)| !place.contains("old")),
            "{mounts:?}"
        );
    }

    #[test]
    fn what_tells_about_the_host_is_empty_and_no_namespace_can_be_made() {
        let ran = shell(
            "for f in kcore keys timer_list kallsyms cmdline sched_debug; do \
             [ -e /proc/$f ] && head -c 1 /proc/$f | wc -c | grep -v '^0$'; done; ls /proc/acpi /proc/scsi; \
             for n in user pid net mnt; do cat /proc/sys/user/max_${n}_namespaces; done; hostname; \
             python3 -Ic 'import socket; print(socket.if_nameindex())'; unshare -U true 2>/dev/null || echo refused",
        );
        let lines: Vec<&str> = ran
            .stdout
            .lines()
            .filter(|line| !line.contains("/proc/"))
            .collect();
        let expected = ["0", "0", "0", "0", "cell", "[(1, 'lo')]", "refused"];
        let shown: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(shown, expected, "{ran:?}");
    }

    #[test]
    fn a_stub_without_a_program_gives_up() {
        let cell = Cell::build(&plan());
        let Cell { init, job, .. } = cell;
        drop(job);
        let (last, _) = init.hear();
        let Some(FromInit::Ended { wait_status, .. }) = last else {
            panic!("{last:?}")
        };
        assert_eq!(wait_status, 254 << 8);
    }

    #[test]
    fn the_runners_pipes_are_descriptors_3_and_4_and_nothing_else_is_open() {
        let mut cell = Cell::build(&plan());
        let mut spec = spec(&["/bin/ls", "/proc/self/fd"]);
        spec.runner_channel = brig_jail::exec_spec::RunnerChannel::Keep;
        cell.execute(&spec);
        let ran = cell.finish();
        // 5 is the directory that ls itself reads.
        assert_eq!(ran.stdout, "0\n1\n2\n3\n4\n5\n", "{ran:?}");
    }
}
