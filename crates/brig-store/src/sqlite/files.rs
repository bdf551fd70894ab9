//! The index of stored files. Their bytes are the daemon's.

use super::{SqliteStore, sql};
use crate::row;
use brig_core::job::Refused;
use brig_core::spec::Durability;
use brig_core::store::{FILE_OVERHEAD, FileIndex, FileRecord, StoreError};
use brig_core::{FileId, JobId, TenantId};

#[async_trait::async_trait]
impl FileIndex for SqliteStore {
    async fn put_file(&self, file: FileRecord) -> Result<(), StoreError> {
        let FileRecord {
            id,
            tenant,
            name,
            size,
            sha256,
            created,
            job,
        } = file;
        let statement = sqlx::query(sql::PUT_FILE)
            .bind(id.as_bytes().to_vec())
            .bind(String::from(tenant))
            .bind(name)
            .bind(i64::try_from(size).unwrap_or(i64::MAX))
            .bind(sha256.to_vec())
            .bind(created.as_millis())
            .bind(job.map(|job| job.as_bytes().to_vec()));
        self.write("remember a file", Durability::Process, statement)
            .await?;
        Ok(())
    }

    async fn get_file(&self, tenant: &TenantId, file: FileId) -> Result<FileRecord, StoreError> {
        let found = sqlx::query(sql::GET_FILE)
            .bind(file.as_bytes().to_vec())
            .bind(tenant.as_str().to_owned())
            .fetch_optional(&self.readers)
            .await
            .map_err(self.errors.of("read a file's record"))?;
        found.as_ref().map_or(Err(StoreError::NotFound), row::file)
    }

    async fn list_files(
        &self,
        tenant: &TenantId,
        job: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<FileRecord>, StoreError> {
        let rows = sqlx::query(sql::LIST_FILES)
            .bind(tenant.as_str().to_owned())
            .bind(job.map(|job| job.as_bytes().to_vec()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(self.errors.of("list files"))?;
        rows.iter().map(row::file).collect()
    }

    async fn remove_file(&self, tenant: &TenantId, file: FileId) -> Result<(), StoreError> {
        let statement = sqlx::query(sql::REMOVE_FILE)
            .bind(file.as_bytes().to_vec())
            .bind(tenant.as_str().to_owned());
        let rows = self
            .write("forget a file", Durability::Process, statement)
            .await?;
        match rows.first() {
            None => Err(StoreError::NotFound),
            Some(found) if row::column::<bool>(found, "needed")? => Err(Refused::AlreadyClaimed.into()),
            Some(_) => Ok(()),
        }
    }

    async fn stored_bytes(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let bytes: i64 = sqlx::query_scalar(sql::STORED_BYTES)
            .bind(tenant.as_str().to_owned())
            .bind(FILE_OVERHEAD.cast_signed())
            .fetch_one(&self.readers)
            .await
            .map_err(self.errors.of("add up stored files"))?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    async fn all_files(&self) -> Result<Vec<FileId>, StoreError> {
        let rows = sqlx::query(sql::ALL_FILES)
            .fetch_all(&self.readers)
            .await
            .map_err(self.errors.of("list every file"))?;
        rows.iter().map(row::file_id).collect()
    }
}
