//! How a job ends, and what is told of it.

use super::guest::{Guest, PATIENCE, SECOND, Silence, is_gvisor, limits, python, run, shell, spec};
use brig_jail::container::wire::{Down, DownChannel, Killed, Main, Start, Up, UpChannel};
use brig_jail::exec_spec::RunnerChannel;
use std::io::Write;
use std::time::{Duration, Instant};

pub const TESTS: &[(&str, fn())] = &[
    ("a_command_runs_and_its_streams_and_code_come_out", a_command_runs),
    (
        "python_reads_its_input_and_a_runner_its_channel",
        python_and_its_runner,
    ),
    (
        "a_command_that_is_not_there_is_127_and_one_that_cannot_run_126",
        not_there,
    ),
    (
        "nonsense_instead_of_a_program_is_a_stub_that_gave_up",
        nonsense_for_the_stub,
    ),
    (
        "the_status_of_the_main_process_is_told_and_not_that_of_a_child",
        whose_status,
    ),
    ("what_was_written_before_death_comes_before_the_end", last_output),
    (
        "processes_that_outlive_the_program_are_killed_counted_and_hold_nothing_up",
        leftovers,
    ),
    ("the_wall_limit_ends_everything_and_is_named", wall),
    (
        "a_lease_that_is_not_renewed_ends_the_job_and_a_renewal_keeps_it",
        lease,
    ),
    (
        "a_program_that_ended_before_its_limit_was_not_killed_by_it",
        just_in_time,
    ),
    ("the_end_of_the_stream_ends_everything", end_of_stream),
    (
        "a_crowd_of_processes_that_ignore_signals_and_stop_themselves_is_gone_at_the_end",
        crowd,
    ),
    ("cpu_and_wall_time_are_those_of_the_job", times),
];

fn a_command_runs() {
    let ran = shell("echo out; echo err >&2; exit 7");
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n"),
        "{ran:?}"
    );
    assert_eq!((ran.ended.main, ran.ended.killed), (Main::Exited(7), Killed::No));
    assert_eq!(ran.ended.leftovers_killed, 0);
}

fn python_and_its_runner() {
    let mut guest = Guest::start();
    guest.order(limits());
    let program = "
import os, sys
code = b''
while True:
    part = os.read(3, 100)
    if not part: break
    code += part
os.write(4, b'answer to ' + code)
print(sys.stdin.read().upper())
";
    let spec = spec(&["/usr/bin/python3", "-I", "-c", program], RunnerChannel::Keep);
    guest.data(DownChannel::Job, &spec.encode().unwrap());
    guest.data(DownChannel::Job, b"the question");
    guest.data(DownChannel::Stdin, b"some input");
    guest.say(&Down::Eof(DownChannel::Stdin));
    guest.say(&Down::Eof(DownChannel::Job));
    guest.started();
    let ran = guest.finish();
    assert_eq!(
        (ran.stdout.as_str(), ran.runner.as_slice()),
        ("SOME INPUT\n", &b"answer to the question"[..]),
        "{ran:?}"
    );
    assert_eq!(ran.ended.main, Main::Exited(0));
}

fn not_there() {
    let ran = run(&["no-such-tool"]);
    assert_eq!(ran.ended.main, Main::Exited(127), "{ran:?}");
    assert_eq!(ran.stderr, "brig: no-such-tool: command not found\n");
    let ran = run(&["/etc/passwd"]);
    assert_eq!(ran.ended.main, Main::Exited(126), "{ran:?}");
}

fn nonsense_for_the_stub() {
    let mut guest = Guest::start();
    guest.order(limits());
    guest.data(DownChannel::Job, b"\xff\xff\xff\xff");
    guest.started();
    assert_eq!(guest.finish().ended.main, Main::Exited(254));
    // A daemon that has nothing to say.
    let mut guest = Guest::start();
    guest.order(limits());
    guest.say(&Down::Eof(DownChannel::Job));
    guest.started();
    assert_eq!(guest.finish().ended.main, Main::Exited(254));
}

fn whose_status() {
    assert_eq!(shell("kill -9 $$").ended.main, Main::Signalled(9));
    assert_eq!(shell("kill -11 $$").ended.main, Main::Signalled(11));
    assert_eq!(shell("exit 255").ended.main, Main::Exited(255));
    let ran = shell("sh -c 'kill -9 $$'; exit 3");
    assert_eq!(ran.ended.main, Main::Exited(3), "{ran:?}");
    // Orphans of the program are children of PID 1, and still not the program.
    let ran = shell("(sh -c 'sleep 0.05; kill -9 $$' &); sleep 0.3; exit 4");
    assert_eq!(
        (ran.ended.main, ran.ended.leftovers_killed),
        (Main::Exited(4), 0),
        "{ran:?}"
    );
}

fn last_output() {
    // As much as a pipe takes at the most, and then an end that flushes nothing.
    let ran = python(
        "import fcntl, os, signal\n\
         fcntl.fcntl(1, 1031, 1 << 20)\n\
         os.write(1, b'x' * 1000000)\n\
         os.write(2, b'last words')\n\
         os.kill(os.getpid(), signal.SIGKILL)",
    );
    assert_eq!((ran.stdout.len(), ran.stderr.as_str()), (1_000_000, "last words"));
    assert_eq!(
        (ran.ended.main, ran.ended.killed),
        (Main::Signalled(9), Killed::No)
    );
}

fn leftovers() {
    let begun = Instant::now();
    // Both hold the program's own output, one in a session of its own, one stopped.
    let ran = shell(
        "trap '' HUP; setsid sh -c 'echo from the other; sleep 100' & sh -c 'kill -STOP $$' & sleep 0.3; echo done",
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["done", "from the other"], "{ran:?}");
    assert_eq!((ran.ended.main, ran.ended.killed), (Main::Exited(0), Killed::No));
    // The shell of the other session, its sleep, and the stopped one.
    assert!((2..=3).contains(&ran.ended.leftovers_killed), "{ran:?}");
}

fn wall() {
    let mut guest = Guest::start();
    let start = Start {
        wall_nanos: 400_000_000,
        ..limits()
    };
    guest.begin(
        start,
        &[
            "/bin/sh",
            "-c",
            "trap '' TERM INT HUP; echo up; setsid sleep 100 & while :; do kill -STOP $$; done",
        ],
    );
    let ran = guest.finish();
    assert_eq!(
        (ran.ended.main, ran.ended.killed),
        (Main::Signalled(9), Killed::Wall),
        "{ran:?}"
    );
    assert_eq!((ran.stdout.as_str(), ran.ended.leftovers_killed), ("up\n", 0));
    assert!(
        (SECOND * 4 / 10..SECOND * 4).contains(&ran.ended.wall_nanos),
        "{ran:?}"
    );
}

fn lease() {
    let mut guest = Guest::start();
    let start = Start {
        lease_nanos: 300_000_000,
        ..limits()
    };
    guest.begin(start, &["/bin/sleep", "100"]);
    guest.say(&Down::Renew {
        lease_nanos: 900_000_000,
    });
    let ran = guest.finish();
    assert_eq!(
        (ran.ended.main, ran.ended.killed),
        (Main::Signalled(9), Killed::Lease),
        "{ran:?}"
    );
    assert!(ran.ended.wall_nanos >= 850_000_000, "{ran:?}");
}

fn just_in_time() {
    // Stopped while the program ends and its limit passes: what counts is what happened to the program.
    let mut guest = Guest::start();
    let start = Start {
        wall_nanos: 20 * SECOND,
        lease_nanos: 20 * SECOND,
        ..limits()
    };
    guest.begin(start, &["/bin/true"]);
    let ran = guest.finish();
    assert_eq!(
        (ran.ended.main, ran.ended.killed),
        (Main::Exited(0), Killed::No),
        "{ran:?}"
    );
    // The deadlines are gone with the job.
    guest.say(&Down::Renew { lease_nanos: 1 });
    assert_eq!(guest.hear(Duration::from_millis(300)), Err(Silence::Nothing));
}

fn end_of_stream() {
    for script in [
        "sleep 1000",
        "trap '' TERM HUP; setsid sleep 1000 & while :; do kill -STOP $$; done",
    ] {
        let mut guest = Guest::start();
        guest.begin(limits(), &["/bin/sh", "-c", script]);
        guest.input.take().unwrap().flush().unwrap();
        while let Some(frame) = guest.hear(PATIENCE).unwrap() {
            // What came before, and no end of a job: nothing is told to nobody.
            assert!(matches!(frame, Up::Eof(UpChannel::Runner)), "{script}: {frame:?}");
        }
        let code = guest.process.wait().unwrap().code();
        assert_eq!(code, Some(0), "{script}");
    }
    // Before any order, too.
    let mut guest = Guest::start();
    drop(guest.input.take());
    assert_eq!(guest.hear(PATIENCE), Ok(None));
}

fn crowd() {
    let program = "
import os, signal
for number in range(MANY):
    if os.fork() == 0:
        os.setsid()
        for one in range(1, 32):
            try: signal.signal(one, signal.SIG_IGN)
            except OSError: pass
        if number % 3 == 0: os.kill(os.getpid(), signal.SIGSTOP)
        if number % 3 == 1 and os.fork() > 0: os._exit(0)
        while True: signal.pause()
print('up', flush=True)
";
    let many = if is_gvisor() { "24" } else { "120" };
    let ran = python(&program.replace("MANY", many));
    assert_eq!(
        (ran.stdout.as_str(), ran.ended.main),
        ("up\n", Main::Exited(0)),
        "{ran:?}"
    );
    let least = if is_gvisor() { 16 } else { 80 };
    assert!(ran.ended.leftovers_killed >= least, "{ran:?}");
}

fn times() {
    let ran = python(
        "import time, os\n\
         if os.fork() == 0:\n\
         \x20   end = time.process_time() + 0.4\n\
         \x20   while time.process_time() < end: pass\n\
         \x20   os._exit(0)\n\
         os.wait(); time.sleep(0.3)",
    );
    assert!(
        (SECOND * 4 / 10..SECOND * 5).contains(&ran.ended.cpu_nanos),
        "{ran:?}"
    );
    assert!(ran.ended.wall_nanos >= SECOND * 65 / 100, "{ran:?}");
    // Files before the job are not counted to it.
    let mut guest = Guest::start();
    guest.files(&[]);
    guest.begin(limits(), &["/bin/true"]);
    let ran = guest.finish();
    assert!(ran.ended.cpu_nanos < SECOND, "{ran:?}");
    assert_ne!(guest.hear(Duration::from_millis(50)), Ok(Some(Up::Started)));
}
