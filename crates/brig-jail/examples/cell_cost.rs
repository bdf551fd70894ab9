//! What a cell costs: `cargo run --release -p brig-jail --example cell_cost [ROUNDS]`, after
//! `cargo build --release -p brig-jail`. Prints medians and 95th percentiles in milliseconds.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it prints, and starts what it compares with"
)]

use brig_jail::client::KeeperLink;
use brig_jail::embedded::{spawn_keeper, take_inherited_socket};
use brig_jail::exec_spec::{ExecSpec, RunnerChannel};
use brig_jail::keeper::{KeeperConfig, run};
use brig_jail::protocol::{CellLimits, CellNumber, ImageDigest, Level, Network, Reply, Request};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const KEEPER_WORD: &str = "__keeper";
const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: u64 = 1_000_000_000;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, spares] = args.as_slice()
        && word == KEEPER_WORD
    {
        return be_keeper(spares.parse()?);
    }
    let rounds = args.first().map_or(Ok(100), |rounds| rounds.parse())?;
    for command in [&["/bin/true"][..], &["/usr/bin/python3", "-I", "-c", "print(1)"]] {
        println!("{}", command.join(" "));
        let bare = measure(rounds, || bare(command))?;
        show("bare", &bare);
        for spares in [0, 1] {
            let mut keeper = Keeper::start(spares)?;
            (0..5).try_for_each(|_| keeper.job(command).map(drop))?;
            let times = (0..rounds)
                .map(|_| keeper.job(command))
                .collect::<Outcome<Vec<Times>>>()?;
            let words = if spares == 0 { "on demand" } else { "prepared" };
            show(
                &format!("{words}: open to opened"),
                &column(&times, |times| times.opened),
            );
            show(
                &format!("{words}: open to the end of output"),
                &column(&times, |times| times.output),
            );
            show(
                &format!("{words}: open to ended"),
                &column(&times, |times| times.ended),
            );
            show(
                &format!("{words}: release to released"),
                &column(&times, |times| times.released),
            );
        }
    }
    Ok(())
}

fn be_keeper(spares: usize) -> Outcome<()> {
    let init = std::env::current_exe()?.with_file_name("../brig-jail-init");
    let mut config = KeeperConfig::new(std::fs::read(init)?, "cost");
    config.spares = spares;
    run(&config, take_inherited_socket()?, None)?;
    Ok(())
}

fn measure(rounds: usize, mut one: impl FnMut() -> Outcome<Duration>) -> Outcome<Vec<Duration>> {
    (0..rounds).map(|_| one()).collect()
}

fn bare(command: &[&str]) -> Outcome<Duration> {
    let started = Instant::now();
    let (program, rest) = command.split_first().ok_or("a command")?;
    Command::new(program).args(rest).stdin(Stdio::null()).output()?;
    Ok(started.elapsed())
}

fn column(times: &[Times], of: impl Fn(&Times) -> Duration) -> Vec<Duration> {
    times.iter().map(of).collect()
}

fn show(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |part: usize| {
        sorted
            .get(sorted.len() * part / 100)
            .map_or(0.0, |time| time.as_micros() as f64 / 1000.0)
    };
    println!("  {what:40} p50 {:7.2} ms   p95 {:7.2} ms", at(50), at(95));
}

/// When things had happened, from the request on.
struct Times {
    opened: Duration,
    output: Duration,
    ended: Duration,
    released: Duration,
}

struct Keeper {
    link: KeeperLink,
    next: u64,
}

impl Keeper {
    fn start(spares: usize) -> Outcome<Keeper> {
        let program = std::env::current_exe()?;
        let (link, _child) = spawn_keeper(&program, [KEEPER_WORD.to_owned(), spares.to_string()])?;
        Ok(Keeper { link, next: 1 })
    }

    fn reply(&self) -> Outcome<(Reply, Vec<OwnedFd>)> {
        Ok(self.link.recv_within(PATIENCE)?.ok_or("no answer in time")?)
    }

    fn job(&mut self, command: &[&str]) -> Outcome<Times> {
        // A person or a program thinks between two requests; a spare has the time to become complete.
        std::thread::park_timeout(Duration::from_millis(20));
        let started = Instant::now();
        let (cell, descriptors) = self.open()?;
        let opened = started.elapsed();
        let mut files = descriptors.into_iter().map(File::from);
        let (Some(mut job), Some(_stdin), Some(mut stdout)) = (files.next(), files.next(), files.next())
        else {
            return Err("not enough descriptors".into());
        };
        self.link.send(&Request::Start {
            cell,
            wall_nanos: 20 * SECOND,
            cpu_nanos: SECOND,
            lease_until_nanos: brig_jail::boot_time::nanos_after(std::time::Duration::from_secs(60)),
        })?;
        let spec = ExecSpec {
            argv: command.iter().map(|word| (*word).into()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/workspace".into(),
            runner_channel: RunnerChannel::Close,
        };
        job.write_all(&spec.encode()?)?;
        stdout.read_to_end(&mut Vec::new())?;
        let output = started.elapsed();
        let (Reply::Ended { .. }, _) = self.reply()? else {
            return Err("not the end".into());
        };
        let ended = started.elapsed();
        self.link.send(&Request::Release { cell })?;
        let (Reply::Released { .. }, _) = self.reply()? else {
            return Err("not released".into());
        };
        Ok(Times {
            opened,
            output,
            ended,
            released: started.elapsed() - ended,
        })
    }

    fn open(&mut self) -> Outcome<(CellNumber, Vec<OwnedFd>)> {
        self.next += 1;
        let (level, network, limits) = (Level::Workstation, Network::None, CellLimits::DEFAULT);
        self.link.send(&Request::Open {
            request: self.next,
            image: ImageDigest::HOST,
            level,
            network,
            limits,
        })?;
        match self.reply()? {
            (Reply::Opened { cell, .. }, descriptors) => Ok((cell, descriptors)),
            (other, _) => Err(format!("no cell: {other:?}").into()),
        }
    }
}
