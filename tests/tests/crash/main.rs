//! `kill -9` at random and at chosen moments, under load: no accepted job is lost, none ends or runs twice, watchers
//! see every event once, nothing is left behind.
//!
//! `BRIG_CRASH_SEED` repeats the moments of a run (it is printed), `BRIG_CRASH_KILLS` says how many.

mod follower;
mod load;
mod points;
mod store;

use anyhow::{Context, Result, ensure};
use brig_tests::assert::{Surroundings, nothing_is_left, processes_with};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, wait_until};
use brig_tests::stage::Stage;
use brig_tests::suite::{is_long, run, trial};
use follower::Follower;
use load::Load;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const MODE: Mode = Mode::jail(Privilege::Root, Reach::Served);

fn main() -> ExitCode {
    run(vec![
        trial(
            "killed at random moments under load, it loses nothing and repeats nothing",
            random_moments,
        ),
        trial(
            "killed at a chosen point of a job's life, it tells the truth",
            points::of_a_job,
        ),
        trial(
            "killed between the end of a program and its record, it says that it does not know",
            points::before_the_record,
        ),
        trial(
            "killed again and again while it starts, it comes up with the same jobs",
            points::while_starting,
        ),
    ])
}

/// Which process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Keeper,
    Daemon,
}

impl Victim {
    pub(crate) fn pid(self, daemon: &Daemon) -> Result<Pid> {
        let pid = match self {
            Self::Keeper => daemon.keeper()?,
            Self::Daemon => daemon.daemon()?,
        };
        Ok(Pid::from_raw(i32::try_from(pid)?))
    }
}

/// Numbers from a seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }
}

fn number_from(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}")))
        .transpose()
}

fn seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let fresh = u64::from(now.subsec_nanos()) ^ now.as_secs();
    Ok(number_from("BRIG_CRASH_SEED")?.unwrap_or(fresh))
}

#[expect(
    clippy::print_stderr,
    reason = "figures of the long run, and the seed that repeats it"
)]
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

fn random_moments() -> Result<()> {
    MODE.available()?;
    let seed = seed()?;
    let kills = number_from("BRIG_CRASH_KILLS")?.unwrap_or(if is_long() { 200 } else { 8 });
    tell(&format!("BRIG_CRASH_SEED={seed} BRIG_CRASH_KILLS={kills}"));
    let mut random = Random::new(seed);
    let stage = Arc::new(Stage::set_up()?);
    let before = Surroundings::look(&stage.brig, MODE);
    let mut daemon = Daemon::start(&stage, MODE, &[])?;
    let load = Arc::new(Load::new(&stage.brig, &daemon, seed)?);
    let mut followers = Vec::new();
    let (mut done, mut in_recovery) = (0, 0);
    while done < kills {
        let victim = if done % 2 == 0 {
            Victim::Daemon
        } else {
            Victim::Keeper
        };
        followers.push(Follower::start(&daemon, &load)?);
        under_load(
            &daemon,
            &load,
            Duration::from_millis(20 + random.below(1200)),
            victim,
        )?;
        done += 1;
        died_completely(&mut daemon, load.marker()).with_context(|| format!("kill {done} of {victim:?}"))?;
        // A third of the deaths is followed by one or two more while the service comes up.
        while done < kills && random.below(3) == 0 {
            points::kill_while_starting(&daemon, Duration::from_millis(random.below(600)))?;
            done += 1;
            in_recovery += 1;
        }
        daemon
            .start_again()
            .with_context(|| format!("after kill {done}"))?;
        load.keys_still_mean_the_same(&daemon)
            .with_context(|| format!("after kill {done}"))?;
    }
    store::wait_for_all(&daemon)?;
    let followed = follower::all_saw_everything(followers, &daemon)?;
    load.records_agree(&daemon)?;
    daemon.stop()?;
    let found = store::check(&daemon.data(), &load.accepted())?;
    load.no_secret_is_stored(&daemon.data())?;
    nothing_is_left(&stage.brig, MODE, &before)?;
    tell(&format!(
        "{done} kills, {in_recovery} of them during start-up; {} jobs accepted; {followed}; {found}",
        load.accepted().len()
    ));
    load.was_enough(done)
}

/// Lets the load go for `span` and kills in the middle of it. The callers that wait for an answer go on waiting.
fn under_load(
    daemon: &Daemon,
    load: &Arc<Load>,
    span: Duration,
    victim: Victim,
) -> Result<Vec<JoinHandle<()>>> {
    let pid = victim.pid(daemon)?;
    let over = Arc::new(AtomicBool::new(false));
    let callers = (0..4).map(|caller| {
        let (over, load) = (Arc::clone(&over), Arc::clone(load));
        std::thread::spawn(move || load.go_on(caller, &over))
    });
    let callers = callers.collect();
    // The moment of the kill is what varies; there is nothing to wait for.
    wait_until(span, || false);
    let killed = kill(pid, Signal::SIGKILL);
    over.store(true, Ordering::Relaxed);
    killed.context("it was gone already")?;
    Ok(callers)
}

/// The service ends by itself once one of its processes is dead, and takes every cell along.
pub(crate) fn died_completely(daemon: &mut Daemon, marker: &str) -> Result<()> {
    let (code, said) = daemon.ended(PATIENCE).context("it does not end")?;
    ensure!(code != 0, "it calls this a success: {said}");
    for line in said.lines().filter(|line| line.contains("internal error")) {
        tell(line);
    }
    let gone = wait_until(Duration::from_secs(10), || processes_with(marker).is_empty());
    ensure!(gone, "jobs outlived the service: {:?}", processes_with(marker));
    Ok(())
}

/// One command of a client.
pub(crate) fn client(daemon: &Daemon, arguments: &[&str]) -> Result<process::Done> {
    process::run(daemon.client(arguments), Vec::new(), PATIENCE)
}
