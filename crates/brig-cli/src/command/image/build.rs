//! `brig image build`

use super::progress::Shown;
use super::{StoreArgs, told};
use crate::exit_code::Exit;
use crate::terminal::print_json;
use brig_backend::images::build::{BaseChoice, BuildRequest, CacheUse, build, default_cache};
use brig_backend::images::{Definition, ImageStore};
use std::path::PathBuf;

/// Build an image from its definition
#[derive(Debug, clap::Args)]
#[command(
    after_help = "NAME is one of the definitions that Brig brings along (python, python-data); anything with a slash is a
folder with an `image.toml`. Needs root.

Examples:
  sudo brig image build python
  sudo brig image build ./my-image --fresh"
)]
pub(crate) struct Args {
    /// Name of a definition, or its folder
    #[arg(value_name = "NAME|FOLDER")]
    definition: String,
    /// Install today's packages of the system, although a base is in the cache
    #[arg(long)]
    fresh: bool,
    /// Where bases and downloads are kept
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let definition = Definition::find(&args.definition)?;
    let request = BuildRequest {
        definition,
        base: BaseChoice::Debootstrap,
        cache: args.cache.clone().unwrap_or_else(default_cache),
        cache_use: if args.fresh {
            CacheUse::Renew
        } else {
            CacheUse::Reuse
        },
    };
    let store = ImageStore::open(&args.store.to_write()?)?;
    let shown = Shown::new();
    let image = build(&store, &request, &shown)?;
    shown.finish();
    if args.json {
        print_json(&told::as_object(&image))?;
    } else {
        told::say_made(&image);
    }
    Ok(Exit::Success)
}
