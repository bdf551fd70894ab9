//! `brig run`

use crate::connect::{EngineArgs, Place};
use crate::engine::{Engine, Interrupts};
use crate::exit_code::{Exit, RUN_STATUS_HELP};
use crate::follow::{Follower, LevelNote, OutputTo};
use crate::job_options::{JobOptions, LocalJob};
use crate::out_dir::{Existing, OutDir};
use crate::remote::Remote;
use crate::report::{Ended, JobReport, KeptOutput};
use crate::saving::{self, Saved};
use crate::tell;
use crate::terminal::{print_json, say};
use anyhow::Context;
use brig_api::JobRecord;
use brig_core::store::JobResult;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Run a program in a fresh cell, pass its output through, and end with its exit status
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "brig run [OPTIONS] FILE.py [ARGS]..\n       brig run [OPTIONS] -c CODE [ARGS]..\n       \
                      brig run [OPTIONS] - [ARGS]..\n       brig run [OPTIONS] -- COMMAND [ARGS]..",
    after_help = HELP.as_str()
)]
pub(crate) struct Args {
    #[command(flatten)]
    job: JobOptions,
    /// Where collected files are written [default: here; files that are already here are kept]
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
    /// Print one object about the job instead of its output
    #[arg(long)]
    json: bool,
}

static HELP: LazyLock<String> = LazyLock::new(|| {
    format!(
        "Examples:
  brig run hello.py
  brig run --timeout 5s --memory 256MiB -c 'print(sum(range(10)))'
  brig run --in data.csv --out '*.png' --out-dir plots plot.py data.csv
  echo 'print(1)' | brig run -
  brig run --json -- sh -c 'id; ls -l /'
  brig run --backend docker --image python-data plot.py
  brig run --stdin numbers.txt -c 'print(sum(int(line) for line in open(0)))'

{RUN_STATUS_HELP}

Environment:
  BRIG_ADDRESS  the daemon, as for --address
  BRIG_CONFIG   configuration file of an engine in this process, as for `brig serve --config`
  BRIG_LOG      what an engine in this process logs to stderr: error (the default), info, debug"
    )
});

impl Args {
    /// Whether the keeper has to be started.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        self.engine.place()
    }

    /// Everything that can go wrong before anything is started.
    pub(crate) fn local_job(&self) -> anyhow::Result<LocalJob> {
        let job = self.job.local_job()?;
        // A long program must not run for files that cannot be written afterwards.
        self.out_dir()?;
        Ok(job)
    }

    /// Where collected files go, if any are wanted.
    fn out_dir(&self) -> anyhow::Result<Option<OutDir>> {
        let (path, existing) = match &self.out_dir {
            _ if self.job.outputs.is_empty() => return Ok(None),
            Some(path) => (path.as_path(), Existing::Replace),
            None => (Path::new("."), Existing::Keep),
        };
        OutDir::open(path, existing)
            .map(Some)
            .with_context(|| format!("cannot write into {}", path.display()))
    }
}

/// The whole of `brig run`.
pub(crate) async fn run(args: &Args, job: LocalJob, mut engine: Engine) -> anyhow::Result<Exit> {
    let note = if engine.is_embedded() {
        LevelNote::Say
    } else {
        LevelNote::Quiet
    };
    let remote = match engine.remote().await {
        Ok(remote) => remote,
        Err(error) => {
            engine.stop().await;
            return Err(error);
        }
    };
    let to = if args.json {
        OutputTo::Memory
    } else {
        OutputTo::Terminal
    };
    let mut follower = Follower::new(to, note);
    let ended = execute(&remote, job, &mut follower).await;
    let done = match ended {
        Ok(Some(record)) => finish(args, &remote, &record, follower).await,
        Ok(None) => Ok(Exit::Cancelled),
        Err(error) => Err(error),
    };
    drop(remote);
    // Also after a failure: nothing of ours may stay.
    engine.stop().await;
    done
}

/// Runs the job to its end. `None`: the user did not want to wait for that.
async fn execute(
    remote: &Remote,
    job: LocalJob,
    follower: &mut Follower,
) -> anyhow::Result<Option<JobRecord>> {
    let draft = remote.send_contents(job).await?;
    let mut interrupts = Interrupts::listen()?;
    let mut events = remote.execute(draft).await?;
    let mut asked = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            () = interrupts.next() => {
                let (false, Some(id)) = (asked, follower.id) else { return Ok(None) };
                asked = true;
                say("cancelling; once more to leave at once");
                remote.cancel(id).await?;
                continue;
            }
        };
        let event = event.context("the engine ended the stream before the job's end")?;
        match follower.take(event) {
            Ok(None) => {}
            Ok(Some(record)) => return Ok(Some(record)),
            // Whoever read our output has gone: nobody waits for the rest.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            Err(error) => return Err(error).context("cannot write the program's output"),
        }
    }
}

/// Collected files, the report, the exit status.
async fn finish(
    args: &Args,
    remote: &Remote,
    record: &JobRecord,
    mut follower: Follower,
) -> anyhow::Result<Exit> {
    let result = record
        .result
        .as_ref()
        .context("the job has ended without a result")?;
    let exit = Exit::of_result(result);
    let saved = save_files(args, remote, result).await?;
    for line in saved.notes() {
        say(line);
    }
    if args.json {
        let output = kept_output(remote, record, result, &mut follower).await?;
        let ended = Ended {
            id: record.id,
            state: record.state.word(),
            result,
            output: &output,
            saved: &saved.places,
        };
        print_json(&JobReport::new(&ended))?;
    }
    let told = tell::end_of_job(result, follower.received);
    if !args.json || exit == Exit::Failed {
        told.iter().for_each(say);
    }
    // A program's own failure says more than ours to write its files.
    Ok(if saved.failed() && exit.status() == 0 {
        Exit::Failed
    } else {
        exit
    })
}

async fn save_files(args: &Args, remote: &Remote, result: &JobResult) -> anyhow::Result<Saved> {
    let JobResult::Ran(outcome) = result else {
        return Ok(Saved::default());
    };
    let Some(directory) = args.out_dir()? else {
        return Ok(Saved::default());
    };
    let wanted: Vec<&str> = args
        .job
        .outputs
        .iter()
        .map(brig_core::spec::OutputPattern::as_str)
        .collect();
    saving::save(remote, &outcome.files, &directory, &wanted).await
}

/// The output that the record keeps. A live stream may have brought more; then the kept part is fetched.
async fn kept_output(
    remote: &Remote,
    record: &JobRecord,
    result: &JobResult,
    follower: &mut Follower,
) -> anyhow::Result<KeptOutput> {
    let truncated =
        matches!(result, JobResult::Ran(outcome) if outcome.stdout.truncated() || outcome.stderr.truncated());
    if !truncated && !follower.overflowed {
        return Ok(std::mem::take(&mut follower.output));
    }
    remote.kept_output(record.id).await
}
