//! `brig image`: what cells see instead of the host's own interpreter.

mod build;
mod progress;
mod told;

use crate::exit_code::Exit;
use anyhow::Context;
use brig_backend::images::default_directories;
use std::path::PathBuf;

/// Build, list, inspect, import and remove images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo brig image build python-data
  brig image ls
  brig run --image python-data -c 'import numpy; print(numpy.pi)'")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// One act each.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Build(build::Args),
}

/// Which store.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// The store of images: by default /var/lib/brig/images for root, else brig/images below $XDG_DATA_HOME
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// The stores to look in.
    pub(crate) fn to_read(&self) -> anyhow::Result<Vec<PathBuf>> {
        match &self.store {
            Some(store) => Ok(vec![std::path::absolute(store)?]),
            None => Ok(default_directories()),
        }
    }

    /// The store to write to.
    pub(crate) fn to_write(&self) -> anyhow::Result<PathBuf> {
        let stores = self.to_read()?;
        stores
            .into_iter()
            .next()
            .context("no store of images: name one with --store")
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Build(args) => build::run(args),
    }
}
