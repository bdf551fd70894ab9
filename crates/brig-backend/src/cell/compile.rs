//! Compiling the runner in a cell of its own.
//!
//! The compiled form is later given to cells of every tenant, so nothing of any user may reach the interpreter that
//! makes it: no file, no environment, isolated mode.

use super::ends::{Listener, Speaker};
use super::{Clocks, Ends, LiveCell};
use crate::runner::decode::RunnerEvent;
use crate::runner::{self, Compiled};
use brig_core::backend::BackendError;
use brig_jail::exec_spec::{ExecSpec, RunnerChannel, Text};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TIME: Duration = Duration::from_secs(10);

/// Has `cell` compile the runner with `python`, and releases the cell.
pub(crate) async fn compile(cell: impl LiveCell, ends: Ends, python: &str) -> Result<Compiled, BackendError> {
    let spec = ExecSpec {
        argv: [python, "-I", "-c", runner::BOOT].map(Text::from).to_vec(),
        env: vec![(Text::from("LANG"), Text::from("C.UTF-8"))],
        cwd: Text::from("/"),
        runner_channel: RunnerChannel::Keep,
    };
    let mut opening = spec
        .encode()
        .map_err(|_invalid| BackendError::Protocol("the runner's own ExecSpec"))?;
    opening.extend(runner::runner_frame(None));
    opening.extend(runner::compile_only_frame());
    let (mut speaker, listener) = (Speaker::new(ends.job), Listener::new(ends.runner));
    cell.start(Clocks {
        wall: TIME,
        cpu: TIME,
        lease_until: std::time::Instant::now() + TIME,
    });

    let mut compiled = None;
    let over = CancellationToken::new();
    let hear = |event| match event {
        RunnerEvent::Compiled(form) => compiled = Some(form),
        RunnerEvent::Started { .. }
        | RunnerEvent::Value(_)
        | RunnerEvent::Exception { .. }
        | RunnerEvent::Trouble(_) => {}
    };
    let talk = async { tokio::join!(speaker.say(&opening, &over), listener.listen(&over, hear)) };
    let in_time = timeout(TIME, talk).await;
    cell.release().await?;
    match (in_time, compiled) {
        (Ok(_), Some(compiled)) => Ok(compiled),
        _ => Err(BackendError::Protocol("the interpreter gave no compiled runner")),
    }
}
