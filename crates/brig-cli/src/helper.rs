//! The processes that brig starts of its own file: what they are is their first word.

use crate::broker_process::{self, BROKER};
use crate::exit_code::Exit;
use crate::process::name_process;
use crate::terminal::say;
use anyhow::Context;
use brig_jail::embedded::{close_inherited_descriptors, take_inherited_socket};
use brig_jail::keeper::{self, KeeperConfig};
use std::ffi::OsString;
use std::process::ExitCode;

/// The word that makes a process of this file a keeper.
pub(crate) const KEEPER: &str = "__keeper";

/// In a process that was started as a keeper or as an engine broker: does its work. `None` in every other process.
pub(crate) fn become_if_told() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let first = words.next()?;
    let settings = words.next();
    let (what, done) = if first == KEEPER {
        ("the keeper cannot work", keep(settings))
    } else if first == BROKER {
        ("the engine broker cannot work", broker_process::run(settings))
    } else {
        return None;
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format!("{what}: {error:#}"));
            ExitCode::from(Exit::Failed)
        }
    })
}

fn keep(settings: Option<OsString>) -> anyhow::Result<()> {
    close_inherited_descriptors().context("cannot close what was inherited")?;
    let settings = settings
        .context("a keeper needs its settings")?
        .into_string()
        .map_err(|_bytes| anyhow::anyhow!("the keeper's settings are not text"))?;
    let mut config: KeeperConfig =
        serde_json::from_str(&settings).context("the keeper's settings cannot be read")?;
    config.init_image = crate::jail_init::JAIL_INIT.into();
    name_process(c"brig-keeper");
    let socket = take_inherited_socket().context("a keeper is started by brig itself")?;
    keeper::run(&config, socket, None)?;
    Ok(())
}
