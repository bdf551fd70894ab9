//! More requests than anybody can answer.

use crate::rounds;
use crate::support::residue::{groups_named, until};
use crate::support::{Keeper, SECOND, config, send_spec, small};
use brig_jail::client::LinkError;
use brig_jail::protocol::{KillReason, Level, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Most memory that the keeper ever had, KiB.
fn peak(keeper: &Keeper) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", keeper.child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Waits for room in the socket; whether it still has another end.
fn room(keeper: &Keeper) -> bool {
    let mut wait = [PollFd::new(keeper.link.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wait, PollTimeout::from(20_000_u16)).unwrap();
    !wait[0].revents().unwrap().contains(PollFlags::POLLHUP)
}

/// Sends so many, as fast as the keeper takes them. How many it took before it hung up.
fn flood(keeper: &Keeper, count: u32, request: impl Fn(u32) -> Request) -> u32 {
    for index in 0..count {
        loop {
            match keeper.link.send(&request(index)) {
                Ok(()) => break,
                Err(LinkError::Full) if room(keeper) => {}
                Err(LinkError::Full | LinkError::Closed) => return index,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    count
}

pub fn a_flood_without_answers_delays_no_deadline() {
    let mut keeper = Keeper::start(&config("stream"));
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    let before = peak(&keeper);
    keeper.start_deadlines(&cell, SECOND, 60 * SECOND);
    send_spec(&mut cell, &["/bin/sleep", "60"]);
    let begun = Instant::now();
    // Until long after the deadline; at least as many as a program would call a flood.
    let mut sent = 0;
    while sent < rounds(100_000) || begun.elapsed() < Duration::from_secs(2) {
        sent += flood(&keeper, 10_000, |index| match index % 3 {
            0 => Request::Renew {
                cell: 0,
                lease_until_nanos: 1,
            },
            1 => Request::Kill {
                cell: u64::from(index) + 100,
                reason: KillReason::Abandoned,
            },
            _ => Request::Start {
                cell: u64::MAX,
                wall_nanos: 0,
                cpu_nanos: 0,
                lease_until_nanos: 0,
            },
        });
    }
    let facts = keeper.await_end(cell.number);
    assert_eq!(facts.killed, Some(KillReason::WallTime));
    let late = facts.wall_nanos - SECOND;
    assert!(late < SECOND / 2, "{late} ns late");
    assert!(
        peak(&keeper) < before + 4_096,
        "{before} KiB, then {}",
        peak(&keeper)
    );
    assert_eq!(keeper.end(), 70);
}

pub fn a_flood_whose_answers_nobody_reads_ends_the_keeper_within_bounds() {
    let mut keeper = Keeper::start(&config("unread"));
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    keeper.start_deadlines(&cell, 60 * SECOND, 60 * SECOND);
    send_spec(&mut cell, &["/bin/sleep", "60"]);
    let before = peak(&keeper);
    let mut most = before;
    let mut taken = 0;
    for _ in 0..100 {
        let part = flood(&keeper, 1_000, |index| Request::OpenFiles {
            request: index.into(),
            cell: 0,
        });
        taken += part;
        if part < 1_000 {
            break;
        }
        most = most.max(peak(&keeper));
    }
    assert!(taken < 100_000, "the keeper answered a flood that nobody reads");
    assert!(most < before + 8_192, "{before} KiB, then {most}");
    let Keeper { link, mut child, .. } = keeper;
    assert_eq!(child.wait().unwrap().code(), Some(70));
    drop((link, cell));
    until("no group is left", || {
        groups_named("brig-test-unread-") == Vec::<PathBuf>::new()
    });
}
