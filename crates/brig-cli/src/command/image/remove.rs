//! `brig image rm`

use super::{SocketArgs, StoreArgs};
use crate::exit_code::Exit;
use crate::terminal::say;
use anyhow::{Context, bail};
use brig_backend::images::{ImageStore, RootDigest};
use brig_core::spec::ImageName;

/// Remove images
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The name goes; the root file system too, unless another name means it or a cell runs on it. The engine's image of it goes where
an engine answers.

Examples:
  sudo brig image rm python-data"
)]
pub(crate) struct Args {
    /// Names of images
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    socket: SocketArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let path = args.store.to_write()?;
    if !path.exists() {
        bail!("there is no store of images at {}", path.display());
    }
    let store = ImageStore::open(&path)?;
    for name in &args.names {
        remove(&store, name, &args.socket).await?;
    }
    Ok(Exit::Success)
}

async fn remove(store: &ImageStore, name: &str, socket: &SocketArgs) -> anyhow::Result<()> {
    let name = ImageName(name.to_owned());
    let meant = store.named(&name)?;
    let Some(digest) = meant else {
        bail!(
            "{} has no image named {}: `brig image ls` lists them",
            store.directory().display(),
            name.0
        );
    };
    let last = store.names_of(&digest)?.len() == 1;
    if last {
        let users = cells_on(&digest).context("cannot see which cells run")?;
        if users > 0 {
            bail!(
                "{users} processes run on {}: wait for their jobs or cancel them (`brig jobs --state running`), then remove it",
                name.0
            );
        }
        remove_from_engine(&digest, socket).await?;
    }
    store.remove_name(&name)?;
    if last {
        store.remove_root(&digest)?;
    } else {
        say(format!(
            "another name means the same root file system as {}: it stays",
            name.0
        ));
    }
    Ok(())
}

async fn remove_from_engine(digest: &RootDigest, socket: &SocketArgs) -> anyhow::Result<()> {
    let Some(engine) = socket.find().await else {
        return Ok(());
    };
    for image in engine
        .images()
        .await?
        .iter()
        .filter(|image| image.root == *digest)
    {
        engine.remove(image).await?;
    }
    Ok(())
}

/// Processes that this user can see and that have this root file system mounted.
fn cells_on(digest: &RootDigest) -> std::io::Result<usize> {
    let mark = format!("roots/{digest}/");
    let mut users = 0;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let process = entry.file_name();
        if !process
            .to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
        {
            continue;
        }
        // One that ended meanwhile, or another user's, says nothing.
        let mounts = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        users += usize::from(mounts.contains(&mark));
    }
    Ok(users)
}
