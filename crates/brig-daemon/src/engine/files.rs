//! Bytes of stored files: below one directory, named by id only, complete or not there.
//!
//! A file grows under a temporary name, is made durable as asked, renamed, and only then entered in the index; what
//! a crash leaves behind is either temporary or unknown to the index, and the cleaner removes both.

use crate::clock;
use brig_core::spec::Durability;
use brig_core::store::{FILE_OVERHEAD, FileRecord, Store, StoreError};
use brig_core::{Bytes, Fault, FileId, JobId, TenantId};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tracing::warn;

/// Why a file was not stored or not given.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No such file for this tenant.
    #[error("there is no such file")]
    NotFound,
    /// Larger than any file may be.
    #[error("the file is larger than {limit}")]
    TooLarge {
        /// At most.
        limit: Bytes,
    },
    /// The tenant has stored too much.
    #[error("the stored files would have more than {limit}; remove some")]
    QuotaExceeded {
        /// At most.
        limit: Bytes,
    },
    /// What arrived is not what was announced.
    #[error("the content does not have the SHA-256 that was announced")]
    DigestMismatch,
    /// The file system failed.
    #[error("failed to {act}")]
    Io {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for FileError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::NotFound) {
            Self::NotFound
        } else {
            Self::Store(error)
        }
    }
}

impl FileError {
    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotFound | Self::TooLarge { .. } | Self::DigestMismatch => Fault::Caller,
            Self::QuotaExceeded { .. } => Fault::Busy,
            Self::Io { .. } => Fault::Host,
            Self::Store(error) => error.fault(),
        }
    }

    fn io(act: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { act, source }
    }

    pub(super) fn into_io(self) -> std::io::Error {
        match self {
            Self::Io { source, .. } => source,
            Self::TooLarge { .. } | Self::QuotaExceeded { .. } => {
                std::io::Error::new(std::io::ErrorKind::QuotaExceeded, self)
            }
            Self::NotFound | Self::DigestMismatch | Self::Store(_) => std::io::Error::other(self),
        }
    }
}

/// The directory of files and its index.
pub(crate) struct FileDepot {
    root: PathBuf,
    store: Arc<dyn Store>,
    quota: Bytes,
    /// Bytes that are being written, per tenant: they count before the index knows them.
    growing: Arc<Mutex<HashMap<TenantId, u64>>>,
}

impl FileDepot {
    pub(crate) fn new(root: PathBuf, store: Arc<dyn Store>, quota: Bytes) -> Self {
        Self {
            root,
            store,
            quota,
            growing: Arc::default(),
        }
    }

    /// Makes the directories.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        // What is in it is for nobody else, whoever made the directory around it.
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(self.temporary())
    }

    /// Begins a file that a caller uploads.
    pub(crate) async fn begin(&self, tenant: &TenantId, name: &str) -> Result<Growing, FileError> {
        self.grow(tenant, name, None).await
    }

    /// Begins a file that a job produced.
    pub(super) async fn begin_of_job(
        &self,
        tenant: &TenantId,
        name: &str,
        job: JobId,
    ) -> Result<Growing, FileError> {
        self.grow(tenant, name, Some(job)).await
    }

    async fn grow(&self, tenant: &TenantId, name: &str, job: Option<JobId>) -> Result<Growing, FileError> {
        let stored = self.store.stored_bytes(tenant).await?;
        let id = FileId::generate();
        let path = self.temporary().join(id.to_string());
        let mut temporary = Temporary {
            path: path.clone(),
            tenant: tenant.clone(),
            bytes: 0,
            growing: Arc::clone(&self.growing),
        };
        if stored.saturating_add(temporary.grow(FILE_OVERHEAD)) > self.quota.0 {
            return Err(FileError::QuotaExceeded { limit: self.quota });
        }
        let file = File::create_new(&path)
            .await
            .map_err(FileError::io("create a file"))?;
        Ok(Growing {
            record: FileRecord {
                id,
                tenant: tenant.clone(),
                name: name.to_owned(),
                size: 0,
                sha256: [0; 32],
                created: clock::now(),
                job,
            },
            digest: Sha256::new(),
            file,
            temporary,
            stored,
            quota: self.quota,
        })
    }

    /// Completes a file and enters it in the index.
    pub(crate) async fn complete(
        &self,
        mut growing: Growing,
        durability: Durability,
    ) -> Result<FileRecord, FileError> {
        let done = FileError::io("complete a file");
        growing.file.flush().await.map_err(done)?;
        let path = self.path(growing.record.id);
        let folder = path.parent().map_or_else(|| self.root.clone(), Path::to_path_buf);
        tokio::fs::create_dir_all(&folder)
            .await
            .map_err(FileError::io("create a directory of files"))?;
        if durability == Durability::PowerLoss {
            growing
                .file
                .sync_all()
                .await
                .map_err(FileError::io("sync a file"))?;
        }
        tokio::fs::rename(&growing.temporary.path, &path)
            .await
            .map_err(FileError::io("name a file"))?;
        if durability == Durability::PowerLoss {
            let synced = async { File::open(&folder).await?.sync_all().await };
            synced.await.map_err(FileError::io("sync a directory of files"))?;
        }
        growing.record.sha256 = growing.digest.finalize().into();
        growing.record.created = clock::now();
        self.store.put_file(growing.record.clone()).await?;
        Ok(growing.record)
    }

    /// The record and the bytes of a file.
    pub(crate) async fn open(
        &self,
        tenant: &TenantId,
        file: FileId,
    ) -> Result<(FileRecord, std::fs::File), FileError> {
        let record = self.store.get_file(tenant, file).await?;
        let opened = File::open(self.path(file)).await;
        let opened = opened.map_err(FileError::io("open a file"))?;
        Ok((record, opened.into_std().await))
    }

    /// A whole file, which the caller has checked to be small.
    pub(crate) async fn read(&self, tenant: &TenantId, file: FileId) -> Result<Vec<u8>, FileError> {
        self.store.get_file(tenant, file).await?;
        tokio::fs::read(self.path(file))
            .await
            .map_err(FileError::io("read a file"))
    }

    /// Forgets a file.
    pub(crate) async fn remove(&self, tenant: &TenantId, file: FileId) -> Result<(), FileError> {
        self.store.remove_file(tenant, file).await?;
        self.delete(file).await;
        Ok(())
    }

    /// Deletes the bytes of a file that the index does not know any more.
    pub(crate) async fn delete(&self, file: FileId) {
        if let Err(error) = tokio::fs::remove_file(self.path(file)).await {
            warn!(%file, %error, "the bytes of a removed file are still there");
        }
    }

    /// Deletes what a crash left behind: called before anything is stored.
    pub(crate) async fn sweep(&self) -> Result<u64, FileError> {
        let known: HashSet<FileId> = self.store.all_files().await?.into_iter().collect();
        let root = self.root.clone();
        let swept = tokio::task::spawn_blocking(move || sweep(&root, &known)).await;
        match swept {
            Ok(swept) => swept.map_err(FileError::io("look for left-over files")),
            Err(_panicked) => Ok(0),
        }
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Two levels, so that no directory gets too large; the last digits of an id are random.
    fn path(&self, file: FileId) -> PathBuf {
        let name = file.to_string();
        let folder = &name[name.len() - 2..];
        self.root.join(folder).join(&name)
    }
}

fn sweep(root: &Path, known: &HashSet<FileId>) -> std::io::Result<u64> {
    let mut swept = 0;
    for folder in std::fs::read_dir(root)? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        let all = folder.file_name() == "tmp";
        for file in std::fs::read_dir(folder.path())? {
            let file = file?;
            let id = file
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<FileId>().ok());
            // A name that is not an id is not ours to delete.
            if id.is_some_and(|id| all || !known.contains(&id)) {
                std::fs::remove_file(file.path())?;
                swept += 1;
            }
        }
    }
    Ok(swept)
}

/// A file that is being written. Dropped before it is complete it was never there.
pub(crate) struct Growing {
    record: FileRecord,
    digest: Sha256,
    file: File,
    temporary: Temporary,
    stored: u64,
    quota: Bytes,
}

impl Growing {
    /// Adds bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let growing = self.temporary.grow(more);
        if self.stored.saturating_add(growing) > self.quota.0 {
            return Err(FileError::QuotaExceeded { limit: self.quota });
        }
        self.record.size = self.record.size.saturating_add(more);
        self.digest.update(bytes);
        self.file
            .write_all(bytes)
            .await
            .map_err(FileError::io("write a file"))
    }

    /// Whether the content is what was announced.
    pub(crate) fn check(&self, announced: &[u8; 32]) -> Result<(), FileError> {
        let digest: [u8; 32] = self.digest.clone().finalize().into();
        if digest == *announced {
            Ok(())
        } else {
            Err(FileError::DigestMismatch)
        }
    }
}

/// Removes the temporary name and the reservation when dropped.
struct Temporary {
    path: PathBuf,
    tenant: TenantId,
    bytes: u64,
    growing: Arc<Mutex<HashMap<TenantId, u64>>>,
}

impl Temporary {
    /// Reserves more bytes; gives what the tenant has in progress altogether.
    fn grow(&mut self, more: u64) -> u64 {
        self.bytes = self.bytes.saturating_add(more);
        let mut growing = lock(&self.growing);
        let total = growing.entry(self.tenant.clone()).or_default();
        *total = total.saturating_add(more);
        *total
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut growing = lock(&self.growing);
        if let Some(total) = growing.get_mut(&self.tenant) {
            *total = total.saturating_sub(self.bytes);
            if *total == 0 {
                growing.remove(&self.tenant);
            }
        }
        drop(growing);
        // Already renamed when the file is complete.
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                warn!(%error, "a temporary file is still there");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn lock(growing: &Mutex<HashMap<TenantId, u64>>) -> MutexGuard<'_, HashMap<TenantId, u64>> {
    growing.lock().unwrap_or_else(PoisonError::into_inner)
}
