//! Who does not read holds up nobody else.

use super::guest::{Guest, Silence, limits};
use brig_jail::container::flow::WINDOW;
use brig_jail::container::wire::{Down, DownChannel, Killed, Main, Start, Up, UpChannel};
use std::time::Duration;

pub const TESTS: &[(&str, fn())] = &[
    (
        "a_program_that_does_not_read_its_input_holds_up_nothing",
        unread_input,
    ),
    ("a_long_input_arrives_whole_as_the_program_takes_it", long_input),
    (
        "output_that_nobody_takes_stops_at_the_window_and_goes_on_when_it_is_taken",
        untaken_output,
    ),
    ("limits_hold_while_nobody_takes_the_output", limits_hold),
    (
        "one_stream_that_is_not_taken_leaves_the_others_alone",
        other_streams,
    ),
    (
        "a_program_hears_that_nobody_reads_a_channel_any_more",
        shut_channel,
    ),
    ("pid_1_stays_small_whatever_waits", memory),
];

const WHOLE: usize = WINDOW as usize;

fn unread_input() {
    let mut guest = Guest::start();
    guest.begin(limits(), &["/bin/sh", "-c", "echo here; sleep 0.2; exit 5"]);
    for _ in 0..4 {
        guest.data(DownChannel::Stdin, &vec![b'x'; WHOLE / 4]);
    }
    let ran = guest.finish();
    assert_eq!(
        (ran.stdout.as_str(), ran.ended.main),
        ("here\n", Main::Exited(5)),
        "{ran:?}"
    );
    // What it left is taken off: the daemon may go on, and hears no more of it than its credit.
    guest.data(
        DownChannel::Stdin,
        &vec![b'x'; guest.credit[&DownChannel::Stdin].left().min(1000)],
    );
    guest.say(&Down::Eof(DownChannel::Stdin));
    loop {
        match guest.hear(Duration::from_millis(200)) {
            Ok(Some(Up::Credit { .. })) => {}
            Err(Silence::Nothing) => return,
            other => panic!("{other:?}"),
        }
    }
}

fn shut_channel() {
    let mut guest = Guest::start();
    let tries = "trap '' PIPE; read go; echo lost 2>/dev/null || echo nobody reads >&2; exit 3";
    guest.begin(limits(), &["/bin/sh", "-c", tries]);
    guest.say(&Down::Shut(UpChannel::Stdout));
    guest.data(DownChannel::Stdin, b"go\n");
    let ran = guest.finish();
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str(), ran.ended.main),
        ("", "nobody reads\n", Main::Exited(3)),
        "{ran:?}"
    );
}

fn long_input() {
    const TOTAL: usize = 3_000_000;
    let mut guest = Guest::start();
    guest.begin(limits(), &["/bin/sh", "-c", "sleep 0.1; cksum; wc -c"]);
    let bytes: Vec<u8> = (0..TOTAL).map(|at| (at % 251) as u8).collect();
    let mut sent = 0;
    while sent < TOTAL {
        let left = guest.credit.entry(DownChannel::Stdin).or_default().left();
        if left == 0 {
            match guest.next() {
                Up::Credit { .. } => {}
                Up::Eof(UpChannel::Runner) => {}
                other => panic!("{other:?}"),
            }
            continue;
        }
        let part = left.min(TOTAL - sent).min(100_000);
        guest.data(DownChannel::Stdin, &bytes[sent..sent + part]);
        sent += part;
    }
    guest.say(&Down::Eof(DownChannel::Stdin));
    let ran = guest.finish();
    // POSIX cksum of these bytes, and their number; then nothing is left for wc.
    assert_eq!(ran.stdout, format!("{} {TOTAL}\n0\n", cksum(&bytes)), "{ran:?}");
}

/// POSIX: CRC-32 of the bytes and of their number, most significant bit first.
fn cksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: u8| {
        let mut sum = sum ^ (u32::from(byte) << 24);
        for _ in 0..8 {
            sum = if sum & (1 << 31) == 0 {
                sum << 1
            } else {
                (sum << 1) ^ 0x04c1_1db7
            };
        }
        sum
    };
    let mut sum = bytes.iter().fold(0, |sum, byte| step(sum, *byte));
    let mut length = bytes.len();
    while length > 0 {
        sum = step(sum, (length & 0xff) as u8);
        length >>= 8;
    }
    !sum
}

/// Data of one channel until nothing comes any more.
fn all_that_comes(guest: &mut Guest, channel: UpChannel) -> usize {
    let mut length = 0;
    loop {
        match guest.hear(Duration::from_millis(500)) {
            Ok(Some(Up::Data { channel: one, bytes })) if one == channel => length += bytes.len(),
            // A program that is no runner closes that channel when it starts.
            Ok(Some(Up::Eof(UpChannel::Runner))) => {}
            Err(Silence::Nothing) => return length,
            other => panic!("{other:?}"),
        }
    }
}

fn untaken_output() {
    let mut guest = Guest::start();
    guest.generous = false;
    guest.begin(limits(), &["/bin/sh", "-c", "yes | head -c 2000000; exit 6"]);
    assert_eq!(all_that_comes(&mut guest, UpChannel::Stdout), WHOLE);
    guest.be_generous();
    let ran = guest.finish();
    assert_eq!(
        (ran.stdout.len() + WHOLE, ran.ended.main),
        (2_000_000, Main::Exited(6))
    );
}

fn limits_hold() {
    let mut guest = Guest::start();
    guest.generous = false;
    let start = Start {
        wall_nanos: 800_000_000,
        ..limits()
    };
    guest.begin(start, &["/usr/bin/yes"]);
    assert_eq!(all_that_comes(&mut guest, UpChannel::Stdout), WHOLE);
    // It has been killed by now or soon; what was written is told first, so the end waits for whoever reads.
    guest.be_generous();
    let ran = guest.finish();
    assert_eq!(
        (ran.ended.main, ran.ended.killed),
        (Main::Signalled(9), Killed::Wall),
        "{:?}",
        ran.ended
    );
    assert!(ran.ended.wall_nanos < 3_000_000_000, "{:?}", ran.ended);
}

fn other_streams() {
    let mut guest = Guest::start();
    guest.generous = false;
    let script = "yes >&2 & sleep 0.4; echo still heard; sleep 100";
    guest.begin(limits(), &["/bin/sh", "-c", script]);
    let (mut errors, mut out) = (0, Vec::new());
    while out != b"still heard\n" {
        match guest.next() {
            Up::Data {
                channel: UpChannel::Stderr,
                bytes,
            } => errors += bytes.len(),
            Up::Data {
                channel: UpChannel::Stdout,
                bytes,
            } => out.extend(bytes),
            Up::Eof(UpChannel::Runner) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(errors, WHOLE);
    guest.data(DownChannel::Stdin, &vec![b'x'; WHOLE]);
    guest.say(&Down::Renew {
        lease_nanos: 200_000_000,
    });
    guest.be_generous();
    assert_eq!(guest.finish().ended.killed, Killed::Lease);
}

fn memory() {
    if super::guest::is_gvisor() {
        // It does not say in /proc how much a process has.
        return;
    }
    let mut guest = Guest::start();
    guest.generous = false;
    // Nothing is read anywhere, everything is full; then PID 1 is looked at from inside.
    let script = "yes >&2 & sleep 0.5; grep -E 'VmHWM|RssAnon' /proc/1/status; sleep 100";
    guest.begin(limits(), &["/bin/sh", "-c", script]);
    guest.data(DownChannel::Stdin, &vec![b'x'; WHOLE]);
    guest.data(DownChannel::Job, &vec![b'x'; 100_000]);
    let mut out = String::new();
    while !out.contains("VmHWM") {
        if let Up::Data {
            channel: UpChannel::Stdout,
            bytes,
        } = guest.next()
        {
            out.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    let line = out.lines().find(|line| line.contains("VmHWM")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    // The program itself, which is not the small one that is shipped, is most of it.
    assert!(kilobytes < 12_000, "{out}");
}
