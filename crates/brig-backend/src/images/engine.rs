//! Images of a container engine, for the operator who types `brig image`. Whoever may speak to the engine is as good as
//! root on its machine, so nothing of this is in the daemon: jobs go through the engine broker.

use super::RootDigest;
use super::body::{self, PIECES};
use bollard::Docker;
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions};
use futures_util::StreamExt;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

/// The label that names the root file system of which an engine's image is made.
pub const ROOT_LABEL: &str = "dev.brig.rootfs";
/// The label that names the program that is PID 1 in it.
pub const INIT_LABEL: &str = "dev.brig.init";

/// What needs no more than a look of the engine's.
const QUICK: Duration = Duration::from_secs(10);
/// A step of a transfer.
const STEP: Duration = Duration::from_secs(300);

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineImageError {
    /// Nobody answers.
    #[error(
        "no container engine answers at {}: {why}. Start it, or name another socket with --socket; who may use it belongs to its group (often `docker`)",
        socket.display()
    )]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What happened.
        why: String,
    },
    /// It has no such image.
    #[error("the engine has no image {0}: `docker pull {0}` or `docker load` first")]
    NoImage(String),
    /// A container still uses it.
    #[error("a container uses the engine's image {0}: remove the container first")]
    InUse(String),
    /// Not a reference of an image.
    #[error("{0:?} is no reference of an image, like python:3.11-slim")]
    BadReference(String),
    /// It said no.
    #[error("the engine refused to {act}: {why}")]
    Refused {
        /// What.
        act: &'static str,
        /// In its words.
        why: String,
    },
    /// Files of this side.
    #[error("failed to {act}")]
    Io {
        /// What.
        act: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An image of ours that an engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineImage {
    /// The engine's id.
    pub id: String,
    /// Of what it is made.
    pub root: RootDigest,
    /// With which PID 1: hexadecimal digits.
    pub init: String,
    /// Bytes.
    pub size: u64,
}

/// An engine.
#[derive(Debug)]
pub struct EngineImages {
    docker: Docker,
    socket: PathBuf,
}

impl EngineImages {
    /// The engine behind a socket.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn connect(socket: &Path) -> Result<Self, EngineImageError> {
        let unreachable = |why: String| EngineImageError::Unreachable {
            socket: socket.to_owned(),
            why,
        };
        let path = socket
            .to_str()
            .ok_or_else(|| unreachable("its path is not text".to_owned()))?;
        let docker = Docker::connect_with_unix(path, 600, bollard::API_DEFAULT_VERSION);
        let docker = docker.map_err(|error| unreachable(error.to_string()))?;
        match tokio::time::timeout(QUICK, docker.ping()).await {
            Ok(Ok(_pong)) => Ok(Self {
                docker,
                socket: socket.to_owned(),
            }),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_elapsed) => Err(unreachable(format!("no answer within {} s", QUICK.as_secs()))),
        }
    }

    /// Every image that was made of a root file system.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn images(&self) -> Result<Vec<EngineImage>, EngineImageError> {
        let filters = HashMap::from([("label".to_owned(), vec![ROOT_LABEL.to_owned()])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker.list_images(Some(options));
        let listed = self.within(QUICK, "list its images", listed).await?;
        Ok(listed
            .into_iter()
            .filter_map(|image| {
                let root = image.labels.get(ROOT_LABEL)?.parse().ok()?;
                let init = image.labels.get(INIT_LABEL).cloned().unwrap_or_default();
                Some(EngineImage {
                    id: image.id,
                    root,
                    init,
                    size: u64::try_from(image.size).unwrap_or(0),
                })
            })
            .collect())
    }

    /// Writes an image of the engine as an archive, as `docker save` does.
    ///
    /// # Errors
    /// The engine has no such image, or a write fails.
    pub async fn save(&self, reference: &str, mut out: &File, most: u64) -> Result<u64, EngineImageError> {
        check_reference(reference)?;
        let found = self.docker.inspect_image(reference);
        if let Ok(Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })) =
            tokio::time::timeout(QUICK, found).await
        {
            return Err(EngineImageError::NoImage(reference.to_owned()));
        }
        let mut pieces = std::pin::pin!(self.docker.export_image(reference));
        let mut written = 0;
        loop {
            let next = tokio::time::timeout(STEP, pieces.next()).await;
            let next =
                next.map_err(|_elapsed| refused("save an image", "it stopped in the middle".to_owned()))?;
            let Some(piece) = next else { return Ok(written) };
            let piece = piece.map_err(|error| refused("save an image", error.to_string()))?;
            written += piece.len() as u64;
            if written > most {
                return Err(refused(
                    "save an image",
                    format!("it is larger than {most} bytes"),
                ));
            }
            out.write_all(&piece).map_err(|source| EngineImageError::Io {
                act: "write what the engine saves",
                source,
            })?;
        }
    }

    /// Makes the engine's image of a root file system, unless it has it.
    ///
    /// # Errors
    /// The root cannot be read, or the engine refuses.
    pub async fn make(
        &self,
        name: &str,
        digest: &RootDigest,
        root: &Path,
        init: &'static [u8],
    ) -> Result<EngineImage, EngineImageError> {
        let init_digest: [u8; 32] = Sha256::digest(init).into();
        let init_digest: String = init_digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let ours = |image: &EngineImage| image.root == *digest && image.init == init_digest;
        if let Some(found) = self.images().await?.into_iter().find(ours) {
            return Ok(found);
        }
        let (sender, receiver) = mpsc::channel(PIECES);
        let root = root.to_owned();
        let reading = tokio::task::spawn_blocking(move || body::send_root(&root, init, sender));
        let digits = digest.to_string();
        let tag = format!("{}-{}", &digits[..16], &init_digest[..12]);
        let labels = format!("LABEL {ROOT_LABEL}={digest} {INIT_LABEL}={init_digest}");
        let taken = self.take(&format!("brig/{name}"), &tag, labels, receiver).await;
        let read = reading.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        match read {
            Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
                return Err(EngineImageError::Io {
                    act: "read the root file system",
                    source,
                });
            }
            Ok(()) | Err(_) => taken?,
        }
        let found = self.images().await?.into_iter().find(ours);
        found.ok_or_else(|| refused("make an image", "it took it and does not have it".to_owned()))
    }

    async fn take(
        &self,
        repository: &str,
        tag: &str,
        labels: String,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<(), EngineImageError> {
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .changes(vec![labels])
            .build();
        let body = futures_util::stream::unfold(pieces, |mut pieces| async move {
            pieces.recv().await.map(|piece| (piece, pieces))
        });
        let body = bollard::body_try_stream(body);
        let mut steps = std::pin::pin!(self.docker.create_image(Some(options), Some(body), None));
        loop {
            let next = tokio::time::timeout(STEP, steps.next()).await;
            let next =
                next.map_err(|_elapsed| refused("make an image", "it stopped in the middle".to_owned()))?;
            match next {
                None => return Ok(()),
                Some(step) => drop(step.map_err(|error| refused("make an image", error.to_string()))?),
            }
        }
    }

    /// Removes an image that no container uses.
    ///
    /// # Errors
    /// A container uses it, or the engine refuses.
    pub async fn remove(&self, image: &EngineImage) -> Result<(), EngineImageError> {
        let removed = self
            .docker
            .remove_image(&image.id, None::<RemoveImageOptions>, None);
        match tokio::time::timeout(STEP, removed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. })) => {
                Err(EngineImageError::InUse(image.id.clone()))
            }
            Ok(Err(error)) => Err(refused("remove an image", error.to_string())),
            Err(_elapsed) => Err(refused("remove an image", "it did not answer".to_owned())),
        }
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        act: &'static str,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineImageError> {
        match tokio::time::timeout(deadline, call).await {
            Ok(answer) => answer.map_err(|error| refused(act, error.to_string())),
            Err(_elapsed) => Err(EngineImageError::Unreachable {
                socket: self.socket.clone(),
                why: format!("no answer within {} s", deadline.as_secs()),
            }),
        }
    }
}

fn refused(act: &'static str, why: String) -> EngineImageError {
    EngineImageError::Refused { act, why }
}

/// A reference becomes part of a request's path.
fn check_reference(reference: &str) -> Result<(), EngineImageError> {
    let plain = reference
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte));
    let parts = reference.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if plain && parts && reference.len() <= 256 {
        return Ok(());
    }
    Err(EngineImageError::BadReference(reference.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_never_more_than_a_name() {
        for right in ["python:3.11-slim", "docker.io/library/python", "a@sha256:00"] {
            assert!(check_reference(right).is_ok(), "{right}");
        }
        for wrong in ["", "../containers", "a/../b", "a?force=1", "a b", "a#b", "/a"] {
            assert!(check_reference(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named_with_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        let error = EngineImages::connect(&place.path().join("none.sock"))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("none.sock") && text.contains("--socket"), "{text}");
    }
}
