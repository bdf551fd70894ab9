//! `brig image inspect`

use super::{SocketArgs, StoreArgs, told};
use crate::exit_code::Exit;
use crate::quantity::human_bytes;
use crate::terminal::{print, print_json, say, table, visible};
use anyhow::Context;
use brig_backend::images::tar::digest_root;
use brig_backend::images::{FoundImage, ImageCatalog, Package};
use brig_core::spec::ImageName;
use serde_json::json;

/// Show what an image is made of
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 125 when --verify finds other content than the digest says.

Examples:
  brig image inspect python-data
  brig image inspect python-data --verify
  brig image inspect python-data --json | jq -r '.packages[].name'"
)]
pub(crate) struct Args {
    /// Name of the image
    #[arg(value_name = "NAME")]
    name: String,
    /// Read every file and compare with the digest
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    socket: SocketArgs,
    /// Print one object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let catalog = ImageCatalog::new(args.store.to_read()?);
    let resolved = catalog.resolve(&ImageName(args.name.clone()));
    let image = resolved.map_err(|error| {
        let remedy = error.remedy(&args.name);
        anyhow::Error::new(error).context(remedy)
    })?;
    let engine = match args.socket.find().await {
        Some(engine) => engine.images().await.ok(),
        None => None,
    };
    let backends = told::backends(&image, engine.as_deref());
    let verified = args.verify.then(|| verify(&image)).transpose()?;
    if args.json {
        let mut object = told::as_object(&image);
        object["name"] = json!(args.name);
        object["backends"] = json!(backends);
        object["env"] = json!(image.meta.env);
        object["preload"] = json!(image.meta.preload);
        object["limits"] = json!(image.meta.limits);
        object["packages"] = json!(image.meta.packages);
        object["verified"] = json!(verified);
        print_json(&object)?;
    } else {
        print(&as_text(&args.name, &image, &backends))?;
    }
    match verified {
        Some(false) => {
            say(format!(
                "the content of {} is not what its digest says; build it again: brig image build {}",
                image.root.display(),
                args.name
            ));
            Ok(Exit::Failed)
        }
        Some(true) => {
            say("every file is as the digest says");
            Ok(Exit::Success)
        }
        None => Ok(Exit::Success),
    }
}

fn verify(image: &FoundImage) -> anyhow::Result<bool> {
    let found = digest_root(&image.root).context("cannot read all of the image")?;
    Ok(found == image.meta.digest)
}

fn as_text(name: &str, image: &FoundImage, backends: &[&str]) -> String {
    let meta = &image.meta;
    let (python, system): (Vec<&Package>, Vec<&Package>) = meta
        .packages
        .iter()
        .partition(|package| package.name.starts_with("python:"));
    let mut rows = vec![
        vec!["name".to_owned(), visible(name)],
        vec!["digest".to_owned(), meta.digest.to_string()],
        vec!["size".to_owned(), human_bytes(meta.size_bytes.0)],
        vec!["in".to_owned(), backends.join(", ")],
        vec!["root".to_owned(), visible(&image.root.to_string_lossy())],
        vec!["base".to_owned(), visible(&meta.base)],
        vec!["python".to_owned(), visible(&meta.python)],
        vec!["system".to_owned(), format!("{} packages", system.len())],
    ];
    if let Some(memory) = meta.limits.memory_bytes {
        rows.push(vec![
            "memory".to_owned(),
            format!("{} unless a job asks for another", human_bytes(memory.0)),
        ]);
    }
    for (name, value) in &meta.env {
        rows.push(vec![
            "env".to_owned(),
            format!("{}={}", visible(name), visible(value)),
        ]);
    }
    for package in python {
        let name = package.name.trim_start_matches("python:");
        rows.push(vec![
            "package".to_owned(),
            format!("{} {}", visible(name), visible(&package.version)),
        ]);
    }
    table(&rows)
}
