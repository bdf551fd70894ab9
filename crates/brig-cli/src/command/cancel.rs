//! `brig cancel`

use crate::connect::DaemonArgs;
use crate::exit_code::Exit;
use crate::remote::Remote;
use crate::terminal::{print, print_json};
use brig_core::id::JobId;
use serde_json::json;

/// Stop jobs, waiting or running; asking again or after the end changes nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brig cancel 0198c1de-7d6a-7b3e-9a53-0b6f2f0a7c11
  brig jobs --state running --ids | xargs brig cancel")]
pub(crate) struct Args {
    /// Their ids
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<JobId>,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Print one object for each job
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let remote = Remote::connect(&args.daemon.daemon()?).await?;
    for job in &args.jobs {
        let state = remote.cancel(*job).await?;
        if args.json {
            print_json(&json!({ "id": job.to_string(), "state": state.word() }))?;
        } else {
            print(&format!("{job} {state}\n"))?;
        }
    }
    Ok(Exit::Success)
}
