//! Secrets of jobs that have not ended: in memory only, so that a restart forgets them.

use brig_core::JobId;
use brig_core::spec::{EnvEntry, EnvValue, JobSpec};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Environment entries of jobs that have secrets, by job.
#[derive(Default)]
pub(crate) struct SecretVault {
    kept: Mutex<HashMap<JobId, Vec<EnvEntry>>>,
}

/// A job's secrets are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SecretsLost;

impl SecretVault {
    /// Keeps the entries of `spec` until the job has ended. Costs nothing for a job without secrets.
    pub(crate) fn keep(&self, job: JobId, spec: &JobSpec) {
        let is_secret = |entry: &EnvEntry| matches!(entry.value, EnvValue::Secret(_));
        if spec.env.iter().any(is_secret) {
            self.lock().insert(job, spec.env.clone());
        }
    }

    /// Puts the secrets back into a spec that came from the store.
    pub(crate) fn restore(&self, job: JobId, spec: &mut JobSpec) -> Result<(), SecretsLost> {
        if !spec.has_lost_secrets() {
            return Ok(());
        }
        spec.env = self.lock().get(&job).cloned().ok_or(SecretsLost)?;
        Ok(())
    }

    /// The job has ended.
    pub(crate) fn forget(&self, job: JobId) {
        self.lock().remove(&job);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Vec<EnvEntry>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
