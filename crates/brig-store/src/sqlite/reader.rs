//! Reading jobs and events. Readers never wait for writers.

use super::{SqliteStore, sql};
use crate::{page, row};
use brig_core::event::{EventBody, JobEventRecord};
use brig_core::store::{Job, JobFilter, JobPage, JobReader, StoreError};
use brig_core::{JobId, TenantId};
use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use std::collections::BTreeMap;

/// Jobs on one page, whatever the caller asks for.
const PAGE_MAX: u32 = 1_000;
/// Bytes of specs and results on one page, after which it ends early.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of output in one answer, after which it ends early.
const EVENT_BYTES: usize = 2 * 1024 * 1024;

/// Every state word, for lists that must name those without jobs too.
const STATES: [&str; 6] = [
    "queued",
    "running",
    "cancelling",
    "finished",
    "failed",
    "cancelled",
];

#[async_trait::async_trait]
impl JobReader for SqliteStore {
    async fn get(&self, tenant: &TenantId, job: JobId) -> Result<Job, StoreError> {
        let found = sqlx::query(sql::GET)
            .bind(job.as_bytes().to_vec())
            .bind(tenant.as_str().to_owned())
            .fetch_optional(&self.readers)
            .await
            .map_err(self.errors.of("read a job"))?;
        found.as_ref().map_or(Err(StoreError::NotFound), row::job)
    }

    async fn list(
        &self,
        tenant: &TenantId,
        filter: &JobFilter,
        limit: u32,
        page: Option<&str>,
    ) -> Result<JobPage, StoreError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let before = match page {
            Some(text) => page::parse(tenant, filter, text)?.as_bytes().to_vec(),
            // Longer than every id, so after all of them.
            None => vec![0xff; 17],
        };
        let failed = super::change::encoding("encode a filter");
        let states = serde_json::to_string(&filter.states).map_err(&failed)?;
        let labels = serde_json::to_string(&filter.labels).map_err(&failed)?;
        let mut rows = sqlx::query(sql::LIST)
            .bind(tenant.as_str().to_owned())
            .bind(before)
            .bind((!filter.states.is_empty()).then_some(states))
            .bind(labels)
            .bind(filter.created_by.clone())
            // One more than wanted shows whether there is a next page.
            .bind(i64::from(limit) + 1)
            .fetch(&self.readers);
        let (mut jobs, mut size) = (Vec::new(), 0);
        let mut more = false;
        while let Some(found) = rows.try_next().await.map_err(self.errors.of("list jobs"))? {
            if jobs.len() >= usize::try_from(limit).unwrap_or(usize::MAX) || size >= PAGE_BYTES {
                more = true;
                break;
            }
            let result: Option<&str> = row::column(&found, "result")?;
            size += row::column::<&str>(&found, "spec")?.len() + result.map_or(0, str::len);
            jobs.push(row::job(&found)?);
        }
        let next = jobs.last().filter(|_| more);
        let next = next.map(|last: &Job| page::token(tenant, filter, last.id));
        Ok(JobPage { jobs, next })
    }

    async fn events(
        &self,
        tenant: &TenantId,
        job: JobId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<JobEventRecord>, StoreError> {
        let mut rows = sqlx::query(sql::EVENTS)
            .bind(job.as_bytes().to_vec())
            .bind(tenant.as_str().to_owned())
            .bind(i64::try_from(from).unwrap_or(i64::MAX))
            .bind(i64::from(limit.max(1)))
            .fetch(&self.readers);
        let (mut events, mut size, mut known) = (Vec::new(), 0, false);
        while let Some(found) = rows.try_next().await.map_err(self.errors.of("read events"))? {
            known = true;
            let Some(event) = row::event(&found, job, from)? else {
                continue;
            };
            size += match &event.body {
                EventBody::Output { data, .. } => data.0.len(),
                EventBody::Queued
                | EventBody::Started { .. }
                | EventBody::Requeued { .. }
                | EventBody::Cancelling
                | EventBody::Ended { .. }
                | EventBody::Gap { .. } => 0,
            };
            events.push(event);
            if size >= EVENT_BYTES {
                break;
            }
        }
        if known {
            Ok(events)
        } else {
            Err(StoreError::NotFound)
        }
    }

    async fn counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let rows = sqlx::query(sql::COUNTS)
            .fetch_all(&self.readers)
            .await
            .map_err(self.errors.of("count jobs"))?;
        let mut counts: BTreeMap<String, u64> = STATES.iter().map(|word| ((*word).to_owned(), 0)).collect();
        for found in rows {
            let jobs: i64 = row::column(&found, "jobs")?;
            counts.insert(found.get("state"), u64::try_from(jobs).unwrap_or(0));
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::{JobState, Lease, Timestamp, WorkerId};

    #[test]
    fn every_state_word_is_counted() {
        let lease = Lease {
            worker: WorkerId::generate(),
            attempt: 1,
            until: Timestamp::from_millis(0),
        };
        let queued = JobState::Queued {
            attempts_used: 0,
            not_before: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(1),
        };
        let states = [
            queued,
            JobState::Running(lease),
            JobState::Cancelling(lease),
            JobState::Finished,
            JobState::Failed,
            JobState::Cancelled,
        ];
        assert_eq!(states.map(|state| state.word()), STATES);
    }
}
