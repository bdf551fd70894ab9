//! `brig show`

use crate::command::jobs::{summary, what};
use crate::connect::DaemonArgs;
use crate::exit_code::Exit;
use crate::out_dir::{Existing, OutDir};
use crate::quantity::{human_bytes, human_duration};
use crate::remote::Remote;
use crate::report::{Ended, JobReport, layer_word};
use crate::saving::{self, Saved};
use crate::tell;
use crate::terminal::{print, print_json, say, table, visible};
use anyhow::Context;
use brig_api::JobRecord;
use brig_core::id::JobId;
use brig_core::outcome::Outcome;
use brig_core::store::JobResult;
use std::path::PathBuf;

/// Show everything that is known of a job; fetch its files
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brig show 0198c1de-7d6a-7b3e-9a53-0b6f2f0a7c11
  brig show --out-dir results JOB         also fetch the files that it left
  brig show --json JOB | jq .verdict      the same object as `brig run --json`, once the job has ended")]
pub(crate) struct Args {
    /// Its id
    #[arg(value_name = "JOB")]
    job: JobId,
    /// Write its collected files here
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Print one object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let remote = Remote::connect(&args.daemon.daemon()?).await?;
    let record = remote.get(args.job).await?;
    let saved = match (&args.out_dir, &record.result) {
        (Some(path), Some(JobResult::Ran(outcome))) => {
            let directory = OutDir::open(path, Existing::Replace)
                .with_context(|| format!("cannot write into {}", path.display()))?;
            saving::save(&remote, &outcome.files, &directory, &[]).await?
        }
        (_, _) => Saved::default(),
    };
    saved.notes().iter().for_each(say);
    match (&record.result, args.json) {
        (Some(result), true) => {
            let output = remote.kept_output(record.id).await?;
            let state = record.state.word();
            let ended = Ended {
                id: record.id,
                state,
                result,
                output: &output,
                saved: &saved.places,
            };
            print_json(&JobReport::new(&ended))?;
        }
        (None, true) => print_json(&summary(&record))?,
        (_, false) => print(&describe(&record))?,
    }
    Ok(if saved.failed() {
        Exit::Failed
    } else {
        Exit::Success
    })
}

fn describe(job: &JobRecord) -> String {
    let mut rows = vec![
        row("job", job.id.to_string()),
        row("state", job.state.word().to_owned()),
        row("what", visible(&what(&job.spec.program))),
        row(
            "image",
            format!(
                "{} ({})",
                visible(&job.spec.image.0),
                visible(job.spec.backend.as_str())
            ),
        ),
        row("submitted by", visible(&job.created_by)),
        row("attempts", job.attempts.to_string()),
    ];
    for (name, value) in &job.spec.labels {
        rows.push(row("label", visible(&format!("{name}={value}"))));
    }
    if let Some(result) = &job.result {
        rows.push(row("result", result.kind().to_owned()));
        if let JobResult::Ran(outcome) = result {
            add_outcome(outcome, &mut rows);
        }
        // Every byte that was kept counts as seen: `brig logs` shows it.
        for line in tell::end_of_job(result, [u64::MAX; 2]) {
            rows.push(row("note", line));
        }
    }
    table(&rows)
}

fn add_outcome(outcome: &Outcome, rows: &mut Vec<Vec<String>>) {
    let usage = &outcome.usage;
    let memory = usage
        .memory_peak_bytes
        .map_or_else(|| "not counted".to_owned(), human_bytes);
    let processes = usage
        .processes_peak
        .map_or_else(|| "not counted".to_owned(), |count| count.to_string());
    rows.push(row("time", human_duration(usage.wall)));
    rows.push(row("CPU time", human_duration(usage.cpu)));
    rows.push(row("in the queue", human_duration(usage.queue)));
    rows.push(row("memory", memory));
    rows.push(row("processes", processes));
    for (name, stream) in [("stdout", outcome.stdout), ("stderr", outcome.stderr)] {
        let kept = if stream.truncated() {
            format!(", {} kept", human_bytes(stream.kept_bytes))
        } else {
            String::new()
        };
        rows.push(row(name, format!("{}{kept}", human_bytes(stream.produced_bytes))));
    }
    if let Some(value) = &outcome.value {
        rows.push(row("value", visible(value)));
    }
    if let Some(exception) = &outcome.exception {
        rows.push(row(
            "exception",
            visible(&format!("{}: {}", exception.name, exception.message)),
        ));
    }
    for file in &outcome.files {
        rows.push(row(
            "file",
            format!("{} ({})", visible(&file.path), human_bytes(file.size)),
        ));
    }
    rows.push(row(
        "isolation",
        format!("{}, {} cell", outcome.receipt.level, outcome.receipt.cell),
    ));
    for layer in &outcome.receipt.layers {
        let text = format!("{} {}: {}", layer_word(layer.state), layer.name, layer.detail);
        rows.push(row("layer", visible(&text)));
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}
