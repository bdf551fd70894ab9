//! `brig image`: what cells see instead of the host's own interpreter.

mod build;
mod import;
mod inspect;
mod list;
mod progress;
mod remove;
mod told;

use crate::engine::embedded_config;
use crate::exit_code::Exit;
use crate::keeper_config::images_dirs;
use anyhow::Context;
use brig_backend::images::engine::EngineImages;
use brig_daemon::config::DockerConfig;
use std::path::PathBuf;

/// Build, list, inspect, import and remove images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo brig image build python-data
  brig image ls
  brig image inspect python-data --verify
  sudo brig image import docker:python:3.11-slim --name slim
  brig run --image python-data -c 'import numpy; print(numpy.pi)'")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// One act each.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Build(build::Args),
    Ls(list::Args),
    Inspect(inspect::Args),
    Rm(remove::Args),
    Import(import::Args),
}

/// Which store.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// The store of images [default: `images_dirs` in the file of BRIG_CONFIG, else /var/lib/brig-images for root and
    /// brig/images below $XDG_DATA_HOME for others, who see root's too]
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// The stores to look in.
    pub(crate) fn to_read(&self) -> anyhow::Result<Vec<PathBuf>> {
        match &self.store {
            Some(store) => Ok(vec![std::path::absolute(store)?]),
            None => Ok(images_dirs(&embedded_config()?)),
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

/// Which engine.
#[derive(Debug, clap::Args)]
pub(crate) struct SocketArgs {
    /// The container engine's socket [default: `docker.socket` in the file of BRIG_CONFIG, else /run/docker.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketArgs {
    fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(embedded_config()?
                .docker
                .unwrap_or_else(DockerConfig::default)
                .socket),
        }
    }

    /// The engine, which has to be there.
    pub(crate) async fn connect(&self) -> anyhow::Result<EngineImages> {
        Ok(EngineImages::connect(&self.path()?).await?)
    }

    /// The engine, if there is one.
    pub(crate) async fn find(&self) -> Option<EngineImages> {
        let path = self.path().ok()?;
        EngineImages::connect(&path).await.ok()
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Build(args) => build::run(args).await,
        Command::Ls(args) => list::run(args).await,
        Command::Inspect(args) => inspect::run(args).await,
        Command::Rm(args) => remove::run(args).await,
        Command::Import(args) => import::run(args).await,
    }
}
