//! Records: those that the protocol knows, in any order and number, and all others.

use crate::rounds;
use crate::support::residue::{Residue, groups_named, until_as_before};
use crate::support::{Keeper, PATIENCE, SECOND, config, send_spec, small};
use brig_jail::client::LinkError;
use brig_jail::protocol::{
    CellLimits, ImageDigest, KillReason, Level, Network, REQUEST_BYTES, Reply, Request,
};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Zero, one, something, and far too much.
fn times() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        1..SECOND / 4,
        Just(u64::MAX),
        Just(u64::MAX - 1)
    ]
}

/// Cells that exist, existed, will exist, never will.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..12_u64, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(16 << 20), Just(u64::MAX), any::<u64>()]
}

fn counts() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(64), Just(u32::MAX), any::<u32>()]
}

fn limits() -> impl Strategy<Value = CellLimits> {
    let wild = (
        (sizes(), counts(), counts(), sizes(), counts(), sizes()),
        (counts(), sizes(), sizes(), counts(), times()),
    );
    let wild = wild.prop_map(
        |((memory, processes, cpu, workspace, files, tmp), (tmp_files, shm, file, open, time))| CellLimits {
            memory_bytes: memory,
            processes,
            cpu_millis: cpu,
            workspace_bytes: workspace,
            workspace_files: files,
            tmp_bytes: tmp,
            tmp_files,
            shm_bytes: shm,
            file_size_bytes: file,
            open_files: open,
            cpu_time_nanos: time,
        },
    );
    prop_oneof![Just(small()), wild]
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::Strict), Just(Level::Workstation)]
}

fn open() -> impl Strategy<Value = Request> {
    let image = prop_oneof![6 => Just(ImageDigest::HOST), 1 => any::<[u8; 32]>().prop_map(ImageDigest)];
    (any::<u64>(), image, level(), limits()).prop_map(|(request, image, level, limits)| Request::Open {
        request,
        image,
        level,
        network: Network::None,
        limits,
    })
}

fn reason() -> impl Strategy<Value = KillReason> {
    prop_oneof![
        Just(KillReason::Cancelled),
        Just(KillReason::Abandoned),
        Just(KillReason::WallTime),
        Just(KillReason::Lease)
    ]
}

/// Every request but `Drain`, after which there is nothing more to try.
fn request() -> impl Strategy<Value = Request> {
    let start = (numbers(), times(), times(), times()).prop_map(
        |(cell, wall_nanos, cpu_nanos, lease_until_nanos)| Request::Start {
            cell,
            wall_nanos,
            cpu_nanos,
            lease_until_nanos,
        },
    );
    prop_oneof![
        2 => open(),
        2 => start,
        1 => (numbers(), times()).prop_map(|(cell, lease_until_nanos)| Request::Renew { cell, lease_until_nanos }),
        1 => (numbers(), reason()).prop_map(|(cell, reason)| Request::Kill { cell, reason }),
        2 => (any::<u64>(), numbers()).prop_map(|(request, cell)| Request::OpenFiles { request, cell }),
        1 => numbers().prop_map(|cell| Request::Release { cell }),
        1 => any::<u64>().prop_map(|request| Request::Probe { request }),
    ]
}

pub fn any_sequence_of_requests_leaves_a_keeper_that_answers_and_nothing_else() {
    let mut runner = TestRunner::new(Config {
        cases: rounds(24),
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let sequences = proptest::collection::vec(request(), 1..120);
    let tried = runner.run(&sequences, |sequence| {
        play(&sequence);
        Ok(())
    });
    tried.unwrap();
    assert_eq!(groups_named("brig-test-any-"), Vec::<PathBuf>::new());
}

fn play(sequence: &[Request]) {
    let mut config = config("any");
    config.max_cells = 6;
    let mut keeper = Keeper::start(&config);
    keeper.probe();
    let before = Residue::idle(&keeper);
    for (index, request) in sequence.iter().enumerate() {
        keeper.link.send(request).unwrap();
        // Sometimes read, sometimes not.
        if index % 7 == 0 {
            while let Some(answer) = keeper.link.recv().unwrap() {
                drop(answer);
            }
        }
    }
    // No cell has a number beyond what so many requests can make.
    let most = u64::try_from(sequence.len()).unwrap() + 2;
    for cell in 0..=most {
        keeper.link.send(&Request::Release { cell }).unwrap();
    }
    catch_up(&keeper);
    // Cells that were being built are released when they are there.
    until_as_before(&keeper, &before, || {
        while let Some((reply, _)) = keeper.link.recv().unwrap() {
            release_if_opened(&keeper, &reply);
        }
    });
    catch_up(&keeper);
    keeper.job(&["/bin/true"], small());
    assert_eq!(keeper.end(), 70);
}

/// Until the keeper has read and answered everything so far: it does so in order.
fn catch_up(keeper: &Keeper) {
    let last = 0x1a57;
    let question = Request::OpenFiles {
        request: last,
        cell: 0,
    };
    keeper.link.send(&question).unwrap();
    loop {
        let (reply, _) = keeper.reply();
        release_if_opened(keeper, &reply);
        if matches!(reply, Reply::Failed { request, .. } if request == last) {
            return;
        }
    }
}

fn release_if_opened(keeper: &Keeper, reply: &Reply) {
    if let Reply::Opened { cell, .. } = reply {
        keeper.link.send(&Request::Release { cell: *cell }).unwrap();
    }
}

/// A keeper with a cell whose program runs.
fn keeper_at_work(name: &str) -> (Keeper, crate::support::OpenCell) {
    let mut keeper = Keeper::start(&config(name));
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    keeper.start_deadlines(&cell, 60 * SECOND, 60 * SECOND);
    send_spec(&mut cell, &["/bin/sh", "-c", "echo up; exec sleep 60"]);
    cell.stdout.read_exact(&mut [0; 3]).unwrap();
    (keeper, cell)
}

/// The keeper ends by itself, and its cell with it.
fn assert_ended(mut keeper: Keeper, mut cell: crate::support::OpenCell) {
    loop {
        match keeper.link.recv_within(PATIENCE) {
            Ok(Some(_late)) => {}
            Ok(None) => panic!("the keeper goes on"),
            Err(LinkError::Closed) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(keeper.child.wait().unwrap().code(), Some(70));
    cell.stdout.read_to_end(&mut Vec::new()).unwrap();
}

pub fn whatever_is_no_request_ends_the_keeper_and_its_cells() {
    let mut runner = TestRunner::new(Config {
        cases: rounds(24),
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let lengths = prop_oneof![0..300_usize, Just(REQUEST_BYTES), Just(4_096), Just(60_000)];
    let noise = lengths.prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length));
    // One byte of a good record changed: padding, tags and words are fixed.
    let bent = (request(), 0..REQUEST_BYTES, any::<u8>()).prop_map(|(request, place, byte)| {
        let mut record = request.encode().to_vec();
        record[place] = byte;
        record
    });
    let tried = runner.run(&prop_oneof![noise, bent], |record| {
        let (keeper, cell) = keeper_at_work("noise");
        send(keeper.link.as_raw_fd(), &record, MsgFlags::MSG_NOSIGNAL).unwrap();
        if Request::decode(&record).is_some() {
            // It happens to be one: then it is answered or ignored like every other.
            drop(cell);
            keeper.end();
        } else {
            assert_ended(keeper, cell);
        }
        Ok(())
    });
    tried.unwrap();
    assert_eq!(groups_named("brig-test-noise-"), Vec::<PathBuf>::new());
}

pub fn half_a_socket_is_the_end() {
    for half in [Shutdown::Write, Shutdown::Read] {
        let (keeper, cell) = keeper_at_work("half");
        shutdown(keeper.link.as_raw_fd(), half).unwrap();
        // With the reading half closed the keeper notices when it answers.
        keeper.link.send(&Request::OpenFiles { request: 1, cell: 0 }).ok();
        let Keeper { link, mut child, .. } = keeper;
        assert_eq!(child.wait().unwrap().code(), Some(70), "{half:?}");
        drop((link, cell));
    }
}
