//! Compiling the runner in a cell of its own.
//!
//! The compiled form is later given to cells of every tenant, so nothing of any user may reach the interpreter that
//! makes it: no file, no environment, isolated mode.

use super::Shared;
use super::cell::{Control, Lifetime};
use super::pipes::{Listener, Speaker};
use crate::keeper_link::OpenedCell;
use crate::runner::decode::RunnerEvent;
use crate::runner::{self, Compiled};
use brig_core::backend::BackendError;
use brig_jail::exec_spec::{ExecSpec, RunnerChannel, Text};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TIME: Duration = Duration::from_secs(10);

pub(super) async fn compile(shared: &Shared, cell: OpenedCell) -> Result<Compiled, BackendError> {
    let io = |act| move |source| BackendError::Io { act, source };
    let lifetime = Lifetime::new(shared.keeper.clone(), cell.number, cell.released);
    let spec = ExecSpec {
        argv: [shared.config.python.as_str(), "-I", "-c", runner::BOOT]
            .map(Text::from)
            .to_vec(),
        env: vec![(Text::from("LANG"), Text::from("C.UTF-8"))],
        cwd: Text::from("/"),
        runner_channel: RunnerChannel::Keep,
    };
    let mut opening = spec
        .encode()
        .map_err(|_invalid| BackendError::Protocol("the runner's own ExecSpec"))?;
    opening.extend(runner::runner_frame(None));
    opening.extend(runner::compile_only_frame());
    let not_open = io("open the channel of a warm-up cell");
    let mut speaker = Speaker::new(cell.job).map_err(&not_open)?;
    let listener = Listener::new(cell.runner).map_err(&not_open)?;
    Control::new(shared.keeper.clone(), cell.number).start(TIME, TIME, std::time::Instant::now() + TIME);

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
    lifetime.release().await?;
    match (in_time, compiled) {
        (Ok(_), Some(compiled)) => Ok(compiled),
        _ => Err(BackendError::Protocol("the interpreter gave no compiled runner")),
    }
}
