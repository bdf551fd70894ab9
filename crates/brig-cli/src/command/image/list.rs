//! `brig image ls`

use super::{SocketArgs, StoreArgs, told};
use crate::exit_code::Exit;
use crate::quantity::{human_bytes, human_duration};
use crate::terminal::{print, print_json, say, table, visible};
use brig_backend::images::engine::EngineImage;
use brig_backend::images::{FoundImage, ImageCatalog};
use brig_core::time::Timestamp;
use serde_json::{Value, json};

/// List the images that there are
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The image `host`, the machine's own Python, is there without being listed; only the jail has it.

Examples:
  brig image ls
  brig image ls --json | jq -r '.images[].name'"
)]
pub(crate) struct Args {
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
    let listed = catalog.list()?;
    let engine = match args.socket.find().await {
        Some(engine) => engine.images().await.ok(),
        None => None,
    };
    let mut images = Vec::new();
    let mut broken = Vec::new();
    for listed in listed {
        match listed.image {
            Ok(image) => images.push((listed.name.0, image)),
            Err(error) => broken.push((listed.name.0, error)),
        }
    }
    if args.json {
        let images: Vec<Value> = images
            .iter()
            .map(|(name, image)| as_object(name, image, engine.as_deref()))
            .collect();
        let broken: Vec<Value> = broken
            .iter()
            .map(|(name, error)| json!({ "name": name, "problem": error.to_string(), "remedy": error.remedy(name) }))
            .collect();
        print_json(&json!({ "images": images, "broken": broken }))?;
        return Ok(Exit::Success);
    }
    print(&as_table(&images, engine.as_deref()))?;
    for (name, error) in &broken {
        say(format!("{name}: {error}; {}", error.remedy(name)));
    }
    if images.is_empty() && broken.is_empty() {
        say("no images yet: `brig image build python` makes one");
    }
    Ok(Exit::Success)
}

fn as_object(name: &str, image: &FoundImage, engine: Option<&[EngineImage]>) -> Value {
    let mut object = told::as_object(image);
    object["name"] = json!(name);
    object["backends"] = json!(told::backends(image, engine));
    object["store"] = json!(image.store);
    object
}

fn as_table(images: &[(String, FoundImage)], engine: Option<&[EngineImage]>) -> String {
    if images.is_empty() {
        return String::new();
    }
    let heads = ["NAME", "DIGEST", "SIZE", "MADE", "IN", "BASE"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (name, image) in images {
        let meta = &image.meta;
        rows.push(vec![
            visible(name),
            told::short(&meta.digest.to_string()),
            human_bytes(meta.size_bytes.0),
            format!("{} ago", human_duration(Timestamp::now().since(meta.created))),
            told::backends(image, engine).join(", "),
            visible(&meta.base),
        ]);
    }
    table(&rows)
}
