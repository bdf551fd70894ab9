//! Fetching collected files and writing them here.

use crate::out_dir::{OutDir, SaveError};
use crate::quantity::human_bytes;
use crate::remote::Remote;
use crate::terminal::visible;
use brig_core::outcome::CollectedFile;
use std::collections::BTreeMap;

/// What became of collected files.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Where they are, by their name in the workspace.
    pub(crate) places: BTreeMap<String, String>,
    written: Vec<String>,
    refused: Vec<String>,
    nothing_matched: bool,
}

impl Saved {
    /// Whether a file could not be written.
    pub(crate) fn failed(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Lines for a person.
    pub(crate) fn notes(&self) -> Vec<String> {
        let nothing = self
            .nothing_matched
            .then(|| "no file in /workspace matched --out".to_owned());
        self.written
            .iter()
            .chain(&self.refused)
            .cloned()
            .chain(nothing)
            .collect()
    }
}

/// Fetches `files` into `directory`. One file that cannot be written does not stop the others.
pub(crate) async fn save(
    remote: &Remote,
    files: &[CollectedFile],
    directory: &OutDir,
    wanted: &[&str],
) -> anyhow::Result<Saved> {
    let mut saved = Saved {
        nothing_matched: files.is_empty(),
        ..Saved::default()
    };
    for file in files {
        let name = visible(&file.path);
        let saving = match directory.begin(&file.path, wanted) {
            Ok(saving) => saving,
            Err(error) => {
                saved.refused.push(format!("{name} was not written: {error}"));
                continue;
            }
        };
        remote.download(file.file, &saving.file).await?;
        match saving.finish() {
            Ok(()) => {
                let place = directory.shown(&file.path).display().to_string();
                saved
                    .written
                    .push(format!("wrote {} ({})", visible(&place), human_bytes(file.size)));
                saved.places.insert(file.path.clone(), place);
            }
            Err(error @ (SaveError::UnsafeName | SaveError::Exists | SaveError::Io(_))) => {
                saved.refused.push(format!("{name} was not written: {error}"));
            }
        }
    }
    Ok(saved)
}
