//! `brig image build`

use super::import::saved;
use super::progress::Shown;
use super::{SocketArgs, StoreArgs, told};
use crate::exit_code::Exit;
use crate::jail_init::JAIL_INIT;
use crate::job_options::UsageError;
use crate::terminal::print_json;
use brig_backend::images::build::{BaseChoice, BuildRequest, CacheUse, Progress, build, default_cache};
use brig_backend::images::import::{Bounds, ImportRequest, unpack};
use brig_backend::images::{Definition, FoundImage, ImageStore, NewRoot};
use clap::ValueEnum;
use std::path::PathBuf;

/// Build an image from its definition
#[derive(Debug, clap::Args)]
#[command(
    after_help = "NAME is one of the definitions that Brig brings along (python, python-data); anything with a slash is a folder with an
`image.toml`. Needs root. Debian's packages come from its mirrors and are signed, Python's come from a registry and are checked by
the hashes of `requirements.lock`; what the same packages give twice has the same digest.

Examples:
  sudo brig image build python-data
  sudo brig image build ./my-image --fresh
  sudo brig image build python --base docker:python:3.11-slim-bookworm
  sudo brig image build python --backend all"
)]
pub(crate) struct Args {
    /// Name of a definition, or its folder
    #[arg(value_name = "NAME|FOLDER")]
    definition: String,
    /// Where the system comes from: debootstrap, or docker:IMAGE, which the engine has
    #[arg(long, value_name = "BASE", default_value = "debootstrap")]
    base: String,
    /// For which backend: the jail's root file system is made in any case, the engine's image of it also when it is first used
    #[arg(long, value_enum, default_value_t = ForBackend::Jail)]
    backend: ForBackend,
    /// Install today's packages of the system, although a base is in the cache
    #[arg(long)]
    fresh: bool,
    /// Where bases and downloads are kept [default: /var/cache/brig/images]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    socket: SocketArgs,
    /// Print one object
    #[arg(long)]
    json: bool,
}

/// Who gets the image now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ForBackend {
    /// The jail's root file system
    Jail,
    /// The engine's image too
    Docker,
    /// Both
    All,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let definition = Definition::find(&args.definition)?;
    let store = ImageStore::open(&args.store.to_write()?)?;
    let shown = Shown::new();
    // An engine that is not there is said before minutes of building.
    let engine = match args.backend {
        ForBackend::Jail => None,
        ForBackend::Docker | ForBackend::All => Some(args.socket.connect().await?),
    };
    let (base, _unpacked) = base(args, &store, &shown).await?;
    let request = BuildRequest {
        definition,
        base,
        cache: args.cache.clone().unwrap_or_else(default_cache),
        cache_use: if args.fresh {
            CacheUse::Renew
        } else {
            CacheUse::Reuse
        },
    };
    let image = build(&store, &request, &shown)?;
    if let Some(engine) = engine {
        shown.step("Making the engine's image");
        engine
            .make(&image.meta.name, &image.meta.digest, &image.root, JAIL_INIT)
            .await?;
    }
    shown.finish();
    tell(args, &image)
}

fn tell(args: &Args, image: &FoundImage) -> anyhow::Result<Exit> {
    if args.json {
        print_json(&told::as_object(image))?;
    } else {
        told::say_made(image);
    }
    Ok(Exit::Success)
}

/// The base, and the directory of an unpacked one, which is gone when that is dropped.
async fn base(
    args: &Args,
    store: &ImageStore,
    shown: &Shown,
) -> anyhow::Result<(BaseChoice, Option<NewRoot>)> {
    if args.base == "debootstrap" {
        return Ok((BaseChoice::Debootstrap, None));
    }
    let Some(reference) = args.base.strip_prefix("docker:") else {
        let what = format!("--base {}: say debootstrap or docker:IMAGE", args.base);
        return Err(UsageError::new(what).into());
    };
    let bounds = Bounds::default();
    let archive = saved(&args.socket, reference, store, bounds, shown).await?;
    let unpacked = store.begin()?;
    let request = ImportRequest {
        archive,
        origin: args.base.clone(),
        name: None,
        python: None,
        bounds,
    };
    unpack(&request, unpacked.path(), shown)?;
    let choice = BaseChoice::Unpacked {
        root: unpacked.path().to_owned(),
        name: args.base.clone(),
    };
    Ok((choice, Some(unpacked)))
}
