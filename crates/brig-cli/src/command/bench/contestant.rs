//! What is measured: jobs of ours, and commands that people use instead.

use super::Daemons;
use super::engine::Engine;
use crate::connect::is_root;
use crate::follow::{Follower, LevelNote, OutputTo};
use crate::process;
use crate::remote::Remote;
use anyhow::{Context, bail, ensure};
use brig_core::outcome::Verdict;
use brig_core::spec::{BackendName, Blob, Content, IsolationLevel, JobDraft, Program};
use brig_core::store::JobResult;
use std::path::Path;
use std::time::Duration;

/// Rounds that containers take part in: each takes a good part of a second.
const SLOW: u32 = 20;
/// How long the others wait until the container in the place of a used one is ready: it is not to be measured with them.
const REFILL: Duration = Duration::from_millis(1_500);

const PYTHON: &str = "/usr/bin/python3";
const CODE: &str = "print(1)";
const EXPECTED: &[u8] = b"1\n";

/// One of those that are compared.
#[derive(Debug)]
pub(crate) struct Contestant {
    name: &'static str,
    how: How,
    /// Most rounds that it takes part in: slow ones would make the measurement long for no gain.
    most: u32,
    /// What goes on behind it after each run.
    settle: Duration,
}

#[derive(Debug)]
enum How {
    /// A job of ours.
    Job(Remote, BackendName),
    /// A command.
    Command(Vec<String>),
    /// Not on this machine, and why.
    Absent(String),
}

/// Everything that is compared, ours first.
pub(crate) async fn contestants(
    daemons: &Daemons,
    engine: &Engine,
    docker_image: &str,
) -> anyhow::Result<Vec<Contestant>> {
    ensure!(
        Path::new(PYTHON).exists(),
        "{PYTHON} is not there: nothing can be compared with it"
    );
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<String>>()
    };
    let with_code = |mut argv: Vec<String>| {
        argv.extend(["-I".to_owned(), "-c".to_owned(), CODE.to_owned()]);
        argv
    };
    let bare = with_code(words(PYTHON));
    // Every namespace and a read-only root, as in the examples of its manual.
    let bubblewrap = with_code(words(&format!(
        "bwrap --unshare-all --die-with-parent --new-session --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp {PYTHON}"
    )));
    let docker = with_code(engine.run(docker_image));
    let contestant = |name, how, most| Contestant {
        name,
        how,
        most,
        settle: Duration::ZERO,
    };
    let ours = How::Job(daemons.jail.remote().await?, BackendName::jail());
    let in_container = |daemon: Option<Remote>| match daemon {
        Some(remote) => How::Job(remote, BackendName::docker()),
        None => How::Absent(engine.absent().unwrap_or_else(|| "no engine".to_owned())),
    };
    let (cold, warm) = match &daemons.docker {
        Some((cold, warm)) => (Some(cold.remote().await?), Some(warm.remote().await?)),
        None => (None, None),
    };
    Ok(vec![
        contestant("oneshot_fresh", ours, u32::MAX),
        contestant("bare_python", How::Command(bare), u32::MAX),
        contestant("bubblewrap", command_or_absence(bubblewrap), u32::MAX),
        contestant("docker_run", command_or_absence(docker), SLOW),
        contestant("docker_cold", in_container(cold), SLOW),
        Contestant {
            settle: REFILL,
            ..contestant("docker_warm", in_container(warm), SLOW)
        },
    ])
}

/// A command that works here, or why it does not.
fn command_or_absence(argv: Vec<String>) -> How {
    match process::output(&argv) {
        Ok(output) if output.status.success() && output.stdout == EXPECTED => How::Command(argv),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("it printed something else");
            How::Absent(format!("does not work here: {first}"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => How::Absent("not installed".to_owned()),
        Err(error) => How::Absent(format!("cannot be started: {error}")),
    }
}

impl Contestant {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.how, How::Absent(_))
    }

    /// Why it is not there.
    pub(crate) fn absent(&self) -> Option<String> {
        match &self.how {
            How::Absent(why) => Some(why.clone()),
            How::Job(..) | How::Command(_) => None,
        }
    }

    pub(crate) fn takes_part(&self, round: u32) -> bool {
        self.is_there() && round < self.most
    }

    /// Waits for what goes on behind it after a run.
    pub(crate) async fn settle(&self) {
        if self.settle > Duration::ZERO {
            tokio::time::sleep(self.settle).await;
        }
    }

    /// Size of a block when throughput is measured.
    pub(crate) fn block(&self, wanted: u32) -> u32 {
        wanted.min(self.most / 2).max(1)
    }

    /// One run, from asking to having the output and the exit status.
    pub(crate) async fn once(&self) -> anyhow::Result<()> {
        match &self.how {
            How::Job(remote, backend) => run_job(remote, backend).await,
            How::Command(argv) => run_command(argv),
            How::Absent(why) => bail!("{} is {why}", self.name),
        }
    }

    /// `at_once` workers, each running it `times` times.
    pub(crate) async fn many(&self, at_once: u32, times: u32) -> anyhow::Result<()> {
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..at_once {
            match &self.how {
                How::Job(remote, backend) => {
                    let (remote, backend) = (remote.clone(), backend.clone());
                    workers.spawn(async move {
                        for _ in 0..times {
                            run_job(&remote, &backend).await?;
                        }
                        anyhow::Ok(())
                    });
                }
                How::Command(argv) => {
                    let argv = argv.clone();
                    workers.spawn_blocking(move || (0..times).try_for_each(|_| run_command(&argv)));
                }
                How::Absent(why) => bail!("{} is {why}", self.name),
            }
        }
        while let Some(done) = workers.join_next().await {
            done.context("a worker of the measurement died")??;
        }
        Ok(())
    }
}

fn run_command(argv: &[String]) -> anyhow::Result<()> {
    let output = process::output(argv).with_context(|| format!("cannot run {argv:?}"))?;
    ensure!(
        output.status.success() && output.stdout == EXPECTED,
        "{argv:?} ended with {}",
        output.status
    );
    Ok(())
}

async fn run_job(remote: &Remote, backend: &BackendName) -> anyhow::Result<()> {
    let code = Content::Inline(Blob(CODE.as_bytes().to_vec()));
    let mut draft = JobDraft::new(Program::Python {
        code,
        file: None,
        args: Vec::new(),
    });
    draft.backend = Some(backend.clone());
    draft.isolation = (!is_root()).then_some(IsolationLevel::Workstation);
    let mut events = remote.execute(draft).await?;
    let mut follower = Follower::new(OutputTo::Memory, LevelNote::Quiet);
    while let Some(event) = events.next().await? {
        let Some(record) = follower.take(event)? else {
            continue;
        };
        let Some(JobResult::Ran(outcome)) = record.result else {
            bail!("a job did not run: {:?}", record.result)
        };
        ensure!(
            outcome.verdict == Verdict::Exited { code: 0 },
            "a job ended with {:?}",
            outcome.verdict
        );
        ensure!(follower.output.stdout == EXPECTED, "a job printed something else");
        return Ok(());
    }
    bail!("the stream ended before the job")
}
