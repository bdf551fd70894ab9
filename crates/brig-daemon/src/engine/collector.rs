//! Keeps what a job produced, as files of the tenant.

use super::files::{FileDepot, FileError, Growing};
use async_trait::async_trait;
use brig_core::backend::FileSink;
use brig_core::outcome::CollectedFile;
use brig_core::spec::Durability;
use brig_core::store::Job;
use brig_core::{FileId, JobId, TenantId};

/// Keeps what a job produced.
pub(crate) struct Collector<'a> {
    depot: &'a FileDepot,
    tenant: &'a TenantId,
    job: JobId,
    durability: Durability,
    current: Option<Growing>,
    kept: Vec<CollectedFile>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(depot: &'a FileDepot, job: &'a Job) -> Self {
        Self {
            depot,
            tenant: &job.tenant,
            job: job.id,
            durability: job.spec.durability,
            current: None,
            kept: Vec::new(),
        }
    }

    /// Files that are complete.
    pub(crate) fn into_kept(self) -> Vec<CollectedFile> {
        self.kept
    }
}

#[async_trait]
impl FileSink for Collector<'_> {
    async fn begin(&mut self, path: &str) -> Result<(), std::io::Error> {
        let growing = self.depot.begin_of_job(self.tenant, path, self.job).await;
        self.current = Some(growing.map_err(FileError::into_io)?);
        Ok(())
    }

    async fn data(&mut self, bytes: &[u8]) -> Result<(), std::io::Error> {
        match &mut self.current {
            Some(growing) => growing.write(bytes).await.map_err(FileError::into_io),
            None => Err(std::io::Error::other("no file was begun")),
        }
    }

    async fn end(&mut self) -> Result<FileId, std::io::Error> {
        let Some(growing) = self.current.take() else {
            return Err(std::io::Error::other("no file was begun"));
        };
        let done = self.depot.complete(growing, self.durability).await;
        let record = done.map_err(FileError::into_io)?;
        self.kept.push(CollectedFile {
            path: record.name,
            file: record.id,
            size: record.size,
        });
        Ok(record.id)
    }

    async fn discard(&mut self) {
        self.current = None;
    }
}
