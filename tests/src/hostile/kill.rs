//! Kill means dead: programs that try to outlive their limit. Each is gone half a second after it, every process of it,
//! by the keeper's clock and by the eyes of a witness outside.

use super::{Arm, Check};
use crate::cell::{Bench, Run};
use crate::modes::Need;
use crate::seen::Seen;
use crate::slack::{factor, stretched_ms};
use crate::witness::{self, LATE, MARKER, Testimony, Witness};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// What a job gets to make its arrangements in.
const WALL_MS: u32 = 2_000;

macro_rules! outlive {
    ($id:literal, $title:literal, $body:expr) => {
        Check {
            id: $id,
            title: $title,
            needs: &[Need::HarnessRoot],
            body: $body,
            arm: Arm::Within,
        }
    };
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P-20",
        title: "PID 1 keeps its place whatever the program calls, and sixty spinners are gone in time",
        needs: &[Need::HarnessRoot],
        body: demoting,
        arm: Arm::Shows(demoted),
    },
    outlive!(
        "P-21",
        "as many spinning processes or threads as allowed are gone in time",
        |bench| {
            outlived(bench, &Try::of("outlive_by_spinning.py", &["processes"]))?;
            outlived(bench, &Try::of("outlive_by_spinning.py", &["threads"]))
        }
    ),
    outlive!(
        "P-22",
        "stopped processes are gone in time, and such as are stopped and continued",
        |bench| {
            outlived(bench, &Try::of("outlive_by_stopping.py", &["all"]))?;
            outlived(bench, &Try::of("outlive_by_stopping.py", &["others"]))
        }
    ),
    outlive!(
        "P-23",
        "a program that lives at the brim of its memory is gone in time",
        brim
    ),
    outlive!(
        "P-24",
        "holders of every descriptor, full pipe and socket are gone in time",
        |bench| { outlived(bench, &Try::of("outlive_with_handles.py", &[])) }
    ),
    outlive!(
        "P-25",
        "what forks, executes or vforks without end is gone in time",
        |bench| {
            for kind in ["fork", "exec", "vfork"] {
                outlived(bench, &Try::of("outlive_by_forking.py", &[kind, "16"]))?;
            }
            Ok(())
        }
    ),
    outlive!("P-26", "waits in the kernel are no hiding place", |bench| {
        outlived(bench, &Try::of("outlive_in_waits.py", &[]))
    }),
    outlive!(
        "P-27",
        "zombies, orphans and processes without a first thread are gone in time",
        |bench| { outlived(bench, &Try::of("outlive_as_zombies.py", &[])) }
    ),
    outlive!(
        "P-28",
        "15,000 files and 160 MiB in memory hold nothing up",
        |bench| {
            let most = ["--workspace", "256MiB"];
            let wished = Try::of("outlive_with_files.py", &["15000", "160"]);
            let seen = outlive(bench, &wished.with(&most).lasting(3 * WALL_MS))?;
            ensure!(
                seen.number("files")? >= 15_000.0 && seen.number("megabytes")? >= 160.0,
                "the disk was not full{}",
                seen.told()
            );
            Ok(())
        }
    ),
    outlive!(
        "P-29",
        "many processes with many mappings are gone in time",
        mappings
    ),
    outlive!("P-30", "a deep chain of sessions is gone in time", |bench| {
        outlived(bench, &Try::of("outlive_in_a_tree.py", &[]))
    }),
    outlive!(
        "P-31",
        "a flood that still fills every pipe at the deadline holds nothing up",
        |bench| {
            let most = ["--output-limit", "1GiB"];
            outlived(bench, &Try::of("outlive_while_flooding.py", &["0.5"]).with(&most))
        }
    ),
    outlive!("P-32", "everything at once is gone in time", |bench| {
        outlived(bench, &Try::of("outlive_by_everything.py", &[]))
    }),
    outlive!(
        "P-33",
        "a cancelled program is gone in time, whatever it does",
        cancelled
    ),
    outlive!("P-34", "at the CPU limit everything is gone in time", cpu_limit),
    outlive!(
        "P-35",
        "at the output limit everything is gone in time",
        output_limit
    ),
];

/// One attempt to outlive a limit.
struct Try<'a> {
    program: &'a str,
    arguments: Vec<&'a str>,
    options: Vec<&'a str>,
    wall_ms: u32,
}

impl<'a> Try<'a> {
    fn of(program: &'a str, arguments: &[&'a str]) -> Self {
        Self {
            program,
            arguments: arguments.to_vec(),
            options: Vec::new(),
            wall_ms: WALL_MS,
        }
    }

    fn with(mut self, options: &[&'a str]) -> Self {
        self.options = options.to_vec();
        self
    }

    fn lasting(mut self, wall_ms: u32) -> Self {
        self.wall_ms = wall_ms;
        self
    }

    /// The run, with a marker that its processes are known by.
    fn run<'b>(&self, bench: &'b Bench, marker: &str, timeout: &str) -> Run<'b> {
        bench
            .program(self.program)
            .args(&[&[marker], self.arguments.as_slice()].concat())
            .options(&["--env", &format!("{MARKER}={marker}")])
            .options(&["--timeout", timeout])
            .options(&self.options)
    }
}

fn outlived(bench: &Bench, wished: &Try<'_>) -> Result<()> {
    outlive(bench, wished).map(drop)
}

/// Runs it to its wall-clock limit, and asserts that it was armed before and nothing of it was alive half a second
/// after.
fn outlive(bench: &Bench, wished: &Try<'_>) -> Result<Seen> {
    let (seen, testimony) = watched(bench, wished)?;
    if in_time(bench, wished, &seen, &testimony).is_ok() {
        return Ok(seen);
    }
    // A machine that is busy with other things can make it late once. A fault makes it late every time.
    let (seen, testimony) = watched(bench, wished)?;
    in_time(bench, wished, &seen, &testimony)?;
    Ok(seen)
}

/// Runs it to its wall-clock limit before the eyes of a witness.
fn watched(bench: &Bench, wished: &Try<'_>) -> Result<(Seen, Testimony)> {
    // Making the arrangements takes longer on a slow machine; being killed may, too.
    let wall = wished.wall_ms * factor();
    let marker = bench.marker();
    let run = wished.run(bench, &marker, &format!("{wall}ms")).start()?;
    let witness = Witness::of(&marker);
    let seen = run.finish();
    let testimony = witness.testify()?;
    let seen = seen?;
    seen.timed_out("wall")?;
    was_armed(&seen)?;
    Ok((seen, testimony))
}

/// The program was at its work when the limit came.
fn was_armed(seen: &Seen) -> Result<()> {
    ensure!(
        seen.number("armed")? >= 1.0,
        "the limit came before it was ready{}",
        seen.told()
    );
    Ok(())
}

/// One line of figures for whoever wants them.
fn tell(bench: &Bench, wished: &Try<'_>, late: f64, outside: f64, most: usize) {
    let Some(path) = std::env::var_os("BRIG_TESTS_FIGURES") else {
        return;
    };
    let line = format!(
        "{}\t{} {}\t{late:.0}\t{outside:.0}\t{most}\n",
        bench.mode.name(),
        wished.program,
        wished.arguments.join(" ")
    );
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
        .ok();
}

fn demoting(bench: &Bench) -> Result<()> {
    let wished = Try::of("outlive_by_demoting.py", &[]);
    let (seen, testimony) = watched(bench, &wished)?;
    let reached: Vec<&str> = seen
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("REACHED "))
        .collect();
    ensure!(reached.is_empty(), "had their effect: {reached:?}{}", seen.told());
    let places = &testimony.first_process;
    ensure!(
        places.len() == 1 && places.iter().all(|place| place.ends_with(ORDINARY_CLASS)),
        "PID 1 was moved: {places:?}{}",
        seen.told()
    );
    if in_time(bench, &wished, &seen, &testimony).is_ok() {
        return Ok(());
    }
    outlived(bench, &wished)
}

/// How [`Testimony::first_process`] says that a process has not been given another class.
const ORDINARY_CLASS: &str = "policy 0";

/// Without the filter the same calls take PID 1 its place.
fn demoted(bench: &Bench) -> Result<()> {
    let wished = Try::of("outlive_by_demoting.py", &[]);
    let marker = bench.marker();
    let run = wished.run(bench, &marker, "3s").without(&["seccomp"]).start()?;
    let witness = Witness::of(&marker);
    let seen = run.report();
    let testimony = witness.testify()?;
    let seen = seen?;
    seen.reached("idle_1")?;
    ensure!(
        testimony
            .first_process
            .iter()
            .any(|place| !place.ends_with(ORDINARY_CLASS)),
        "PID 1 kept its place: {:?}{}",
        testimony.first_process,
        seen.told()
    );
    Ok(())
}

/// Gone soon enough by both clocks, and not before its time: until then it has been seen alive.
fn in_time(bench: &Bench, wished: &Try<'_>, seen: &Seen, testimony: &Testimony) -> Result<()> {
    let limit = f64::from(wished.wall_ms * factor());
    let late = seen.usage("wall_ms")? - limit;
    let outside = millis(testimony.lived()?) - limit;
    tell(bench, wished, late, outside, testimony.most);
    let early = late < -1.0 || outside < -stretched_ms(millis(LATE));
    ensure!(
        !early,
        "{late} ms by the keeper's clock, {outside} ms outside{}",
        seen.told()
    );
    let later = late.max(outside).max(0.0) / 1_000.0;
    witness::in_time(bench.mode, Duration::from_secs_f64(later)).with_context(|| {
        format!(
            "{late} ms after the limit by the keeper's clock, {outside} ms as seen from outside{}",
            seen.told()
        )
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Where memory is counted for all processes together, they share it and are killed for it; where not, each has its
/// own, and the machine must not suffer.
fn brim(bench: &Bench) -> Result<()> {
    let options = ["--memory", "256MiB", "--workspace", "64MiB"];
    let hogs = if bench.mode.has_cgroup() { "6" } else { "1" };
    for megabytes in ["192", "300"] {
        let wished = Try::of("outlive_at_the_brim.py", &[megabytes, hogs]).with(&options);
        outlived(bench, &wished.lasting(2 * WALL_MS))?;
    }
    Ok(())
}

/// 200,000 mappings in few processes, 100,000 in many: the kernel takes each apart, a microsecond or two for every one.
fn mappings(bench: &Bench) -> Result<()> {
    let few = Try::of("outlive_with_mappings.py", &["3", "25000"]);
    outlived(bench, &few.with(&["--memory", "1GiB"]).lasting(2 * WALL_MS))?;
    let many = Try::of("outlive_with_mappings.py", &["500", "100"]);
    outlived(
        bench,
        &many
            .with(&["--memory", "1GiB", "--pids", "512"])
            .lasting(2 * WALL_MS),
    )
}

/// The caller's SIGINT ends an embedded job, `brig cancel` and a lost caller a served one: here the first word of all
/// of them, the signal to `brig run`.
fn cancelled(bench: &Bench) -> Result<()> {
    for wished in [
        Try::of("outlive_by_spinning.py", &["processes"]),
        Try::of("outlive_by_forking.py", &["fork", "16"]),
        Try::of("outlive_by_stopping.py", &["all"]),
        Try::of("outlive_by_everything.py", &[]),
    ] {
        let marker = bench.marker();
        let run = wished.run(bench, &marker, "60s").start()?;
        let witness = Witness::of(&marker);
        witness.sees(16)?;
        let moment = Instant::now();
        run.running().signal(Signal::SIGINT)?;
        let seen = run.finish();
        let testimony = witness.testify()?;
        let late = testimony.after(moment);
        tell(bench, &wished, -1.0, millis(late), testimony.most);
        testimony.first.context("it was never seen")?;
        let seen = seen?;
        seen.is("cancelled", 130)?;
        witness::in_time(bench.mode, late).with_context(|| format!("{}{}", wished.program, seen.told()))?;
    }
    Ok(())
}

/// With a control group the time of all processes is counted, so the moment of the limit can be told from it: one CPU
/// gives one second in a second.
fn cpu_limit(bench: &Bench) -> Result<()> {
    if !bench.mode.has_cgroup() {
        return Err(
            crate::skip::Skip::because("not given in this mode on this host: no control group").into(),
        );
    }
    for wished in [
        Try::of("outlive_by_spinning.py", &["processes"]),
        Try::of("outlive_by_spinning.py", &["threads"]),
        Try::of("outlive_by_forking.py", &["fork", "16"]),
    ] {
        let marker = bench.marker();
        let run = wished
            .run(bench, &marker, "60s")
            .options(&["--cpu-time", "3s"])
            .start()?;
        let witness = Witness::of(&marker);
        let seen = run.finish();
        let testimony = witness.testify()?;
        let seen = seen?;
        seen.timed_out("cpu")?;
        was_armed(&seen)?;
        let late = seen.usage("cpu_ms")? - 3_000.0;
        tell(bench, &wished, late, -1.0, testimony.most);
        ensure!(
            late <= stretched_ms(millis(LATE)),
            "{late} ms of CPU time after the limit{}",
            seen.told()
        );
    }
    Ok(())
}

/// It waits a second and then writes as fast as it can, from several processes: the limit is met at once.
fn output_limit(bench: &Bench) -> Result<()> {
    let wished = Try::of("outlive_while_flooding.py", &["1"]);
    let marker = bench.marker();
    let run = wished
        .run(bench, &marker, "60s")
        .options(&["--output-limit", "1MiB"])
        .start()?;
    let witness = Witness::of(&marker);
    let seen = run.finish();
    let testimony = witness.testify()?;
    let seen = seen?;
    seen.is("output_limit", 123)?;
    was_armed(&seen)?;
    let late = seen.usage("wall_ms")? - 1_000.0;
    let outside = millis(testimony.lived()?) - 1_000.0;
    tell(bench, &wished, late, outside, testimony.most);
    // The second, the interpreter's start before it, a megabyte through pipes, and the kill.
    let most = LATE + Duration::from_millis(300);
    ensure!(
        late.max(outside) <= stretched_ms(millis(most)),
        "{late} ms, {outside} ms as seen from outside{}",
        seen.told()
    );
    Ok(())
}
