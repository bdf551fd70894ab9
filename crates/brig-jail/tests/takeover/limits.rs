//! More than the operator gives, less than a cell needs, and no limits at all.

use crate::support::residue::{Residue, until_as_before};
use crate::support::{Keeper, OpenCell, SECOND, config, has_groups, send_spec, small};
use brig_jail::keeper::KeeperConfig;
use brig_jail::protocol::{CellLimits, KillReason, Level, MainExit, Request};
use brig_jail::remedy::item;
use std::io::Read;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

const CEILINGS: CellLimits = CellLimits {
    memory_bytes: 192 * MIB,
    processes: 24,
    cpu_millis: 700,
    workspace_bytes: 24 * MIB,
    workspace_files: 300,
    tmp_bytes: 8 * MIB,
    tmp_files: 200,
    shm_bytes: 4 * MIB,
    file_size_bytes: 3 * MIB,
    open_files: 77,
    cpu_time_nanos: 2 * SECOND,
};

const EVERYTHING: CellLimits = CellLimits {
    memory_bytes: u64::MAX,
    processes: u32::MAX,
    cpu_millis: u32::MAX,
    workspace_bytes: u64::MAX,
    workspace_files: u32::MAX,
    tmp_bytes: u64::MAX,
    tmp_files: u32::MAX,
    shm_bytes: u64::MAX,
    file_size_bytes: u64::MAX,
    open_files: u32::MAX,
    cpu_time_nanos: u64::MAX,
};

const NOTHING: CellLimits = CellLimits {
    memory_bytes: 0,
    processes: 0,
    cpu_millis: 0,
    workspace_bytes: 0,
    workspace_files: 0,
    tmp_bytes: 0,
    tmp_files: 0,
    shm_bytes: 0,
    file_size_bytes: 0,
    open_files: 0,
    cpu_time_nanos: 0,
};

/// One value of the cell's control groups, whichever version has it.
fn of_group(keeper: &Keeper, cell: &OpenCell, files: [&str; 2]) -> String {
    let bases = crate::support::residue::groups_named(&format!("-{}", keeper.child.id()));
    let group = format!("cell-{}", cell.number);
    let found = bases
        .iter()
        .flat_map(|base| files.map(|file| base.join(&group).join(file)));
    let text = found
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    text.expect("the group has its limit").trim().to_owned()
}

fn ceiling_config(name: &str) -> KeeperConfig {
    let mut config = config(name);
    config.ceilings = CEILINGS;
    config
}

pub fn the_largest_wishes_get_the_ceilings() {
    let mut keeper = Keeper::start(&ceiling_config("ceilings"));
    let groups = has_groups(&mut keeper);
    let mut cell = keeper.open(EVERYTHING).unwrap();
    if groups {
        let read = |files| of_group(&keeper, &cell, files);
        assert_eq!(
            read(["memory.max", "memory.limit_in_bytes"]),
            (192 * MIB).to_string()
        );
        assert_eq!(read(["pids.max", "pids.max"]), "24");
        let cpu = read(["cpu.max", "cpu.cfs_quota_us"]);
        assert_eq!(cpu.split(' ').next(), Some("70000"), "{cpu}");
    }
    let script = "ulimit -n; ulimit -f; ulimit -t; for place in /workspace /tmp /dev/shm; do \
                  stat -fc '%b %S %c' $place; done";
    keeper.begin(&mut cell, &["/bin/bash", "-c", script], u64::MAX, u64::MAX);
    let outcome = keeper.finish(cell);
    let size = |line: &str| -> (u64, u64) {
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        (numbers[0] * numbers[1], numbers[2])
    };
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "77", "{outcome:?}");
    assert_eq!(lines[1], (3 * MIB / 1024).to_string());
    assert!(lines[2].parse::<u64>().unwrap() <= 3, "{outcome:?}");
    // The directory itself is one more.
    assert_eq!(size(lines[3]), (24 * MIB, 301));
    assert_eq!(size(lines[4]), (8 * MIB, 201));
    assert_eq!(size(lines[5]).0, 4 * MIB);
}

pub fn wishes_of_nothing_hurt_only_themselves() {
    let mut keeper = Keeper::start(&config("nothing"));
    keeper.probe();
    let before = Residue::idle(&keeper);
    // A zero is no «no limit»: such a cell is not built, or runs into the wall at once.
    if let Ok(mut cell) = keeper.open_at(Level::Workstation, NOTHING) {
        keeper.begin(&mut cell, &["/bin/echo", "x"], SECOND, SECOND);
        let outcome = keeper.finish(cell);
        assert_ne!(outcome.facts.main, MainExit::Exited(0), "{outcome:?}");
    }
    keeper.await_no_cells();
    assert_eq!(keeper.job(&["/bin/echo", "x"], small()).stdout, "x\n");
    until_as_before(&keeper, &before, || {});
}

fn short_config(name: &str) -> KeeperConfig {
    let mut config = config(name);
    config.wall_ceiling_nanos = SECOND;
    config.lease_ceiling_nanos = SECOND / 2;
    config.ceilings.cpu_time_nanos = SECOND / 2;
    config
}

/// Starts a program with these times and gives why and when it was killed.
fn killed(keeper: &mut Keeper, argv: &[&str], times: [u64; 3]) -> (Option<KillReason>, Duration) {
    let mut cell = keeper.open(small()).unwrap();
    let begun = Instant::now();
    let [wall_nanos, cpu_nanos, lease_until_nanos] = times;
    let start = Request::Start {
        cell: cell.number,
        wall_nanos,
        cpu_nanos,
        lease_until_nanos,
    };
    keeper.link.send(&start).unwrap();
    send_spec(&mut cell, argv);
    let facts = keeper.await_end(cell.number);
    let took = begun.elapsed();
    keeper.release(cell.number);
    (facts.killed, took)
}

pub fn no_time_can_be_had_beyond_the_ceilings() {
    let mut keeper = Keeper::start(&short_config("times"));
    let groups = has_groups(&mut keeper);
    for most in [0, u64::MAX] {
        let (reason, took) = killed(&mut keeper, &["/bin/sleep", "60"], [most, most, most]);
        assert_eq!(reason, Some(KillReason::Lease), "{most}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        if groups {
            let mut long_lease = short_config("times-cpu");
            long_lease.lease_ceiling_nanos = 60 * SECOND;
            long_lease.wall_ceiling_nanos = 60 * SECOND;
            let mut keeper = Keeper::start(&long_lease);
            let busy = ["/bin/sh", "-c", "while :; do :; done"];
            let (reason, _) = killed(&mut keeper, &busy, [most, most, most]);
            assert_eq!(reason, Some(KillReason::CpuTime), "{most}");
        }
    }
}

pub fn a_program_without_a_word_to_the_keeper_ends_too() {
    let mut keeper = Keeper::start(&short_config("silent"));
    let mut cell = keeper.open(small()).unwrap();
    let begun = Instant::now();
    // The daemon holds the way into the cell. It need not tell the keeper when it uses it.
    send_spec(&mut cell, &["/bin/sh", "-c", "echo up; exec sleep 60"]);
    cell.stdout.read_exact(&mut [0; 3]).unwrap();
    let facts = keeper.await_end(cell.number);
    assert_eq!(facts.killed, Some(KillReason::Lease));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

pub fn a_second_start_and_renewals_do_not_move_the_wall_limit() {
    let mut keeper = Keeper::start(&config("twice"));
    let mut cell = keeper.open(small()).unwrap();
    keeper.start_deadlines(&cell, SECOND / 2, 0);
    send_spec(&mut cell, &["/bin/sleep", "60"]);
    let begun = Instant::now();
    for _ in 0..20 {
        keeper.start_deadlines(&cell, 60 * SECOND, 0);
        let renew = Request::Renew {
            cell: cell.number,
            lease_until_nanos: u64::MAX,
        };
        keeper.link.send(&renew).unwrap();
    }
    assert_eq!(keeper.await_end(cell.number).killed, Some(KillReason::WallTime));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

pub fn a_level_below_the_operators_is_raised() {
    let mut config = config("minimum");
    config.minimum_level = Level::Strict;
    let mut keeper = Keeper::start(&config);
    let (_, strict, _) = keeper.probe();
    match (strict, keeper.open_at(Level::Workstation, small())) {
        (None, Ok(cell)) => assert_eq!(cell.receipt.level, Level::Strict),
        (Some(missing), Err(failure)) => assert_eq!(missing, failure),
        (strict, opened) => panic!("{strict:?} {:?}", opened.map(|cell| cell.receipt)),
    }
}

pub fn no_more_cells_than_the_operator_allows() {
    let mut config = config("most");
    config.max_cells = 3;
    let mut keeper = Keeper::start(&config);
    let opened: Vec<_> = (0..8)
        .map(|_| keeper.open_at(Level::Workstation, small()))
        .collect();
    let refused = opened.iter().filter_map(|one| one.as_ref().err());
    assert!(
        refused
            .clone()
            .all(|failure| failure.item == item::TOO_MANY_CELLS)
    );
    assert_eq!((opened.iter().flatten().count(), refused.count()), (3, 5));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", keeper.child.id())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(
        words[3], words[4],
        "the soft limit of descriptors is the hard one"
    );
}
