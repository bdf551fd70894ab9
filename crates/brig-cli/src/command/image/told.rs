//! What is told of an image.

use crate::quantity::human_bytes;
use crate::terminal::say;
use brig_backend::images::FoundImage;
use brig_backend::images::engine::EngineImage;
use serde_json::{Value, json};

/// For programs.
pub(crate) fn as_object(image: &FoundImage) -> Value {
    let meta = &image.meta;
    json!({
        "name": meta.name,
        "digest": meta.digest.to_string(),
        "python": meta.python,
        "base": meta.base,
        "created_ms": meta.created.as_millis(),
        "size_bytes": meta.size_bytes.0,
        "root": image.root,
    })
}

/// For the person who made it.
pub(crate) fn say_made(image: &FoundImage) {
    let meta = &image.meta;
    say(format!(
        "{} is {} ({}, {} packages): brig run --image {} …",
        meta.name,
        short(&meta.digest.to_string()),
        human_bytes(meta.size_bytes.0),
        meta.packages.len(),
        meta.name
    ));
}

/// Where it can be used at once; the others make what they need when it is first used.
pub(crate) fn backends(image: &FoundImage, engine: Option<&[EngineImage]>) -> Vec<&'static str> {
    let made = engine
        .unwrap_or_default()
        .iter()
        .any(|made| made.root == image.meta.digest);
    if made {
        vec!["jail", "docker"]
    } else {
        vec!["jail"]
    }
}

/// Enough of a digest to tell images apart.
pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
