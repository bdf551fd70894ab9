//! The engine's image of a root file system: found by its labels, or made from the same root that the jail uses.

use super::engine::{self, Engine, EngineError};
use super::plan::{LABEL_INIT, LABEL_ROOT};
use crate::docker::protocol::{RootDigest, Trouble};
use crate::images::ImageCatalog;
use crate::images::body::{PIECES, send_root};
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptionsBuilder};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use tokio::sync::{Mutex, mpsc};
use tokio_util::bytes::Bytes;
use tracing::info;

/// The images that the engine has, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Images {
    catalog: ImageCatalog,
    init: &'static [u8],
    init_digest: String,
    /// Held while an image is looked up or made: one at a time, and whoever waits finds it made.
    known: Mutex<HashMap<RootDigest, String>>,
}

impl Images {
    pub(super) fn new(directories: Vec<PathBuf>, init: &'static [u8]) -> Images {
        let digest = Sha256::digest(init);
        Images {
            catalog: ImageCatalog::new(directories),
            init,
            init_digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            known: Mutex::default(),
        }
    }

    /// Any image that there is, for a trial.
    pub(super) fn any(&self) -> Option<RootDigest> {
        let listed = self.catalog.list().ok()?;
        listed
            .into_iter()
            .find_map(|listed| listed.image.ok())
            .map(|image| image.meta.digest)
    }

    /// The engine lost what it had, or may have.
    pub(super) async fn forget(&self, root: &RootDigest) {
        self.known.lock().await.remove(root);
    }

    /// The engine's id of the image; made, where there is none.
    pub(super) async fn ensure(&self, engine: &Engine, root: &RootDigest) -> Result<String, Trouble> {
        let mut known = self.known.lock().await;
        if let Some(id) = known.get(root) {
            return Ok(id.clone());
        }
        let tell = |error: &EngineError| {
            let item = format!("the image {root}");
            engine::trouble(engine, "image", &item, error)
        };
        let id = match self.find(engine, root).await.map_err(|error| tell(&error))? {
            Some(id) => id,
            None => self.make(engine, root).await?,
        };
        known.insert(*root, id.clone());
        Ok(id)
    }

    fn labels(&self, root: &RootDigest) -> [String; 2] {
        [
            format!("{LABEL_ROOT}={root}"),
            format!("{LABEL_INIT}={}", self.init_digest),
        ]
    }

    async fn find(&self, engine: &Engine, root: &RootDigest) -> Result<Option<String>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), self.labels(root).to_vec())]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = engine
            .call("list images", engine.deadlines.quick, |docker| async move {
                docker.list_images(Some(options)).await
            })
            .await?;
        // An old engine might ignore the filter.
        let ours = |labels: &HashMap<String, String>| {
            labels.get(LABEL_ROOT) == Some(&root.to_string())
                && labels.get(LABEL_INIT) == Some(&self.init_digest)
        };
        Ok(images
            .into_iter()
            .find(|image| ours(&image.labels))
            .map(|image| image.id))
    }

    async fn make(&self, engine: &Engine, root: &RootDigest) -> Result<String, Trouble> {
        let found = self.catalog.find(root).map_err(|error| Trouble {
            stage: "image".to_owned(),
            item: error.to_string(),
            errno: 0,
            remedy: error.remedy(&root.to_string()),
        })?;
        info!(%root, name = found.meta.name, "makes the engine's image");
        let broken = |what: String| Trouble {
            stage: "image".to_owned(),
            item: format!("the image {} ({root}): {what}", found.meta.name),
            errno: 0,
            remedy: format!("build it again: `brig image build {}`", found.meta.name),
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        let (path, init) = (found.root.clone(), self.init);
        let archive = tokio::task::spawn_blocking(move || send_root(&path, init, sender));
        let imported = self.import(engine, root, &found.meta.name, receiver).await;
        // The thread ends when nobody takes what it reads.
        match archive.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if imported.is_ok() || error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(broken(error.to_string()));
            }
            Ok(Err(_told_by_the_engine)) => {}
            Err(_panic) => return Err(broken("it could not be read".to_owned())),
        }
        imported.map_err(|error| {
            let item = format!("the image {} ({root})", found.meta.name);
            engine::trouble(engine, "image", &item, &error)
        })?;
        let made = self.find(engine, root).await;
        let made =
            made.map_err(|error| engine::trouble(engine, "image", &found.meta.name.to_string(), &error))?;
        made.ok_or_else(|| broken("the engine took it and does not have it".to_owned()))
    }

    async fn import(
        &self,
        engine: &Engine,
        root: &RootDigest,
        name: &str,
        pieces: mpsc::Receiver<Result<Bytes, io::Error>>,
    ) -> Result<(), EngineError> {
        let init = self.init_digest.get(..12).unwrap_or_default();
        let digits = root.to_string();
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(&format!("brig/{name}"))
            .tag(&format!("{}-{init}", digits.get(..16).unwrap_or_default()))
            .changes(vec![format!("LABEL {}", self.labels(root).join(" "))])
            .build();
        let body = futures_util::stream::unfold(pieces, |mut pieces| async move {
            pieces.recv().await.map(|piece| (piece, pieces))
        });
        engine
            .call("import", engine.deadlines.image, |docker| async move {
                let mut progress = std::pin::pin!(docker.create_image(
                    Some(options),
                    Some(bollard::body_try_stream(body)),
                    None
                ));
                while let Some(step) = progress.next().await {
                    step?;
                }
                Ok(())
            })
            .await
    }
}
