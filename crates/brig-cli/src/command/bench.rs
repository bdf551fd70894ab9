//! `brig bench`: what a cell costs, measured beside what people use instead, interleaved in one run.
//!
//! Jobs go through gRPC on a unix socket to a daemon of this measurement's own, with its store on disk: the path of
//! a real caller, nothing shorter.

mod contestant;
mod daemon;
mod engine;
mod figures;

use crate::connect::is_root;
use crate::exit_code::Exit;
use crate::terminal::{print, print_json, say};
use contestant::{Contestant, contestants};
use daemon::PrivateDaemon;
use engine::{Engine, Kept};
use figures::{Figures, Row};
use serde_json::json;
use std::time::{Duration, Instant};

/// Measure what a fresh cell costs, against a bare interpreter and other sandboxes, in one run
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every round runs each contestant once, one after the other, so that a slow moment of the
machine hits all of them. `ratio` is our p50 divided by the baseline's: below 1 is faster.
The rows of docker are left out where there is no engine (`[docker]` in the file of BRIG_CONFIG) or its image
was not built (`brig image build python`). `docker run` gets the limits and walls of a cell.
Nothing is downloaded: the image for Docker comes from `docker pull python:3-slim`, or is made of any
tree that has a python3: `tar -C TREE -c . | docker import - NAME`.

Examples:
  brig bench
  brig bench --rounds 200 --json"
)]
pub(crate) struct Args {
    /// Print one object
    #[arg(long)]
    json: bool,
    /// Runs of each contestant
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Image for `docker run`, which must be there already and have a python3
    #[arg(long, value_name = "NAME", default_value = "python:3-slim")]
    docker_image: String,
}

/// Jobs at once when throughput is measured.
const AT_ONCE: u32 = 4;
/// Runs of each contestant whose times do not count.
const WARM_UP: u32 = 3;

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let engine = Engine::configured()?;
    let daemons = Daemons::start(&engine).await?;
    let measured = measure(args, &daemons, &engine).await;
    daemons.stop().await;
    let figures = measured?;
    let rows = Row::all(&figures);
    if args.json {
        print_json(&json!({ "machine": figures::machine(), "rows": rows }))?;
    } else {
        print(&figures::as_text(&rows))?;
    }
    Ok(Exit::Success)
}

/// Daemons of the measurement's own: each does one thing, so that none is measured with another's work.
#[derive(Debug)]
struct Daemons {
    jail: PrivateDaemon,
    /// Without containers that are kept ready, and with them; nothing where there is no engine or no image.
    docker: Option<(PrivateDaemon, PrivateDaemon)>,
}

impl Daemons {
    async fn start(engine: &Engine) -> anyhow::Result<Self> {
        let jail = PrivateDaemon::start(None).await?;
        let docker = match engine.absent() {
            None => Some((
                engine.daemon(Kept::None).await?,
                engine.daemon(Kept::Ready).await?,
            )),
            Some(_why) => None,
        };
        Ok(Self { jail, docker })
    }

    async fn stop(self) {
        self.jail.stop().await;
        if let Some((cold, warm)) = self.docker {
            cold.stop().await;
            warm.stop().await;
        }
    }
}

async fn measure(args: &Args, daemons: &Daemons, engine: &Engine) -> anyhow::Result<Vec<Figures>> {
    let isolation = if is_root() { "strict" } else { "workstation" };
    say(format!("{} rounds, interleaved; level {isolation}", args.rounds));
    let contestants = contestants(daemons, engine, &args.docker_image).await?;
    for contestant in contestants.iter().filter(|contestant| contestant.is_there()) {
        for _ in 0..WARM_UP {
            contestant.once().await?;
            contestant.settle().await;
        }
    }
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); contestants.len()];
    for round in 0..args.rounds {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            if contestant.takes_part(round) {
                let start = Instant::now();
                contestant.once().await?;
                times.push(start.elapsed());
                contestant.settle().await;
            }
        }
    }
    let throughput = measure_throughput(&contestants, args.rounds).await?;
    let figures = contestants.iter().zip(times).zip(throughput);
    Ok(figures
        .map(|((contestant, times), per_second)| {
            Figures::new(contestant.name(), contestant.absent(), times, per_second)
        })
        .collect())
}

/// Jobs per second with four at once, in a few interleaved blocks.
async fn measure_throughput(contestants: &[Contestant], rounds: u32) -> anyhow::Result<Vec<Option<f64>>> {
    const BLOCKS: u32 = 4;
    let mut done = vec![(0u32, Duration::ZERO); contestants.len()];
    for _ in 0..BLOCKS {
        for (contestant, (count, time)) in contestants.iter().zip(&mut done) {
            let jobs = contestant
                .block(rounds.div_ceil(BLOCKS))
                .next_multiple_of(AT_ONCE);
            if contestant.is_there() {
                let start = Instant::now();
                contestant.many(AT_ONCE, jobs / AT_ONCE).await?;
                *time += start.elapsed();
                contestant.settle().await;
                *count += jobs;
            }
        }
    }
    Ok(done
        .into_iter()
        .map(|(count, time)| (count > 0).then(|| f64::from(count) / time.as_secs_f64()))
        .collect())
}
