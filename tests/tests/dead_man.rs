//! What stops is not covered up: a daemon or keeper that is stopped or killed has no running cell when its lease, or a
//! program's limit, is over; and one that comes back overwrites nothing.

use anyhow::{Context, Result, ensure};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, Done, wait_until};
use brig_tests::slack::stretched;
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use brig_tests::witness::{LATE, MARKER, Testimony, Witness, in_time};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(60);
/// Short, so that the tests are; not the shortest, so that a busy machine can keep it.
const LEASE: Duration = Duration::from_secs(4);
/// Wall limit of the jobs that are to end by it.
const WALL: Duration = Duration::from_secs(2);

/// A test in one mode.
type Body = fn(Mode) -> Result<()>;

fn main() -> ExitCode {
    let tests: [(&str, Body); 7] = [
        (
            "a stopped daemon has no running cell when its lease ends",
            daemon_stopped,
        ),
        (
            "a job that another worker took over is not overwritten",
            taken_over,
        ),
        (
            "under a stopped keeper a cell ends at its wall-clock limit",
            keeper_stopped_wall,
        ),
        (
            "under a stopped keeper a cell ends with its lease",
            keeper_stopped_lease,
        ),
        ("with both stopped a cell ends with its lease", both_stopped),
        ("a killed keeper takes its cells along at once", keeper_killed),
        ("a killed daemon takes its cells along at once", daemon_killed),
    ];
    let mut trials = Vec::new();
    for privilege in [Privilege::Root, Privilege::Subordinate, Privilege::Bare] {
        let mode = Mode::jail(privilege, Reach::Served);
        trials.extend(tests.map(|(title, body)| in_mode(title, mode, body)));
    }
    run(trials)
}

fn in_mode(title: &str, mode: Mode, body: Body) -> Trial {
    trial(format!("{title} [{}]", mode.name()), move || {
        mode.available()?;
        mode.gives(brig_tests::modes::Need::HarnessRoot)?;
        body(mode)
    })
}

/// A daemon with a short lease and one job that spins in 32 processes.
struct Service {
    daemon: Daemon,
    /// A job that exited with 77 before.
    first: String,
    job: String,
    witness: Witness,
}

impl Service {
    fn with_job(mode: Mode, timeout: &str) -> Result<Self> {
        let stage = Arc::new(Stage::set_up()?);
        let config = format!(
            "lease = \"{}s\"\nisolation = \"{}\"\n",
            stretched(LEASE).as_secs(),
            mode.level()
        );
        let daemon = Daemon::start_with(&stage, mode, &config)?;
        let first = said(&client(&daemon, &["submit", "-c", "raise SystemExit(77)"])?)?;
        ended(&daemon, &first)?;
        let marker = format!("dead-man-{}-{}", std::process::id(), mode.name());
        let spin = "import os\nfor _ in range(5): os.fork()\nwhile True: pass";
        let job = said(&client(
            &daemon,
            &[
                "submit",
                "--timeout",
                timeout,
                "--env",
                &format!("{MARKER}={marker}"),
                "-c",
                spin,
            ],
        )?)?;
        let witness = Witness::of(&marker);
        witness.sees(32)?;
        Ok(Self {
            daemon,
            first,
            job,
            witness,
        })
    }

    fn signal_daemon(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.daemon.daemon()?)?);
        Ok(kill(pid, signal)?)
    }

    /// Waits until no process of the job is alive; what the witness saw.
    fn gone(self, within: Duration) -> Result<(Daemon, String, Testimony)> {
        let gone = wait_until(within, || self.witness.sees_nothing());
        let testimony = self.witness.testify()?;
        ensure!(gone, "the cell runs on after {within:?}: {testimony:?}");
        Ok((self.daemon, self.job, testimony))
    }
}

fn client(daemon: &Daemon, arguments: &[&str]) -> Result<Done> {
    process::run(daemon.client(arguments), Vec::new(), PATIENCE)
}

fn said(done: &Done) -> Result<String> {
    let errors = String::from_utf8_lossy(&done.stderr);
    ensure!(done.code() == 0, "exit {}: {errors}", done.code());
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Waits until the job has ended; its record.
fn ended(daemon: &Daemon, job: &str) -> Result<Value> {
    let mut record = Value::Null;
    let ended = wait_until(Duration::from_secs(20), || {
        record = client(daemon, &["show", "--json", job])
            .and_then(|done| Ok(serde_json::from_str(&said(&done)?)?))
            .unwrap_or_else(|error| Value::String(format!("{error:#}")));
        record["state"]
            .as_str()
            .is_some_and(|state| ["finished", "failed", "cancelled"].contains(&state))
    });
    ensure!(ended, "{job} has not ended: {record}");
    Ok(record)
}

/// Asks (or changes) the daemon's store behind its back; the first value of the first row.
fn store(daemon: &Daemon, statement: &str) -> Result<String> {
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)\n\
                  row = c.execute(sys.argv[2]).fetchone()\n\
                  print(row[0] if row else '')";
    let file = daemon.data().join("brig.db");
    let mut python = process::command("/usr/bin/python3");
    python.arg("-c").arg(script).arg(file).arg(statement);
    said(&process::run(python, Vec::new(), PATIENCE)?)
}

/// A job's id as the store has it.
fn key(job: &str) -> String {
    format!("x'{}'", job.replace('-', ""))
}

/// The moment at which the store lets others take the job.
fn lease_end(daemon: &Daemon, job: &str) -> Result<SystemTime> {
    let millis = store(
        daemon,
        &format!("SELECT lease_until FROM jobs WHERE id = {}", key(job)),
    )?;
    Ok(UNIX_EPOCH + Duration::from_millis(millis.parse().context("it has no lease")?))
}

/// How many ends a job's events tell.
fn ends(daemon: &Daemon, job: &str) -> Result<String> {
    store(
        daemon,
        &format!(
            "SELECT count(*) FROM events WHERE kind = 'ended' AND job = {}",
            key(job)
        ),
    )
}

fn on_the_wall(moment: Instant) -> Result<SystemTime> {
    let ago = moment.elapsed();
    SystemTime::now().checked_sub(ago).context("before all time")
}

/// The cell was gone before the store would have given its job to somebody else.
fn gone_before(mode: Mode, lease_end: SystemTime, testimony: &Testimony) -> Result<()> {
    let last = testimony.last.context("it was never seen")?;
    let last = on_the_wall(last)?;
    match last.duration_since(lease_end) {
        Err(_before) => Ok(()),
        Ok(after) => in_time(mode, stretched(LATE) + after).context("alive after the lease's end"),
    }
}

fn interrupted(daemon: &Daemon, job: &str) -> Result<()> {
    let record = ended(daemon, job)?;
    ensure!(
        record["state"] == "failed" && record["verdict"]["kind"] == "interrupted",
        "{record}"
    );
    ensure!(record["failure"]["retryable"] == true, "{record}");
    ensure!(ends(daemon, job)? == "1", "it ended more than once");
    Ok(())
}

/// The service still works, with new cells.
fn works(daemon: &mut Daemon) -> Result<()> {
    let done = client(daemon, &["run", "-c", "print(6 * 7)"])?;
    ensure!(said(&done)? == "42", "it gives another answer");
    daemon.stop()
}

fn daemon_stopped(mode: Mode) -> Result<()> {
    let service = Service::with_job(mode, "60s")?;
    service.signal_daemon(Signal::SIGSTOP)?;
    let lease_end = lease_end(&service.daemon, &service.job)?;
    let (mut daemon, job, testimony) = service.gone(2 * LEASE)?;
    gone_before(mode, lease_end, &testimony)?;
    // It comes back long after its time.
    wait_until(stretched(LEASE), || {
        SystemTime::now() > lease_end + Duration::from_millis(500)
    });
    kill(Pid::from_raw(i32::try_from(daemon.daemon()?)?), Signal::SIGCONT)?;
    interrupted(&daemon, &job)?;
    works(&mut daemon)
}

/// What a second worker on the same store does when a lease is over, done by hand: a daemon's store has only one.
fn taken_over(mode: Mode) -> Result<()> {
    let service = Service::with_job(mode, "60s")?;
    let other = service.first.clone();
    service.signal_daemon(Signal::SIGSTOP)?;
    let lease_end = lease_end(&service.daemon, &service.job)?;
    let (mut daemon, job, testimony) = service.gone(2 * LEASE)?;
    gone_before(mode, lease_end, &testimony)?;
    wait_until(stretched(LEASE), || SystemTime::now() > lease_end);
    end_as_another_worker(&daemon, &key(&job), &key(&other))?;
    kill(Pid::from_raw(i32::try_from(daemon.daemon()?)?), Signal::SIGCONT)?;
    // It answers, and has had time for everything that it still wanted to say about its attempt.
    works_meanwhile(&daemon)?;
    let record = ended(&daemon, &job)?;
    ensure!(
        record["state"] == "finished" && record["verdict"]["code"] == 77,
        "the late daemon wrote over it: {record}"
    );
    ensure!(ends(&daemon, &job)? == "1", "the late daemon told another end");
    works(&mut daemon)
}

/// Another attempt of the job ends as `like` did.
fn end_as_another_worker(daemon: &Daemon, job: &str, like: &str) -> Result<()> {
    let of = |column: &str| format!("{column} = (SELECT {column} FROM jobs WHERE id = {like})");
    store(
        daemon,
        &format!(
            "UPDATE jobs SET attempts = attempts + 1, max_attempts = max_attempts + 1, last_seq = last_seq + 1, \
             state = 'finished', worker = NULL, lease_until = NULL, ended = started + 1, {}, {} WHERE id = {job}",
            of("kind"),
            of("result")
        ),
    )?;
    let told = format!(
        "INSERT INTO events (job, seq, attempt, time, kind, body) \
         SELECT {job}, (SELECT last_seq FROM jobs WHERE id = {job}), 2, time, kind, body FROM events \
         WHERE job = {like} AND kind = 'ended'"
    );
    store(daemon, &told).map(drop)
}

fn works_meanwhile(daemon: &Daemon) -> Result<()> {
    for _ in 0..3 {
        said(&client(daemon, &["run", "-c", "pass"])?)?;
    }
    wait_until(stretched(LEASE / 2), || false);
    Ok(())
}

fn keeper_stopped_wall(mode: Mode) -> Result<()> {
    let wall = stretched(WALL);
    let service = Service::with_job(mode, &format!("{}s", wall.as_secs()))?;
    service.daemon.signal(Signal::SIGSTOP)?;
    let (mut daemon, job, testimony) = service.gone(3 * WALL)?;
    let lived = testimony.lived()?;
    daemon.signal(Signal::SIGCONT)?;
    let record = ended(&daemon, &job)?;
    ensure!(
        record["verdict"]["kind"] == "timed_out" && record["verdict"]["limit"] == "wall",
        "{record}"
    );
    ensure!(ends(&daemon, &job)? == "1", "it ended more than once");
    works(&mut daemon)?;
    in_time(mode, lived.saturating_sub(wall))
}

/// The daemon goes on renewing, but nobody tells the cell: it cannot know that its job is still its own.
fn keeper_stopped_lease(mode: Mode) -> Result<()> {
    let service = Service::with_job(mode, "60s")?;
    let moment = Instant::now();
    service.daemon.signal(Signal::SIGSTOP)?;
    let (mut daemon, job, testimony) = service.gone(2 * LEASE)?;
    let lived = testimony.after(moment);
    // Longer than a lease: what the daemon said meanwhile waits for the keeper.
    wait_until(stretched(LEASE), || false);
    daemon.signal(Signal::SIGCONT)?;
    ensure!(lived <= stretched(LEASE), "gone {lived:?} after the stop");
    interrupted(&daemon, &job)?;
    works(&mut daemon)
}

fn both_stopped(mode: Mode) -> Result<()> {
    let service = Service::with_job(mode, "60s")?;
    service.daemon.signal(Signal::SIGSTOP)?;
    service.signal_daemon(Signal::SIGSTOP)?;
    let lease_end = lease_end(&service.daemon, &service.job)?;
    let inner = service.daemon.daemon()?;
    let (mut daemon, job, testimony) = service.gone(2 * LEASE)?;
    gone_before(mode, lease_end, &testimony)?;
    daemon.signal(Signal::SIGCONT)?;
    kill(Pid::from_raw(i32::try_from(inner)?), Signal::SIGCONT)?;
    interrupted(&daemon, &job)?;
    works(&mut daemon)
}

fn keeper_killed(mode: Mode) -> Result<()> {
    let service = Service::with_job(mode, "60s")?;
    let moment = Instant::now();
    service.daemon.signal(Signal::SIGKILL)?;
    died_with_it(mode, service, moment)
}

fn daemon_killed(mode: Mode) -> Result<()> {
    let service = Service::with_job(mode, "60s")?;
    let moment = Instant::now();
    service.signal_daemon(Signal::SIGKILL)?;
    died_with_it(mode, service, moment)
}

fn died_with_it(mode: Mode, service: Service, moment: Instant) -> Result<()> {
    let (mut daemon, job, testimony) = service.gone(LEASE)?;
    let lived = testimony.after(moment);
    daemon.ended(PATIENCE)?;
    daemon.start_again()?;
    interrupted(&daemon, &job)?;
    works(&mut daemon)?;
    in_time(mode, lived)
}
