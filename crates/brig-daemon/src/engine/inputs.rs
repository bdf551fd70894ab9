//! From a job's spec to what a backend needs: contents at hand, secrets revealed.

use super::Engine;
use super::verdict::Unfinished;
use brig_core::TenantId;
use brig_core::backend::{Bulk, CellRequest, Execution, Start, Upload};
use brig_core::spec::{Content, EnvValue, JobSpec, Program};
use brig_core::store::Job;
use std::time::Instant;

/// Which cell a job needs.
pub(crate) fn cell_request(job: &Job) -> CellRequest {
    let spec = &job.spec;
    CellRequest {
        job: job.id,
        backend: spec.backend.clone(),
        image: spec.image.clone(),
        isolation: spec.isolation,
        network: spec.network,
        limits: spec.limits,
    }
}

impl Engine {
    /// Files to place.
    pub(crate) async fn inputs(&self, tenant: &TenantId, spec: &JobSpec) -> Result<Vec<Upload>, Unfinished> {
        let mut uploads = Vec::with_capacity(spec.inputs.len());
        for input in &spec.inputs {
            uploads.push(Upload {
                path: input.path.clone(),
                content: self.bulk(tenant, input.content.clone()).await?,
                mode: input.mode,
            });
        }
        Ok(uploads)
    }

    /// The program with everything that it needs.
    pub(crate) async fn execution(
        &self,
        tenant: &TenantId,
        spec: JobSpec,
        lease_until: Instant,
    ) -> Result<Execution, Unfinished> {
        let redact = spec.secrets().map(str::to_owned).collect();
        let start = match spec.program {
            Program::Python { code, file, args } => Start::Python {
                code: self.bytes(tenant, code).await?,
                file,
                args,
            },
            Program::Command { argv } => Start::Command { argv },
        };
        let stdin = match spec.stdin {
            Some(content) => self.bulk(tenant, content).await?,
            None => Bulk::Memory(Vec::new()),
        };
        let env = spec.env.into_iter().filter_map(|entry| match entry.value {
            EnvValue::Plain(value) => Some((entry.name, value)),
            EnvValue::Secret(secret) => secret
                .reveal()
                .map(|value| (entry.name.clone(), value.to_owned())),
        });
        Ok(Execution {
            start,
            env: env.collect(),
            redact,
            stdin,
            lease_until,
        })
    }

    async fn bulk(&self, tenant: &TenantId, content: Content) -> Result<Bulk, Unfinished> {
        match content {
            Content::Inline(blob) => Ok(Bulk::Memory(blob.0)),
            Content::Stored(file) => {
                let opened = self.files.open(tenant, file).await;
                let (_, opened) = opened.map_err(|error| Unfinished::Input { file, error })?;
                Ok(Bulk::File(opened))
            }
        }
    }

    async fn bytes(&self, tenant: &TenantId, content: Content) -> Result<Vec<u8>, Unfinished> {
        match content {
            Content::Inline(blob) => Ok(blob.0),
            Content::Stored(file) => {
                let read = self.files.read(tenant, file).await;
                read.map_err(|error| Unfinished::Input { file, error })
            }
        }
    }
}
