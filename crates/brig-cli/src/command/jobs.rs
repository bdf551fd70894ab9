//! `brig jobs`

use crate::connect::DaemonArgs;
use crate::exit_code::Exit;
use crate::job_options::{labels, parse_pair};
use crate::quantity::{human_bytes, human_duration};
use crate::remote::Remote;
use crate::terminal::{print, print_json, table, visible};
use brig_api::JobRecord;
use brig_api::client::RecordPage;
use brig_api::convert::record::{RecordedContent, RecordedProgram};
use brig_core::store::{JobFilter, JobResult};
use brig_core::time::Timestamp;
use clap::ValueEnum;
use serde_json::{Value, json};

/// List jobs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brig jobs
  brig jobs --state queued --state running
  brig jobs --label team=data --limit 500 --json")]
pub(crate) struct Args {
    /// Only jobs in this state, any number of times
    #[arg(long, value_name = "STATE", value_enum)]
    state: Vec<State>,
    /// Only jobs with this label, any number of times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    /// Only jobs submitted by this caller
    #[arg(long, value_name = "WHO")]
    created_by: Option<String>,
    /// Most jobs to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print the ids alone
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Print one object
    #[arg(long)]
    json: bool,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Waiting
    Queued,
    /// Running
    Running,
    /// Asked to stop, still running
    Cancelling,
    /// The program ran
    Finished,
    /// Brig could not run it
    Failed,
    /// Cancelled
    Cancelled,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let remote = Remote::connect(&args.daemon.daemon()?).await?;
    let filter = JobFilter {
        states: args.state.iter().map(|state| state.word().to_owned()).collect(),
        labels: labels(&args.label),
        created_by: args.created_by.clone(),
    };
    let (jobs, more) = list(&remote, &filter, args.limit).await?;
    if args.json {
        let jobs: Vec<Value> = jobs.iter().map(summary).collect();
        print_json(&json!({ "jobs": jobs, "more": more }))?;
    } else if args.ids {
        print(&jobs.iter().map(|job| format!("{}\n", job.id)).collect::<String>())?;
    } else {
        print(&as_table(&jobs, Timestamp::now()))?;
    }
    Ok(Exit::Success)
}

/// Up to `limit` jobs, over as many pages as it takes, and whether there are more.
async fn list(remote: &Remote, filter: &JobFilter, limit: usize) -> anyhow::Result<(Vec<JobRecord>, bool)> {
    let mut jobs = Vec::new();
    let mut page = None;
    loop {
        let wanted = u32::try_from(limit.saturating_sub(jobs.len()).min(100)).unwrap_or(100);
        if wanted == 0 {
            return Ok((jobs, true));
        }
        let RecordPage { jobs: more, next } = remote.list(filter, wanted, page).await?;
        jobs.extend(more);
        match next {
            Some(next) => page = Some(next),
            None => return Ok((jobs, false)),
        }
    }
}

/// One job of the list, for programs. `brig show` has the rest.
pub(crate) fn summary(job: &JobRecord) -> Value {
    json!({
        "id": job.id.to_string(),
        "state": job.state.word(),
        "kind": job.result.as_ref().map(JobResult::kind),
        "created_by": job.created_by,
        "created_ms": job.created.as_millis(),
        "started_ms": job.started.map(Timestamp::as_millis),
        "ended_ms": job.ended.map(Timestamp::as_millis),
        "attempts": job.attempts,
        "labels": job.spec.labels,
        "what": what(&job.spec.program),
    })
}

fn as_table(jobs: &[JobRecord], now: Timestamp) -> String {
    let heading = ["JOB", "STATE", "RESULT", "AGE", "TOOK", "WHAT"]
        .map(str::to_owned)
        .to_vec();
    let rows = jobs.iter().map(|job| {
        let kind = job.result.as_ref().map_or("-", JobResult::kind);
        let took = job.started.map_or_else(
            || "-".to_owned(),
            |started| human_duration(job.ended.unwrap_or(now).since(started)),
        );
        let shown: String = visible(&what(&job.spec.program)).chars().take(60).collect();
        vec![
            job.id.to_string(),
            job.state.word().to_owned(),
            kind.to_owned(),
            human_duration(now.since(job.created)),
            took,
            shown,
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    table(&rows)
}

/// What runs, on one line.
pub(crate) fn what(program: &RecordedProgram) -> String {
    match program {
        RecordedProgram::Command { argv } => argv.join(" "),
        RecordedProgram::Python { code, file, args } => {
            let size = match code {
                RecordedContent::Inline(bytes) => human_bytes(*bytes),
                RecordedContent::Stored(_) => "a stored file".to_owned(),
            };
            let name = file
                .as_ref()
                .map_or_else(|| format!("-c ({size})"), ToString::to_string);
            std::iter::once(name)
                .chain(args.iter().cloned())
                .collect::<Vec<_>>()
                .join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_fits_on_one_line() {
        let code = RecordedContent::Inline(2_048);
        let python = |file| RecordedProgram::Python {
            code,
            file,
            args: vec!["a".into()],
        };
        assert_eq!(what(&python(None)), "-c (2 KiB) a");
        assert_eq!(
            what(&python(Some(
                brig_core::spec::WorkspacePath::parse("b.py").unwrap()
            ))),
            "b.py a"
        );
        assert_eq!(
            what(&RecordedProgram::Command {
                argv: vec!["ls".into(), "-l".into()]
            }),
            "ls -l"
        );
    }
}
