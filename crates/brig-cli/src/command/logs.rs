//! `brig logs`

use crate::connect::DaemonArgs;
use crate::exit_code::Exit;
use crate::follow::{Follower, LevelNote, OutputTo};
use crate::remote::Remote;
use crate::report::ReceiptReport;
use crate::terminal::print_json;
use anyhow::Context;
use brig_api::convert::event::{Body, Event};
use brig_core::event::StreamName;
use brig_core::id::JobId;
use serde_json::{Value, json};
use std::io;

/// Print the output of a job, to stdout and stderr as the program wrote it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brig logs 0198c1de-7d6a-7b3e-9a53-0b6f2f0a7c11
  brig logs -f 0198c1de-7d6a-7b3e-9a53-0b6f2f0a7c11      until the job has ended
  brig logs --json JOB | jq .                            every event, one object per line")]
pub(crate) struct Args {
    /// Its id
    #[arg(value_name = "JOB")]
    job: JobId,
    /// Go on until the job has ended
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Print one object per event instead
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let remote = Remote::connect(&args.daemon.daemon()?).await?;
    // Without --follow, what is there now is all that is wanted.
    let last = if args.follow {
        u64::MAX
    } else {
        remote.get(args.job).await?.last_seq
    };
    let mut events = remote.watch(args.job).await?;
    let mut follower = Follower::new(OutputTo::Terminal, LevelNote::Quiet);
    let mut next = 1;
    while next <= last {
        let Some(event) = events.next().await? else { break };
        next = event.next_seq();
        let written = if args.json {
            print_json(&as_object(&event))?;
            Ok(None)
        } else {
            follower.take(event)
        };
        match written {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error).context("cannot write the job's output"),
        }
    }
    Ok(Exit::Success)
}

fn as_object(event: &Event) -> Value {
    let seq = event.seq;
    match &event.body {
        Body::Queued => json!({ "seq": seq, "event": "queued", "id": event.job.to_string() }),
        Body::Started { receipt } => {
            json!({ "seq": seq, "event": "started", "receipt": ReceiptReport::of(receipt) })
        }
        Body::Output { stream, data } => {
            let stream = match stream {
                StreamName::Stdout => "stdout",
                StreamName::Stderr => "stderr",
            };
            json!({ "seq": seq, "event": "output", "stream": stream, "text": String::from_utf8_lossy(data) })
        }
        Body::Gap { to_seq, bytes, .. } => {
            json!({ "seq": seq, "event": "gap", "to_seq": to_seq, "bytes": bytes })
        }
        Body::Requeued { reason } => json!({ "seq": seq, "event": "requeued", "reason": reason }),
        Body::Cancelling => json!({ "seq": seq, "event": "cancelling" }),
        Body::Ended(record) => json!({
            "seq": seq,
            "event": "ended",
            "state": record.state.word(),
            "kind": record.result.as_ref().map(brig_core::store::JobResult::kind),
        }),
    }
}
