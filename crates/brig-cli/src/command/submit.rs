//! `brig submit`

use crate::connect::DaemonArgs;
use crate::exit_code::Exit;
use crate::job_options::{JobOptions, labels, parse_pair};
use crate::quantity::parse_duration;
use crate::remote::Remote;
use crate::terminal::{print, print_json};
use brig_api::client::Origin;
use serde_json::json;
use std::time::Duration;

/// Queue a program on a daemon and print its job's id at once
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "brig submit [OPTIONS] FILE.py [ARGS]..\n       brig submit [OPTIONS] -c CODE [ARGS]..\n       \
                      brig submit [OPTIONS] - [ARGS]..\n       brig submit [OPTIONS] -- COMMAND [ARGS]..",
    after_help = "The job is on disk before its id is printed: it survives a crash of the daemon and of the machine.

Examples:
  brig submit --label team=data nightly.py
  id=$(brig submit --key order-17 --out 'report.*' report.py) && brig logs -f \"$id\"
  brig show --out-dir results \"$id\""
)]
pub(crate) struct Args {
    #[command(flatten)]
    job: JobOptions,
    /// A word to find the job by, any number of times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    /// The same key with the same job gives the first job again instead of a second one
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Longest time in the queue [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    queue_timeout: Option<Duration>,
    /// Higher runs earlier
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// How often the program may be started when an attempt is lost
    #[arg(long, value_name = "N", default_value_t = 1)]
    attempts: u32,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Print one object instead of the id
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut job = args.job.local_job()?;
    job.draft.labels = labels(&args.label);
    job.draft.queue_timeout = args.queue_timeout;
    job.draft.priority = args.priority;
    job.draft.retry.max_attempts = args.attempts;
    let remote = Remote::connect(&args.daemon.daemon()?).await?;
    let draft = remote.send_contents(job).await?;
    let accepted = remote.submit(draft, args.key.as_deref()).await?;
    if args.json {
        print_json(
            &json!({ "id": accepted.job.to_string(), "existing": accepted.origin == Origin::Existing }),
        )?;
    } else {
        print(&format!("{}\n", accepted.job))?;
    }
    Ok(Exit::Success)
}
