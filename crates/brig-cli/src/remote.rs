//! The typed client in the words of this program: contents are sent along, errors name options.

use crate::follow::{Follower, LevelNote, OutputTo};
use crate::inputs::LocalFile;
use crate::job_options::{LocalJob, UsageError};
use crate::report::KeptOutput;
use anyhow::Context;
use brig_api::client::{Accepted, Address, BrigClient, EventStream, ExecuteOptions, RecordPage};
use brig_api::convert::request::UploadStart;
use brig_api::status::ApiError;
use brig_api::{Event, JobRecord, ServerInfo, StateKind};
use brig_core::id::{FileId, JobId};
use brig_core::limits::FieldViolation;
use brig_core::spec::{Blob, Content, InputFile, JobDraft, Program};
use brig_core::store::JobFilter;
use std::fs::File;
use std::io::Read;
use tokio::io::DuplexStream;

/// Largest content that travels inside the request, and all of them together: a message has at most 4 MiB.
const INLINE_EACH: u64 = 1024 * 1024;
const INLINE_TOGETHER: u64 = 2 * 1024 * 1024;

/// A connection to an engine. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    client: BrigClient,
}

/// The events of one job.
#[derive(Debug)]
pub(crate) struct Events {
    stream: EventStream,
}

impl Events {
    /// The next one; `None` after the job's end. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        self.stream.next().await.transpose().map_err(explain)
    }
}

impl Remote {
    /// Connects to a daemon.
    pub(crate) async fn connect(address: &Address) -> anyhow::Result<Self> {
        let connected = match address {
            Address::Unix(path) => BrigClient::connect_unix(path).await,
            Address::Tcp(host_port) => BrigClient::connect_tcp(host_port).await,
        };
        Ok(Self {
            client: connected.map_err(explain)?,
        })
    }

    /// Connects to the engine in this process.
    pub(crate) async fn embedded(stream: DuplexStream) -> anyhow::Result<Self> {
        Ok(Self {
            client: BrigClient::embedded(stream).await.map_err(explain)?,
        })
    }

    /// Puts the contents of local files into the draft, inside the request or as uploads before it.
    pub(crate) async fn send_contents(&self, job: LocalJob) -> anyhow::Result<JobDraft> {
        let LocalJob {
            mut draft,
            code,
            stdin,
            inputs,
        } = job;
        let mut room = INLINE_TOGETHER;
        if let (Some(local), Program::Python { code, .. }) = (code, &mut draft.program) {
            *code = self.send("the program", local, &mut room).await?;
        }
        if let Some(local) = stdin {
            draft.stdin = Some(self.send("standard input", local, &mut room).await?);
        }
        for (path, local) in inputs {
            let mode = local.mode();
            let content = self.send(path.as_str(), local, &mut room).await?;
            draft.inputs.push(InputFile { path, content, mode });
        }
        Ok(draft)
    }

    async fn send(&self, name: &str, local: LocalFile, room: &mut u64) -> anyhow::Result<Content> {
        let start = UploadStart {
            name: name.to_owned(),
            sha256: None,
            durability: None,
        };
        let fits = local.size() <= INLINE_EACH.min(*room);
        let uploaded = match local {
            LocalFile::Bytes(bytes) if fits => return Ok(inline(bytes, room)),
            LocalFile::Open { mut file, size, .. } if fits => {
                // What is read decides, and not what `stat` said: the file may grow under us.
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                let limit = INLINE_EACH;
                file.by_ref()
                    .take(limit)
                    .read_to_end(&mut bytes)
                    .with_context(|| format!("cannot read {name}"))?;
                return Ok(inline(bytes, room));
            }
            LocalFile::Bytes(bytes) => self.client.upload(start, std::io::Cursor::new(bytes)).await,
            LocalFile::Open { file, .. } => self.client.upload(start, tokio::fs::File::from_std(file)).await,
        };
        Ok(Content::Stored(uploaded.map_err(explain)?.id))
    }

    /// Runs a job; leaving the stream cancels it.
    pub(crate) async fn execute(&self, draft: JobDraft) -> anyhow::Result<Events> {
        let stream = self
            .client
            .execute(draft, ExecuteOptions::default())
            .await
            .map_err(explain)?;
        Ok(Events { stream })
    }

    /// Queues a job.
    pub(crate) async fn submit(&self, draft: JobDraft, key: Option<&str>) -> anyhow::Result<Accepted> {
        self.client
            .submit(draft, key.map(str::to_owned))
            .await
            .map_err(explain)
    }

    /// The events of a job, all of them.
    pub(crate) async fn watch(&self, job: JobId) -> anyhow::Result<Events> {
        Ok(Events {
            stream: self.client.watch(job, 1).await.map_err(explain)?,
        })
    }

    /// The output of an ended job, as far as it is kept.
    pub(crate) async fn kept_output(&self, job: JobId) -> anyhow::Result<KeptOutput> {
        let mut events = self.watch(job).await?;
        let mut follower = Follower::new(OutputTo::Memory, LevelNote::Quiet);
        while let Some(event) = events.next().await? {
            if follower.take(event)?.is_some() {
                break;
            }
        }
        Ok(follower.output)
    }

    /// The record of a job.
    pub(crate) async fn get(&self, job: JobId) -> anyhow::Result<JobRecord> {
        self.client
            .get(job)
            .await
            .map_err(explain)
            .with_context(|| format!("job {job}"))
    }

    /// A page of jobs.
    pub(crate) async fn list(
        &self,
        filter: &JobFilter,
        most: u32,
        page: Option<String>,
    ) -> anyhow::Result<RecordPage> {
        self.client
            .list(filter.clone(), most, page)
            .await
            .map_err(explain)
    }

    /// Asks a job to stop.
    pub(crate) async fn cancel(&self, job: JobId) -> anyhow::Result<StateKind> {
        self.client
            .cancel(job)
            .await
            .map_err(explain)
            .with_context(|| format!("job {job}"))
    }

    /// Fetches a file.
    pub(crate) async fn download(&self, file: FileId, into: &File) -> anyhow::Result<()> {
        let mut sink = tokio::fs::File::from_std(into.try_clone()?);
        self.client.download(file, &mut sink).await.map_err(explain)?;
        Ok(())
    }

    /// What the engine is and can.
    pub(crate) async fn info(&self) -> anyhow::Result<ServerInfo> {
        self.client.info().await.map_err(explain)
    }
}

fn inline(bytes: Vec<u8>, room: &mut u64) -> Content {
    *room = room.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    Content::Inline(Blob(bytes))
}

/// An error of the client, for a person: which option is wrong, what to do next.
fn explain(error: ApiError) -> anyhow::Error {
    if !error.fields().is_empty() {
        return UsageError::new(describe_fields(error.fields())).into();
    }
    if let ApiError::Connect { address, .. } = &error {
        let address = address.clone();
        let error = anyhow::Error::from(error);
        // What lies between says the same in other words.
        return anyhow::anyhow!(
            "cannot reach the daemon at {address}: {}. Start one with `brig serve`; `brig run --embedded` needs none",
            error.root_cause()
        );
    }
    if matches!(error, ApiError::Lost(_)) {
        let error = anyhow::Error::from(error);
        return anyhow::anyhow!("{error}: {}", error.root_cause());
    }
    let retry = error.retry_after();
    let error = anyhow::Error::from(error);
    match retry {
        Some(after) => error.context(format!("try again in {} s", after.as_secs().max(1))),
        None => error,
    }
}

/// What is wrong with which options. What is wrong with several of them together is said once.
fn describe_fields(violations: &[FieldViolation]) -> String {
    let mut told: Vec<(Vec<String>, &str)> = Vec::new();
    for FieldViolation { field, description } in violations {
        let option = option_of(field);
        match told.iter_mut().find(|(_, text)| text == description) {
            Some((options, _)) => options.push(option),
            None => told.push((vec![option], description)),
        }
    }
    let lines = told
        .iter()
        .map(|(options, text)| format!("{}: {text}", options.join(" and ")));
    lines.collect::<Vec<_>>().join("; ")
}

/// A field of the request in the words of the command line.
fn option_of(field: &str) -> String {
    const OPTIONS: [(&str, &str); 17] = [
        ("limits.wall_time", "--timeout"),
        ("limits.cpu_time", "--cpu-time"),
        ("limits.memory_bytes", "--memory"),
        ("limits.processes", "--pids"),
        ("limits.workspace_bytes", "--workspace"),
        ("limits.output_kept_bytes", "--output-kept"),
        ("limits.output_produced_bytes", "--output-limit"),
        ("env", "--env"),
        ("inputs", "--in"),
        ("outputs", "--out"),
        ("isolation", "--isolation"),
        ("backend", "--backend"),
        ("image", "--image"),
        ("labels", "--label"),
        ("queue_timeout", "--queue-timeout"),
        ("retry", "--attempts"),
        ("idempotency_key", "--key"),
    ];
    let path = field.strip_prefix("spec.").unwrap_or(field);
    let option = OPTIONS.iter().find(|(name, _)| {
        path.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    option.map_or(path, |(_, option)| option).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_told_as_its_option() {
        assert_eq!(option_of("spec.limits.memory_bytes"), "--memory");
        assert_eq!(option_of("spec.env[3].name"), "--env");
        assert_eq!(option_of("spec.retry.max_attempts"), "--attempts");
        assert_eq!(
            option_of("spec.program.command.argv[1]"),
            "program.command.argv[1]"
        );
        assert_eq!(option_of("spec.images"), "images");
    }

    #[test]
    fn what_is_wrong_with_two_options_together_is_said_once() {
        let violations = [
            ("spec.limits.workspace_bytes", "does not fit"),
            ("spec.env[0].name", "is given twice"),
            ("spec.limits.memory_bytes", "does not fit"),
        ]
        .map(|(field, text)| FieldViolation::new(field, text));
        assert_eq!(
            describe_fields(&violations),
            "--workspace and --memory: does not fit; --env: is given twice"
        );
    }
}
