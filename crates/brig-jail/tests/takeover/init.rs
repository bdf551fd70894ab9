//! A PID 1 that lies. The keeper treats it as hostile from its first record on, although it executed the program itself.

use crate::support::residue::{Residue, children, until, until_as_before};
use crate::support::{Keeper, SECOND, config, stretched};
use brig_jail::control::{CONTROL_FD, FROM_INIT_BYTES, FromInit, KilledBy, READY_DESCRIPTORS};
use brig_jail::protocol::{CellLimits, CellNumber, ImageDigest, KillReason, Level, Network, Reply, Request};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, recv, sendmsg};
use nix::unistd::{ForkResult, fork, pause};
use std::io::{IoSlice, Write};
use std::os::fd::RawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::time::{Duration, Instant};

/// What the liar does. Its number is the last byte of its program: it has no argument and no environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Lie {
    // Before the cell is complete.
    Noise,
    Short,
    ReadyWithNothing,
    ReadyWithTooMany,
    EndedAtOnce,
    ForkedTwice,
    // After.
    ForkedAgain,
    ReadyAgain,
    EndedForEver,
    NoiseForEver,
    // Believable.
    EndedAndAlive,
}

const EARLY: [Lie; 6] = [
    Lie::Noise,
    Lie::Short,
    Lie::ReadyWithNothing,
    Lie::ReadyWithTooMany,
    Lie::EndedAtOnce,
    Lie::ForkedTwice,
];
const LATE: [Lie; 4] = [
    Lie::ForkedAgain,
    Lie::ReadyAgain,
    Lie::EndedForEver,
    Lie::NoiseForEver,
];

/// In a process that a keeper executed as PID 1 of a cell: never returns.
pub fn be_hostile_init_if_executed_as_one() {
    if std::env::args().next().as_deref() != Some("brig-jail-init") {
        return;
    }
    let program = std::fs::read("/proc/self/exe").unwrap_or_default();
    let all = EARLY.into_iter().chain(LATE).chain([Lie::EndedAndAlive]);
    if let Some(lie) = all.into_iter().find(|lie| Some(&(*lie as u8)) == program.last()) {
        lie_about_it(lie);
    }
    std::process::exit(9);
}

const ENDED: FromInit = FromInit::Ended {
    wait_status: 0,
    cpu_nanos: u64::MAX,
    max_rss_bytes: u64::MAX,
    leftovers: u32::MAX,
    killed_by: KilledBy::Nobody,
};

const READY: FromInit = FromInit::Ready {
    landlock_abi: 255,
    landlock_full: true,
    listener: false,
    main_pid: 0,
};

fn lie_about_it(lie: Lie) {
    match lie {
        Lie::Noise => say(&[0xff; FROM_INIT_BYTES], &[]),
        Lie::Short => say(&[1], &[]),
        Lie::ReadyWithNothing => say(&READY.encode(), &[]),
        Lie::ReadyWithTooMany => say(&READY.encode(), &[0; 253]),
        Lie::EndedAtOnce => say(&ENDED.encode(), &[]),
        Lie::ForkedTwice => {
            say(&FromInit::Forked.encode(), &[]);
            say(&FromInit::Forked.encode(), &[]);
        }
        Lie::ForkedAgain | Lie::ReadyAgain | Lie::EndedForEver | Lie::NoiseForEver | Lie::EndedAndAlive => {
            complete();
            after_completion(lie);
        }
    }
    loop {
        pause();
    }
}

/// As the real one, without a jail.
fn complete() {
    // SAFETY: this process has one thread; the child only waits.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        loop {
            pause();
        }
    }
    say(&FromInit::Forked.encode(), &[]);
    recv(CONTROL_FD, &mut vec![0; 1 << 20], MsgFlags::empty()).ok();
    say(&READY.encode(), &[0; READY_DESCRIPTORS]);
}

fn after_completion(lie: Lie) {
    match lie {
        Lie::ForkedAgain => flood(&FromInit::Forked.encode(), &[]),
        Lie::ReadyAgain => flood(&READY.encode(), &[0; READY_DESCRIPTORS]),
        Lie::NoiseForEver => flood(&[7; FROM_INIT_BYTES], &[]),
        Lie::EndedForEver => flood(&ENDED.encode(), &[]),
        // Says that everything is over, and goes on.
        _ => {
            say(&ENDED.encode(), &[]);
            loop {
                std::hint::spin_loop();
            }
        }
    }
}

fn flood(record: &[u8], descriptors: &[RawFd]) {
    loop {
        say(record, descriptors);
    }
}

fn say(record: &[u8], descriptors: &[RawFd]) {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &rights };
    sendmsg::<UnixAddr>(
        CONTROL_FD,
        &[IoSlice::new(record)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .ok();
}

/// A keeper whose cells have this liar as PID 1.
fn keeper_with(lie: Lie, directory: &tempfile::TempDir) -> Keeper {
    let path = directory.path().join("init");
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    program.push(lie as u8);
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(&path)
        .unwrap()
        .write_all(&program)
        .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = config("liar");
    config.wall_ceiling_nanos = 5 * SECOND;
    Keeper::start_with(&config, &path, &[])
}

fn ask(keeper: &Keeper, request: u64) {
    let open = Request::Open {
        request,
        image: ImageDigest::HOST,
        level: Level::Workstation,
        network: Network::None,
        limits: CellLimits::DEFAULT,
    };
    keeper.link.send(&open).unwrap();
}

/// Answers a question at once, whatever its cells do.
fn assert_answers(keeper: &Keeper) {
    let begun = Instant::now();
    keeper
        .link
        .send(&Request::OpenFiles { request: 99, cell: 0 })
        .unwrap();
    let (reply, _) = keeper.reply();
    assert!(matches!(reply, Reply::Failed { request: 99, .. }), "{reply:?}");
    assert!(
        begun.elapsed() < stretched(Duration::from_secs(1)),
        "{:?}",
        begun.elapsed()
    );
}

fn release(keeper: &Keeper, cell: CellNumber) {
    keeper.link.send(&Request::Release { cell }).unwrap();
    loop {
        match keeper.reply().0 {
            Reply::Released { cell: released } => return assert_eq!(released, cell),
            Reply::Ended { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

pub fn a_first_process_that_breaks_the_protocol_loses_its_cell_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    for lie in EARLY.into_iter().chain(LATE).chain([Lie::EndedAndAlive]) {
        let keeper = keeper_with(lie, &directory);
        keeper
            .link
            .send(&Request::OpenFiles { request: 1, cell: 0 })
            .unwrap();
        keeper.reply();
        let before = Residue::of(&keeper);
        ask(&keeper, 7);
        match keeper.reply().0 {
            Reply::Failed { request: 7, .. } => assert!(EARLY.contains(&lie), "{lie:?} was no cell"),
            Reply::Opened { request: 7, cell, .. } => {
                assert!(!EARLY.contains(&lie), "{lie:?} was taken for a cell");
                let (reply, _) = keeper.reply();
                let Reply::Ended { facts, .. } = reply else {
                    panic!("{lie:?}: {reply:?}");
                };
                let expected: &[Option<KillReason>] = match lie {
                    Lie::EndedAndAlive => &[None],
                    // What it said second may be heard before the first is told.
                    Lie::EndedForEver => &[None, Some(KillReason::Abandoned)],
                    // Where the kernel refuses descriptors that nobody asked for, its later records never arrive: it is
                    // as one that says nothing, and ends at the ceiling.
                    Lie::ReadyAgain => &[Some(KillReason::Abandoned), Some(KillReason::Lease)],
                    _ => &[Some(KillReason::Abandoned)],
                };
                assert!(expected.contains(&facts.killed), "{lie:?}: {facts:?}");
                // It is not released yet, and dies all the same.
                until("the liar is dead", || children(keeper.child.id()).is_empty());
                release(&keeper, cell);
            }
            other => panic!("{lie:?}: {other:?}"),
        }
        assert_answers(&keeper);
        until_as_before(&keeper, &before, || {});
        assert_eq!(keeper.end(), 70);
    }
}

pub fn a_first_process_that_floods_delays_no_other_cell() {
    let directory = tempfile::tempdir().unwrap();
    for lie in [Lie::NoiseForEver, Lie::ReadyAgain, Lie::EndedForEver] {
        let keeper = keeper_with(lie, &directory);
        for request in 0..6 {
            ask(&keeper, request);
        }
        let mut cells = Vec::new();
        let mut ended = 0;
        while cells.len() < 6 || ended < 6 {
            match keeper.reply().0 {
                Reply::Opened { cell, .. } => cells.push(cell),
                Reply::Ended { .. } => ended += 1,
                other => panic!("{lie:?}: {other:?}"),
            }
        }
        assert_answers(&keeper);
        cells.into_iter().for_each(|cell| release(&keeper, cell));
        assert_eq!(keeper.end(), 70);
    }
}
