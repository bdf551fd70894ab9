//! `brig image import`

use super::progress::Shown;
use super::{SocketArgs, StoreArgs, told};
use crate::exit_code::Exit;
use crate::terminal::{print_json, say};
use anyhow::Context;
use brig_backend::images::build::Progress;
use brig_backend::images::import::{Bounds, ImportRequest, import};
use brig_backend::images::{ImageStore, checked_name};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

/// Take an image that was made elsewhere
#[derive(Debug, clap::Args)]
#[command(
    after_help = "SOURCE is the file of an archive (of `docker save`, OCI, or a root file system as a tar; also packed with gzip, zstd, xz or
bzip2), or docker:IMAGE for an image that the container engine has. Works without root. What cells have of their own (users, hosts,
/dev, /proc, /tmp) is replaced; devices, owners and setuid bits are not taken. The image needs a python3.

Examples:
  brig image import ./my-image.tar --name mine
  docker save mine | gzip > mine.tar.gz; brig image import mine.tar.gz
  brig image import docker:python:3.11-slim --name slim"
)]
pub(crate) struct Args {
    /// File of an archive, or docker:IMAGE
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Name of the image [default: what the archive says]
    #[arg(long)]
    name: Option<String>,
    /// Its interpreter, as a path inside
    #[arg(long, value_name = "PATH")]
    python: Option<String>,
    /// Most GiB of files, unpacked
    #[arg(long, value_name = "GIB", default_value_t = 20)]
    max_size: u64,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    socket: SocketArgs,
    /// Print one object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Some(name) = &args.name {
        checked_name(name)?;
    }
    let store = ImageStore::open(&args.store.to_write()?)?;
    let shown = Shown::new();
    let bounds = Bounds {
        bytes: args.max_size.saturating_mul(1 << 30),
        ..Bounds::default()
    };
    let (archive, default_name) = match args.source.strip_prefix("docker:") {
        Some(reference) => (
            saved(&args.socket, reference, &store, bounds, &shown).await?,
            None,
        ),
        None => (open(&args.source)?, name_of(Path::new(&args.source))),
    };
    let request = ImportRequest {
        archive,
        origin: origin(&args.source),
        name: args.name.clone(),
        python: args.python.clone(),
        bounds,
    };
    let imported = import(&store, request, default_name, &shown)?;
    shown.finish();
    if imported.left_out > 0 {
        say(format!(
            "{} devices, pipes or the like were left out: cells have their own",
            imported.left_out
        ));
    }
    if args.json {
        print_json(&told::as_object(&imported.image))?;
    } else {
        told::say_made(&imported.image);
    }
    Ok(Exit::Success)
}

fn open(path: &str) -> anyhow::Result<File> {
    File::open(path).with_context(|| {
        format!("cannot open {path} (an image that the container engine has is named docker:{path})")
    })
}

/// For the description: a path may tell who imported it.
fn origin(source: &str) -> String {
    if source.starts_with("docker:") {
        return source.to_owned();
    }
    let name = Path::new(source).file_name().unwrap_or_default();
    format!("archive {}", name.to_string_lossy())
}

/// `mine.tar.gz` is called `mine`.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.split('.').next()?.to_lowercase();
    checked_name(&name).is_ok().then_some(name)
}

/// An image of the engine, in a file that has no name.
pub(super) async fn saved(
    socket: &SocketArgs,
    reference: &str,
    store: &ImageStore,
    bounds: Bounds,
    shown: &Shown,
) -> anyhow::Result<File> {
    let engine = socket.connect().await?;
    shown.step(&format!("Taking {reference} from the engine"));
    let mut file = tempfile::tempfile_in(store.directory()).context("cannot write to the store")?;
    engine.save(reference, &file, bounds.bytes).await?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_image_where_it_can() {
        assert_eq!(name_of(Path::new("/tmp/Mine.tar.gz")).as_deref(), Some("mine"));
        assert_eq!(name_of(Path::new("/tmp/.tar")), None);
        assert_eq!(origin("/home/somebody/mine.tar"), "archive mine.tar");
        assert_eq!(origin("docker:python:3"), "docker:python:3");
    }
}
