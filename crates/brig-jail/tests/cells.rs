//! Cells on this machine, made by a real keeper: as root, with subordinate uids, and bare.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "a test program"
)]

mod confined;
mod support;

use brig_jail::boot_time::nanos_after;
use brig_jail::client::LinkError;
use brig_jail::keeper::{SyntheticProc, UidSource};
use brig_jail::protocol::{
    CellLimits, CgroupKind, ImageDigest, KillReason, Level, MainExit, Network, REQUEST_BYTES, Reply, Request,
    UidKind,
};
use brig_jail::remedy::{self, HostSigns, item};
use brig_jail::stage::{SetupFailure, Stage};
use libtest_mimic::{Arguments, Trial};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::residue::{Residue, await_no_process_of, children, groups_named, processes_of, until};
use support::{
    KEEPER_WORD, Keeper, Outcome, PATIENCE, SECOND, be_keeper_if_asked, config, has_groups, init_program,
    is_root, read_file, seen_or_skipped, send_spec, skip, small, stretched,
};

fn main() -> ExitCode {
    if let Some(code) = be_keeper_if_asked().or_else(confined::be_confined_if_asked) {
        return code;
    }
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit_code()
}

macro_rules! trials {
    ($($name:ident),+ $(,)?) => {
        vec![$(Trial::ignorable_test(stringify!($name), || seen_or_skipped($name))),+]
    };
}

fn trials() -> Vec<Trial> {
    trials![
        a_command_runs_and_its_output_arrives,
        the_exit_code_and_the_signal_of_the_program_are_told_apart,
        a_command_that_does_not_exist_is_127,
        a_busy_program_ends_at_its_wall_limit,
        a_program_that_burns_processor_time_ends_at_its_limit,
        a_sleeping_program_uses_no_processor_time,
        a_program_without_keep_alive_ends_with_its_lease,
        a_cancelled_program_ends_at_once,
        a_detached_child_does_not_outlive_the_program,
        a_program_that_takes_too_much_memory_is_killed_for_it,
        forks_beyond_the_limit_are_refused_and_counted,
        refused_calls_are_counted_by_number,
        a_flood_of_refused_calls_is_cut_off_and_does_not_delay_another_cell,
        a_spare_is_handed_over_and_used_once,
        a_spare_gets_the_limits_of_the_request,
        the_receipt_names_every_layer,
        two_cells_have_different_uids,
        the_program_is_in_its_cells_group_and_its_first_process_is_not,
        a_keeper_that_is_killed_takes_its_cells_along,
        a_daemon_that_goes_away_takes_the_cells_along,
        a_drained_keeper_ends_cleanly,
        a_drained_keeper_gives_no_new_cell,
        an_unknown_image_is_refused_by_name,
        nonsense_from_the_daemon_ends_the_keeper,
        a_daemon_cannot_touch_a_cell_that_it_was_not_given,
        after_many_cells_nothing_is_left,
        the_groups_of_a_dead_keeper_are_removed_by_the_next,
        bare_rootless_runs_at_workstation_and_refuses_strict,
        subordinate_uids_are_used_by_a_user_who_has_them,
        a_keeper_as_the_first_process_hands_the_first_signal_on,
        the_files_of_a_cell_can_be_reached_after_its_death,
        a_spare_after_a_job_with_files_has_its_helper_ready,
        a_daemon_that_asks_for_helpers_without_end_is_stopped,
        a_masked_proc_is_refused_with_the_line_that_helps_or_replaced_where_allowed,
        where_no_listener_can_be_had_refusals_go_unreported_and_threads_work,
        a_confined_daemon_keeps_its_data_and_loses_everything_else,
    ]
}

fn a_command_runs_and_its_output_arrives() {
    let mut keeper = Keeper::start(&config("echo"));
    let outcome = keeper.job(&["/bin/echo", "hello"], small());
    assert_eq!(outcome.stdout, "hello\n");
    assert_eq!(outcome.facts.main, MainExit::Exited(0));
    assert_eq!(outcome.facts.killed, None);
    assert_eq!(keeper.end(), 70);
}

fn the_exit_code_and_the_signal_of_the_program_are_told_apart() {
    let mut keeper = Keeper::start(&config("exit"));
    let exited = keeper.job(&["/bin/sh", "-c", "exit 7"], small());
    assert_eq!(exited.facts.main, MainExit::Exited(7));
    let signalled = keeper.job(&["/bin/sh", "-c", "kill -SEGV $$"], small());
    assert_eq!(signalled.facts.main, MainExit::Signalled(11));
}

fn a_command_that_does_not_exist_is_127() {
    let mut keeper = Keeper::start(&config("absent"));
    let outcome = keeper.job(&["no-such-command"], small());
    assert_eq!(outcome.facts.main, MainExit::Exited(127));
    assert_eq!(outcome.stderr, "brig: no-such-command: command not found\n");
}

/// Starts a command, waits for its end, and gives the time that took by our own clock.
fn timed(keeper: &mut Keeper, argv: &[&str], wall: u64, cpu: u64) -> (Outcome, Duration) {
    let mut cell = keeper.open(small()).unwrap();
    let started = Instant::now();
    keeper.begin(&mut cell, argv, wall, cpu);
    let outcome = keeper.finish(cell);
    (outcome, started.elapsed())
}

const BUSY: &[&str] = &["/bin/sh", "-c", "while :; do :; done"];

fn a_busy_program_ends_at_its_wall_limit() {
    let mut keeper = Keeper::start(&config("wall"));
    let (outcome, took) = timed(&mut keeper, BUSY, SECOND / 2, 20 * SECOND);
    assert_eq!(outcome.facts.killed, Some(KillReason::WallTime));
    assert!(outcome.facts.wall_nanos >= SECOND / 2);
    assert!(took < stretched(Duration::from_millis(1_000)), "{took:?}");
}

fn a_program_that_burns_processor_time_ends_at_its_limit() {
    let mut keeper = Keeper::start(&config("cpu"));
    need_groups(&mut keeper);
    let two = &["/bin/sh", "-c", "while :; do :; done & while :; do :; done"];
    let (outcome, _) = timed(&mut keeper, two, 20 * SECOND, SECOND / 2);
    assert_eq!(outcome.facts.killed, Some(KillReason::CpuTime));
    let used = outcome.facts.cpu_nanos;
    assert!((SECOND / 2..SECOND / 2 + SECOND / 10).contains(&used), "{used}");
}

fn a_sleeping_program_uses_no_processor_time() {
    let mut keeper = Keeper::start(&config("sleep"));
    let (outcome, _) = timed(&mut keeper, &["/bin/sleep", "60"], SECOND / 4, 20 * SECOND);
    assert_eq!(outcome.facts.killed, Some(KillReason::WallTime));
    assert!(
        outcome.facts.cpu_nanos < SECOND / 20,
        "{}",
        outcome.facts.cpu_nanos
    );
}

fn a_program_without_keep_alive_ends_with_its_lease() {
    let mut keeper = Keeper::start(&config("lease"));
    let mut cell = keeper.open(small()).unwrap();
    let start = Request::Start {
        cell: cell.number,
        wall_nanos: 0,
        cpu_nanos: 0,
        lease_until_nanos: nanos_after(Duration::from_millis(250)),
    };
    keeper.link.send(&start).unwrap();
    send_spec(&mut cell, &["/bin/sleep", "60"]);
    let facts = keeper.await_end(cell.number);
    assert_eq!(facts.killed, Some(KillReason::Lease));
    assert!(facts.wall_nanos >= SECOND / 4);
}

fn a_cancelled_program_ends_at_once() {
    let mut keeper = Keeper::start(&config("cancel"));
    let mut cell = keeper.open(small()).unwrap();
    keeper.begin(
        &mut cell,
        &[
            "/bin/sh",
            "-c",
            "trap '' TERM INT HUP; echo up; while :; do :; done",
        ],
        20 * SECOND,
        0,
    );
    cell.stdout.read_exact(&mut [0; 3]).unwrap();
    let asked = Instant::now();
    keeper.kill(cell.number);
    let outcome = keeper.finish(cell);
    assert_eq!(outcome.facts.killed, Some(KillReason::Cancelled));
    assert!(asked.elapsed() < stretched(Duration::from_millis(500)));
}

fn a_detached_child_does_not_outlive_the_program() {
    let mut keeper = Keeper::start(&config("leftover"));
    let mut cell = keeper.open(small()).unwrap();
    let uid = cell.receipt.uid;
    let argv = [
        "/bin/sh",
        "-c",
        "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo parent",
    ];
    keeper.begin(&mut cell, &argv, 20 * SECOND, 0);
    let outcome = keeper.finish(cell);
    assert_eq!(outcome.stdout, "parent\n");
    assert_eq!(outcome.facts.main, MainExit::Exited(0));
    assert_eq!(outcome.facts.leftovers_killed, 1);
    if uid >= 0x3000_0000 {
        assert_eq!(processes_of(uid), 0);
    }
}

fn a_program_that_takes_too_much_memory_is_killed_for_it() {
    let mut keeper = Keeper::start(&config("memory"));
    need_groups(&mut keeper);
    let hog = ["/usr/bin/python3", "-c", "x = bytearray(600 << 20)"];
    let outcome = keeper.job(&hog, small());
    assert_eq!(outcome.facts.main, MainExit::Signalled(9));
    assert_eq!(outcome.facts.killed, None);
    assert!(outcome.facts.oom_kills >= 1);
    let peak = outcome.facts.memory_peak_bytes;
    assert!(peak <= 256 << 20 && peak > 200 << 20, "{peak}");
}

fn forks_beyond_the_limit_are_refused_and_counted() {
    let mut keeper = Keeper::start(&config("forks"));
    need_groups(&mut keeper);
    let limits = CellLimits {
        processes: 8,
        ..small()
    };
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 2 & done; echo all";
    let outcome = keeper.job(&["/bin/sh", "-c", script], limits);
    assert!(outcome.facts.forks_refused >= 1, "{:?}", outcome.facts);
    assert_eq!(outcome.facts.processes_peak, 8);
}

fn refused_calls_are_counted_by_number() {
    let mut keeper = Keeper::start(&config("refused"));
    let mut cell = keeper.open(small()).unwrap();
    if !cell.receipt.refusals_reported {
        return;
    }
    let program = "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name in ('mount', 'swapon', 'swapon'):
    assert getattr(libc, name)(0, 0, 0, 0, 0) == -1
    print(ctypes.get_errno())
libc.syscall(5000)
print(ctypes.get_errno())";
    keeper.begin(&mut cell, &["/usr/bin/python3", "-c", program], 20 * SECOND, 0);
    let outcome = keeper.finish(cell);
    assert_eq!(outcome.stdout, "1\n1\n1\n38\n", "{}", outcome.stderr);
    let refused = &outcome.facts.refused[..usize::from(outcome.facts.refused_len)];
    let count = |number: i64| {
        refused
            .iter()
            .find(|call| i64::from(call.number) == number)
            .map_or(0, |call| call.count)
    };
    assert_eq!(
        [count(libc::SYS_mount), count(libc::SYS_swapon), count(5_000)],
        [1, 2, 1]
    );
    assert!(!outcome.facts.refused_truncated);
}

fn a_flood_of_refused_calls_is_cut_off_and_does_not_delay_another_cell() {
    let mut keeper = Keeper::start(&config("flood"));
    let mut flood = keeper.open(small()).unwrap();
    if !flood.receipt.refusals_reported {
        return;
    }
    let program = "import ctypes
swapoff = ctypes.CDLL(None).swapoff
print('on', flush=True)
while True: swapoff(0)";
    let mut other = keeper.open(small()).unwrap();
    keeper.begin(&mut flood, &["/usr/bin/python3", "-c", program], 3 * SECOND, 0);
    flood.stdout.read_exact(&mut [0; 3]).unwrap();
    let started = Instant::now();
    keeper.begin(&mut other, &["/bin/true"], 20 * SECOND, 0);
    assert_eq!(keeper.await_end(other.number).main, MainExit::Exited(0));
    assert!(
        started.elapsed() < stretched(Duration::from_secs(1)),
        "{:?}",
        started.elapsed()
    );
    let facts = keeper.await_end(flood.number);
    assert!(facts.refused_truncated);
    assert_eq!(facts.killed, Some(KillReason::WallTime));
}

/// A keeper with one spare, which is complete.
fn keeper_with_spare(name: &str) -> Keeper {
    let mut config = config(name);
    config.spares = 1;
    config.prewarm = Some((ImageDigest::HOST, Level::Workstation, small()));
    let mut keeper = Keeper::start(&config);
    // A probe of this kind is answered by the spare, when it is there; the second one finds it in any case.
    keeper.await_spare();
    keeper
}

fn a_spare_is_handed_over_and_used_once() {
    let mut keeper = keeper_with_spare("spare");
    let first = keeper.open_at(Level::Workstation, small()).unwrap();
    let second = keeper.open_at(Level::Workstation, small()).unwrap();
    assert!(first.receipt.prepared);
    assert!(!second.receipt.prepared);
    assert_ne!(first.number, second.number);
}

fn a_spare_gets_the_limits_of_the_request() {
    let mut keeper = keeper_with_spare("respared");
    need_groups(&mut keeper);
    let limits = CellLimits {
        memory_bytes: 64 << 20,
        processes: 5,
        ..small()
    };
    let mut cell = keeper.open_at(Level::Workstation, limits).unwrap();
    assert!(cell.receipt.prepared);
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo all";
    keeper.begin(&mut cell, &["/bin/sh", "-c", script], 20 * SECOND, 0);
    assert_eq!(keeper.finish(cell).facts.processes_peak, 5);
}

fn the_receipt_names_every_layer() {
    let mut keeper = Keeper::start(&config("receipt"));
    let (receipt, strict, workstation) = keeper.probe();
    assert_eq!(workstation, None);
    assert_eq!(receipt.namespaces.count_ones(), 7);
    assert!(
        (120..=160).contains(&receipt.allowed_calls),
        "{}",
        receipt.allowed_calls
    );
    assert_ne!(receipt.filter_digest, [0; 16]);
    assert!(receipt.own_proc);
    if is_root() && strict.is_none() {
        assert_eq!(receipt.level, Level::Strict);
        assert_eq!(receipt.uid_kind, UidKind::RootRange);
        assert_eq!(receipt.controllers & 7, 7);
        assert!(receipt.init_class_raised);
    }
}

fn two_cells_have_different_uids() {
    let mut keeper = Keeper::start(&config("uids"));
    let first = keeper.open(small()).unwrap();
    let second = keeper.open(small()).unwrap();
    if first.receipt.uid_kind != UidKind::Own {
        assert_ne!(first.receipt.uid, second.receipt.uid);
    }
}

fn the_program_is_in_its_cells_group_and_its_first_process_is_not() {
    let mut keeper = Keeper::start(&config("member"));
    need_groups(&mut keeper);
    let cell = keeper.open(small()).unwrap();
    until("the cell is alone", || children(keeper.child.id()).len() == 1);
    let inits = children(keeper.child.id());
    let groups = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mine = format!("/cell-{}", cell.number);
    assert!(!groups(inits[0]).contains(&mine));
    let program = groups(children(inits[0])[0]);
    for controller in [":memory:", ":cpu:", ":pids:"] {
        let line = |line: &&str| line.contains(controller) || line.starts_with("0::");
        assert!(
            program.lines().filter(line).all(|line| line.ends_with(&mine)),
            "{program}"
        );
    }
}

fn a_keeper_that_is_killed_takes_its_cells_along() {
    let mut keeper = Keeper::start(&config("killed"));
    let mut cell = keeper.open(small()).unwrap();
    let uid = cell.receipt.uid;
    keeper.begin(
        &mut cell,
        &["/bin/sh", "-c", "echo up; while :; do :; done"],
        20 * SECOND,
        0,
    );
    cell.stdout.read_exact(&mut [0; 3]).unwrap();
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    // The end of its output is the end of its last process.
    cell.stdout.read_to_end(&mut Vec::new()).unwrap();
    assert!(matches!(
        keeper.link.recv_within(stretched(PATIENCE)),
        Err(LinkError::Closed)
    ));
    if uid >= 0x3000_0000 {
        await_no_process_of(uid);
    }
}

fn a_daemon_that_goes_away_takes_the_cells_along() {
    let mut keeper = Keeper::start(&config("goes"));
    let mut cell = keeper.open(small()).unwrap();
    keeper.begin(
        &mut cell,
        &["/bin/sh", "-c", "echo up; while :; do :; done"],
        20 * SECOND,
        0,
    );
    cell.stdout.read_exact(&mut [0; 3]).unwrap();
    assert_eq!(keeper.end(), 70);
    cell.stdout.read_to_end(&mut Vec::new()).unwrap();
}

fn a_drained_keeper_ends_cleanly() {
    let mut keeper = keeper_with_spare("drained");
    keeper.job(&["/bin/true"], small());
    keeper.link.send(&Request::Drain).unwrap();
    keeper.await_no_cells();
    assert_eq!(keeper.end(), 0);
}

fn a_drained_keeper_gives_no_new_cell() {
    let mut keeper = Keeper::start(&config("draining"));
    keeper.link.send(&Request::Drain).unwrap();
    let failure = keeper.open_at(Level::Workstation, small()).err().unwrap();
    assert_eq!((failure.stage, failure.item), (Stage::Request, item::DRAINING));
}

fn an_unknown_image_is_refused_by_name() {
    let keeper = Keeper::start(&config("image"));
    let (level, network, limits) = (Level::Workstation, Network::None, small());
    let image = ImageDigest([7; 32]);
    keeper
        .link
        .send(&Request::Open {
            request: 9,
            image,
            level,
            network,
            limits,
        })
        .unwrap();
    let failure = SetupFailure {
        stage: Stage::Request,
        item: item::UNKNOWN_IMAGE,
        errno: libc::ENOENT,
    };
    assert_eq!(keeper.reply().0, Reply::Failed { request: 9, failure });
}

fn nonsense_from_the_daemon_ends_the_keeper() {
    let mut keeper = Keeper::start(&config("nonsense"));
    let record = [0xff_u8; REQUEST_BYTES];
    nix::unistd::write(&keeper.link, &record).unwrap();
    assert!(matches!(
        keeper.link.recv_within(stretched(PATIENCE)),
        Err(LinkError::Closed)
    ));
    assert_eq!(keeper.child.wait().unwrap().code(), Some(70));
}

fn a_daemon_cannot_touch_a_cell_that_it_was_not_given() {
    let mut keeper = keeper_with_spare("foreign");
    for number in 0..10 {
        keeper.kill(number);
        keeper.link.send(&Request::Release { cell: number }).unwrap();
        keeper
            .link
            .send(&Request::OpenFiles {
                request: number,
                cell: number,
            })
            .unwrap();
        let (reply, _) = keeper.reply();
        assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
    }
    assert!(
        keeper
            .open_at(Level::Workstation, small())
            .unwrap()
            .receipt
            .prepared
    );
}

fn after_many_cells_nothing_is_left() {
    let mut config = config("leak");
    config.spares = 1;
    let mut keeper = Keeper::start(&config);
    let job = |keeper: &mut Keeper| {
        let outcome = keeper.job(&["/bin/echo", "x"], small());
        assert_eq!(outcome.stdout, "x\n");
    };
    (0..5).for_each(|_| job(&mut keeper));
    keeper.await_spare();
    let before = Residue::of(&keeper);
    (0..200).for_each(|_| job(&mut keeper));
    keeper.await_spare();
    assert_eq!(Residue::of(&keeper), before);
    keeper.end();
    assert_eq!(groups_named("brig-test-leak-"), Vec::<PathBuf>::new());
}

fn the_groups_of_a_dead_keeper_are_removed_by_the_next() {
    let mut keeper = Keeper::start(&config("again"));
    need_groups(&mut keeper);
    let dead = format!("brig-test-again-{}", keeper.child.id());
    let _cell = keeper.open(small()).unwrap();
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    assert_ne!(groups_named(&dead), Vec::<PathBuf>::new());
    let mut next = Keeper::start(&config("again"));
    next.job(&["/bin/true"], small());
    assert_eq!(groups_named(&dead), Vec::<PathBuf>::new());
    next.end();
}

/// The user of the tests, who has a line in `/etc/subuid`, where this machine has such a user and we are root.
fn as_test_user() -> Vec<&'static str> {
    if !is_root() {
        skip("the tests do not run as root");
    }
    if !std::fs::read_to_string("/etc/subuid").is_ok_and(|text| text.contains("brig-sub:")) {
        skip("no user brig-sub with subordinate ids: tests/run makes it");
    }
    vec![
        "setpriv",
        "--reuid=brig-sub",
        "--regid=brig-sub",
        "--init-groups",
        "--inh-caps=-all",
    ]
}

/// First id and count of the user of the tests.
fn subordinate_range() -> (u32, u32) {
    let text = std::fs::read_to_string("/etc/subuid").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("brig-sub:"))
        .unwrap();
    let (first, count) = line.split_once(':').unwrap();
    (first.parse().unwrap(), count.parse().unwrap())
}

fn need_groups(keeper: &mut Keeper) {
    if !has_groups(keeper) {
        skip("no control groups with limits for this user on this host");
    }
}

fn bare_rootless_runs_at_workstation_and_refuses_strict() {
    let user = as_test_user();
    let mut config = config("bare");
    config.uid_source = UidSource::Own;
    let mut keeper = Keeper::start_as(&config, &user);
    let failure = keeper.open_at(Level::Strict, small()).err().unwrap();
    let remedy = remedy::for_failure(&failure, &HostSigns::gather()).unwrap();
    assert!(remedy.fix.contains("workstation"), "{remedy:?}");
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    assert_eq!(cell.receipt.uid_kind, UidKind::Own);
    assert_eq!(cell.receipt.cgroup, CgroupKind::None);
    keeper.begin(&mut cell, &["/usr/bin/id", "-u"], 20 * SECOND, 0);
    let outcome = keeper.finish(cell);
    assert_eq!(outcome.stdout, "10001\n");
    assert_eq!(outcome.facts.main, MainExit::Exited(0));
    let (busy, took) = timed_at_workstation(&mut keeper, BUSY);
    assert_eq!(busy.facts.killed, Some(KillReason::WallTime));
    assert!(took < stretched(Duration::from_millis(1_200)), "{took:?}");
    // On a busy machine it got little.
    assert!(busy.facts.cpu_nanos > SECOND / 50, "{}", busy.facts.cpu_nanos);
}

fn timed_at_workstation(keeper: &mut Keeper, argv: &[&str]) -> (Outcome, Duration) {
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    let started = Instant::now();
    keeper.begin(&mut cell, argv, SECOND / 2, 0);
    (keeper.finish(cell), started.elapsed())
}

fn subordinate_uids_are_used_by_a_user_who_has_them() {
    let user = as_test_user();
    let mut keeper = Keeper::start_as(&config("subordinate"), &user);
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    assert_eq!(cell.receipt.uid_kind, UidKind::Subordinate);
    let (first, count) = subordinate_range();
    let range = first..first + count;
    assert!(range.contains(&cell.receipt.uid), "{}", cell.receipt.uid);
    keeper.begin(&mut cell, &["/bin/cat", "/proc/self/uid_map"], 20 * SECOND, 0);
    let outcome = keeper.finish(cell);
    assert_eq!(outcome.stdout.split_whitespace().next(), Some("10001"));
}

fn a_keeper_as_the_first_process_hands_the_first_signal_on() {
    let config = config("serve");
    let json = serde_json::to_string(&config).unwrap();
    let script = "trap 'echo term; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let mut keeper = Command::new(std::env::current_exe().unwrap())
        .args([
            KEEPER_WORD,
            &json,
            init_program().to_str().unwrap(),
            "/bin/sh",
            "-c",
            script,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = keeper.stdout.take().unwrap();
    output.read_exact(&mut [0; 3]).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(keeper.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "term\n");
    assert_eq!(keeper.wait().unwrap().code(), Some(70));
}

fn the_files_of_a_cell_can_be_reached_after_its_death() {
    let mut keeper = Keeper::start(&config("files"));
    let mut cell = keeper.open(small()).unwrap();
    keeper.begin(
        &mut cell,
        &["/bin/sh", "-c", "echo kept > /workspace/result"],
        20 * SECOND,
        0,
    );
    assert_eq!(keeper.await_end(cell.number).main, MainExit::Exited(0));
    let number = cell.number;
    keeper
        .link
        .send(&Request::OpenFiles {
            request: 77,
            cell: number,
        })
        .unwrap();
    let (reply, descriptors) = keeper.reply();
    assert_eq!(
        reply,
        Reply::FilesOpened {
            request: 77,
            cell: number
        }
    );
    assert_eq!(descriptors.len(), 1);
    let content = read_file(descriptors, b"result");
    assert_eq!(content, b"kept\n");
    keeper.release(number);
}

fn a_confined_daemon_keeps_its_data_and_loses_everything_else() {
    let data = tempfile::tempdir_in("/var/tmp").unwrap();
    let run = |word: &str| {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program)
            .args([word, data.path().to_str().unwrap()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // The control arm: without the confinement every attempt succeeds.
    let free = run(confined::FREE_WORD);
    assert!(free.lines().all(|line| line.ends_with(": yes")), "{free}");
    let confined = run(confined::CONFINED_WORD);
    let (may, may_not): (Vec<&str>, Vec<&str>) = confined.lines().partition(|line| line.ends_with(": yes"));
    assert_eq!(
        may,
        [
            "write own data: yes",
            "run a thread: yes",
            "raise a signal in itself: yes",
            "make a pair: yes"
        ]
    );
    // What needs root to be possible at all is tried by root only.
    let tried = if is_root() { 20 } else { 14 };
    assert_eq!(may_not.len(), tried, "{confined}");
}

fn a_spare_after_a_job_with_files_has_its_helper_ready() {
    let mut keeper = keeper_with_spare("ready-files");
    for round in 0..3 {
        let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
        assert!(cell.receipt.prepared);
        let script = format!("echo {round} > /workspace/result");
        keeper.begin(&mut cell, &["/bin/sh", "-c", &script], 20 * SECOND, 0);
        assert_eq!(keeper.await_end(cell.number).main, MainExit::Exited(0));
        let number = cell.number;
        keeper
            .link
            .send(&Request::OpenFiles {
                request: 5,
                cell: number,
            })
            .unwrap();
        let (reply, descriptors) = keeper.reply();
        assert_eq!(
            reply,
            Reply::FilesOpened {
                request: 5,
                cell: number
            }
        );
        assert_eq!(read_file(descriptors, b"result"), format!("{round}\n").as_bytes());
        keeper.release(number);
        // From the second round on the spare comes with a helper: two children of the keeper.
        keeper.await_settled(if round == 0 { 1 } else { 2 });
    }
}

/// A keeper that sees a `/proc` of which a part is covered, as in a container.
fn keeper_with_masked_proc(name: &str, synthetic_proc: SyntheticProc) -> Keeper {
    let mut config = config(name);
    config.synthetic_proc = synthetic_proc;
    let mask = "mount --bind /dev/null /proc/kallsyms && exec \"$@\"";
    Keeper::start_as(&config, &["unshare", "--mount", "sh", "-c", mask, "sh"])
}

fn a_masked_proc_is_refused_with_the_line_that_helps_or_replaced_where_allowed() {
    if !is_root() {
        skip("the tests do not run as root");
    }
    let mut keeper = keeper_with_masked_proc("masked", SyntheticProc::Forbidden);
    let failure = keeper.open_at(Level::Workstation, small()).err().unwrap();
    assert_eq!(failure.stage, Stage::Mount);
    let signs = HostSigns {
        proc_masked: true,
        ..HostSigns::default()
    };
    let remedy = remedy::for_failure(&failure, &signs).unwrap();
    assert!(remedy.fix.contains("systempaths=unconfined"), "{remedy:?}");
    let mut keeper = keeper_with_masked_proc("synthetic", SyntheticProc::Allowed);
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    assert!(!cell.receipt.own_proc);
    keeper.begin(&mut cell, &["/bin/cat", "/proc/uptime"], 20 * SECOND, 0);
    let outcome = keeper.finish(cell);
    assert_eq!(outcome.facts.main, MainExit::Exited(0), "{}", outcome.stderr);
}

fn where_no_listener_can_be_had_refusals_go_unreported_and_threads_work() {
    let prefix = ["env", "BRIG_TEST_FOREIGN_LISTENER=1"];
    let mut keeper = Keeper::start_as(&config("listener"), &prefix);
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    assert!(!cell.receipt.refusals_reported);
    let program = "import ctypes, threading
thread = threading.Thread(target=print, args=('thread',))
thread.start()
thread.join()
libc = ctypes.CDLL(None, use_errno=True)
libc.mount(0, 0, 0, 0, 0)
print(ctypes.get_errno())";
    keeper.begin(&mut cell, &["/usr/bin/python3", "-c", program], 20 * SECOND, 0);
    let outcome = keeper.finish(cell);
    assert_eq!(outcome.stdout, "thread\n1\n", "{}", outcome.stderr);
    assert_eq!(outcome.facts.refused_len, 0);
}

fn a_daemon_that_asks_for_helpers_without_end_is_stopped() {
    let mut keeper = Keeper::start(&config("helpers"));
    let cell = keeper.open(small()).unwrap();
    let mut sockets = Vec::new();
    let refused = (0..10).find_map(|request| {
        keeper
            .link
            .send(&Request::OpenFiles {
                request,
                cell: cell.number,
            })
            .unwrap();
        let (reply, descriptors) = keeper.reply();
        sockets.extend(descriptors);
        match reply {
            Reply::Failed { failure, .. } => Some(failure.item),
            Reply::FilesOpened { .. } => None,
            other @ (Reply::Opened { .. }
            | Reply::Ended { .. }
            | Reply::Released { .. }
            | Reply::Probed { .. }) => {
                panic!("{other:?}")
            }
        }
    });
    assert_eq!(refused, Some(item::TOO_MANY_HELPERS));
    keeper.link.send(&Request::Release { cell: cell.number }).unwrap();
    assert_eq!(keeper.await_end(cell.number).killed, Some(KillReason::Abandoned));
    assert_eq!(keeper.reply().0, Reply::Released { cell: cell.number });
    keeper.await_no_cells();
}
