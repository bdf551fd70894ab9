//! One container, from nothing to one whose init waits for a program; or to nothing again.

use super::cgroup::Groups;
use super::engine::{self, EngineError, EngineFacts};
use super::plan::{ContainerPlan, HostTraits, LABEL_BROKER, LABEL_INSTANCE, LABEL_JOB, Overhead};
use super::relay::{self, Relay};
use super::shared::Shared;
use super::verify::verify;
use crate::docker::protocol::{
    BackendName, CellNumber, CgroupLimits, ContainerReceipt, EngineName, RootDigest, SeccompReceipt, Trouble,
};
use bollard::models::{ContainerInspectResponse, ContainerUpdateBody};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use brig_jail::protocol::CellLimits;
use std::collections::HashMap;
use uuid::Uuid;

/// Which containers are alike. What init is told at the start of a program is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) image: RootDigest,
    pub(super) backend: BackendName,
    pub(super) limits: CellLimits,
}

impl Shape {
    pub(super) fn new(image: RootDigest, backend: BackendName, limits: CellLimits) -> Shape {
        let limits = CellLimits {
            cpu_time_nanos: 0,
            file_size_bytes: 0,
            ..limits
        };
        Shape {
            image,
            backend,
            limits,
        }
    }
}

/// A container whose init waits.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) relay: Relay,
    pub(super) groups: Groups,
    pub(super) receipt: ContainerReceipt,
}

/// Makes and starts a container.
pub(super) async fn start(
    shared: &Shared,
    shape: &Shape,
    number: CellNumber,
    job: Option<Uuid>,
) -> Result<Container, Trouble> {
    let engine = shared.engine_facts().await?;
    let mut plan = plan(shared, &engine, shape, &Naming { number, job }).await?;
    let id = create_anew(shared, shape, &mut plan).await?;
    match started(shared, &plan, &id).await {
        Ok((relay, running)) => {
            let pid = running.state.as_ref().and_then(|state| state.pid).unwrap_or(0);
            let groups = if pid > 0 {
                Groups::of(pid, &id)
            } else {
                Groups::default()
            };
            let receipt = receipt(shared, &engine, &plan, &running);
            Ok(Container {
                id,
                relay,
                groups,
                receipt,
            })
        }
        Err(trouble) => {
            remove(shared, &id).await;
            Err(trouble)
        }
    }
}

/// Creates a container, with the image made anew where it was removed behind our back.
async fn create_anew(shared: &Shared, shape: &Shape, plan: &mut ContainerPlan) -> Result<String, Trouble> {
    let created = match create(shared, plan).await {
        Err(error) if error.is_missing() => {
            shared.images.forget(&shape.image).await;
            plan.image_id = shared.images.ensure(&shared.engine, &shape.image).await?;
            create(shared, plan).await
        }
        other => other,
    };
    match created {
        Ok(id) => {
            shared.own(&id);
            Ok(id)
        }
        Err(error) => {
            if error.is_engines_loss() {
                // It may have been made all the same, and its name is all that is known of it.
                shared.doom(plan.name.clone());
            }
            Err(told(shared, plan, "create", &error))
        }
    }
}

fn told(shared: &Shared, plan: &ContainerPlan, stage: &str, error: &EngineError) -> Trouble {
    engine::trouble(&shared.engine, stage, &format!("runtime {}", plan.runtime), error)
}

/// Nothing is started that is not what the plan says.
fn verified(plan: &ContainerPlan, made: &ContainerInspectResponse) -> Result<(), Trouble> {
    verify(plan, made).map_err(|ignored| Trouble {
        stage: "verify".to_owned(),
        item: format!("the engine ignores {}", ignored.field),
        errno: 0,
        remedy: "use a newer engine, or one that does not change what it is asked for: Brig needs every part of a container's walls".to_owned(),
    })
}

async fn started(
    shared: &Shared,
    plan: &ContainerPlan,
    id: &str,
) -> Result<(Relay, ContainerInspectResponse), Trouble> {
    let tell = |stage: &'static str| move |error: EngineError| told(shared, plan, stage, &error);
    let made = inspect(shared, id).await.map_err(tell("verify"))?;
    verified(plan, &made)?;
    let attached = relay::attach(&shared.engine, &shared.tasks, id).await;
    let relay = attached.map_err(tell("attach"))?;
    run(shared, plan, id).await.map_err(tell("start"))?;
    let running = inspect(shared, id).await.map_err(tell("start"))?;
    Ok((relay, running))
}

/// Makes a container and removes it again without a start: what would its receipt say?
pub(super) async fn rehearse(
    shared: &Shared,
    shape: &Shape,
    number: CellNumber,
) -> Result<ContainerReceipt, Trouble> {
    let engine = shared.engine_facts().await?;
    let mut plan = plan(shared, &engine, shape, &Naming { number, job: None }).await?;
    let id = create_anew(shared, shape, &mut plan).await?;
    let made = inspect(shared, &id).await;
    remove(shared, &id).await;
    let made = made.map_err(|error| told(shared, &plan, "verify", &error))?;
    verified(&plan, &made)?;
    Ok(receipt(shared, &engine, &plan, &made))
}

/// Whose container it is.
struct Naming {
    number: CellNumber,
    job: Option<Uuid>,
}

impl Naming {
    fn name(&self) -> String {
        match self.job {
            Some(job) => job_name(job, self.number),
            None => format!("brig-warm-{:x}", self.number),
        }
    }
}

/// The name of a container that has a job.
pub(super) fn job_name(job: Uuid, number: CellNumber) -> String {
    format!("brig-{job}-{number:x}")
}

async fn plan(
    shared: &Shared,
    engine: &EngineFacts,
    shape: &Shape,
    naming: &Naming,
) -> Result<ContainerPlan, Trouble> {
    let (runtime, program) = shared.runtime(engine, &shape.backend)?;
    let image_id = shared.images.ensure(&shared.engine, &shape.image).await?;
    let host = HostTraits::of(engine);
    let mut labels = HashMap::from([
        (LABEL_INSTANCE.to_owned(), shared.config.instance.clone()),
        (LABEL_BROKER.to_owned(), shared.broker.to_string()),
    ]);
    if let Some(job) = naming.job {
        labels.insert(LABEL_JOB.to_owned(), job.to_string());
    }
    Ok(ContainerPlan {
        name: naming.name(),
        image_id,
        root: shape.image,
        backend: shape.backend.clone(),
        runtime,
        overhead: Overhead::of(&program, &shape.limits),
        limits: shape.limits,
        profile: shared.profile.json.clone(),
        apparmor: host.apparmor_profile(),
        cgroup_v2: host.cgroup_v2,
        swap_accounted: host.swap_accounted,
        labels,
    })
}

async fn create(shared: &Shared, plan: &ContainerPlan) -> Result<String, EngineError> {
    let engine = &shared.engine;
    let options = CreateContainerOptionsBuilder::default().name(&plan.name).build();
    let body = plan.body();
    let created = engine
        .call("create", engine.deadlines.slow, |docker| async move {
            docker.create_container(Some(options), body).await
        })
        .await?;
    Ok(created.id)
}

async fn inspect(shared: &Shared, id: &str) -> Result<ContainerInspectResponse, EngineError> {
    let engine = &shared.engine;
    engine
        .call("inspect", engine.deadlines.quick, |docker| async move {
            docker.inspect_container(id, None).await
        })
        .await
}

/// Starts it, and then holds it to the limit of processes that its program gets: a runtime's own start needs more.
async fn run(shared: &Shared, plan: &ContainerPlan, id: &str) -> Result<(), EngineError> {
    let engine = &shared.engine;
    engine
        .call("start", engine.deadlines.slow, |docker| async move {
            docker.start_container(id, None).await
        })
        .await?;
    if plan.processes() == plan.start_processes() {
        return Ok(());
    }
    let body = ContainerUpdateBody {
        pids_limit: Some(plan.processes()),
        ..ContainerUpdateBody::default()
    };
    engine
        .call("update", engine.deadlines.slow, |docker| async move {
            docker.update_container(id, body).await
        })
        .await
}

/// Gives a container that was kept ready the name of its job. That it has another name does no harm.
pub(super) async fn rename(shared: &Shared, id: &str, name: &str) {
    let engine = &shared.engine;
    let options = bollard::query_parameters::RenameContainerOptionsBuilder::default()
        .name(name)
        .build();
    let renamed = engine
        .call("rename", engine.deadlines.quick, |docker| async move {
            docker.rename_container(id, options).await
        })
        .await;
    if let Err(error) = renamed {
        tracing::debug!(%error, "a container keeps its first name");
    }
}

/// Kills everything in a container: by the engine, or without it.
pub(super) async fn kill(shared: &Shared, container: &Container) {
    let engine = &shared.engine;
    let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
    let id = container.id.as_str();
    let killed = engine
        .call("kill", engine.deadlines.ping, |docker| async move {
            docker.kill_container(id, Some(options)).await
        })
        .await;
    match killed {
        // Not running any more.
        Ok(()) => {}
        Err(error) if error.is_missing() || error.is_under_way() => {}
        Err(error) => {
            let gone = container.groups.kill_all().await;
            tracing::warn!(%error, gone, "the engine kills no container; its control group does");
        }
    }
}

/// Removes a container, whatever it does. What the engine does not remove now is removed when it answers again.
pub(super) async fn remove(shared: &Shared, id: &str) {
    match try_remove(shared, id).await {
        Ok(()) => shared.disown(id),
        Err(error) => {
            tracing::warn!(%error, id, "a container is not removed yet");
            shared.doom(id.to_owned());
        }
    }
}

/// Removes a container by its id or name; one that is not there counts as removed.
pub(super) async fn try_remove(shared: &Shared, id: &str) -> Result<(), EngineError> {
    let engine = &shared.engine;
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    let removed = engine
        .call("remove", engine.deadlines.slow, |docker| async move {
            docker.remove_container(id, Some(options)).await
        })
        .await;
    match removed {
        Ok(()) => Ok(()),
        Err(error) if error.is_missing() => Ok(()),
        // The engine removes by itself what ended; it is gone when the engine does not know it any more.
        Err(error) if error.is_under_way() => until_missing(shared, id).await,
        Err(error) => Err(error),
    }
}

async fn until_missing(shared: &Shared, id: &str) -> Result<(), EngineError> {
    const ROUNDS: u32 = 200;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(25);
    for _ in 0..ROUNDS {
        match inspect(shared, id).await {
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) => return Err(error),
            Ok(_still_there) => tokio::time::sleep(PAUSE).await,
        }
    }
    Err(EngineError {
        call: "remove",
        cause: super::engine::Cause::Timeout(PAUSE * ROUNDS),
    })
}

fn receipt(
    shared: &Shared,
    engine: &EngineFacts,
    plan: &ContainerPlan,
    made: &ContainerInspectResponse,
) -> ContainerReceipt {
    let apparmor = made
        .app_armor_profile
        .clone()
        .filter(|profile| !profile.is_empty());
    let driver = engine.info.cgroup_driver.as_ref().map(ToString::to_string);
    let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    ContainerReceipt {
        backend: plan.backend.clone(),
        image: plan.root,
        engine: EngineName {
            name: engine.name.clone(),
            version: engine.version.clone(),
            api: engine.api.clone(),
            runtime: plan.runtime.clone(),
            cgroup_driver: driver.unwrap_or_default(),
        },
        limits: plan.limits,
        // Verified, all of them: a container that has it otherwise is never started.
        user: super::plan::USER.to_owned(),
        read_only_root: true,
        no_capabilities: true,
        no_new_privileges: true,
        network: "none".to_owned(),
        apparmor: apparmor.or_else(|| plan.apparmor.clone()),
        seccomp: SeccompReceipt {
            allowed_calls: shared.profile.allowed_calls,
            digest: shared.profile.digest.clone(),
        },
        cgroup: CgroupLimits {
            version: if plan.cgroup_v2 { "v2" } else { "v1" }.to_owned(),
            memory_bytes: u64::try_from(plan.memory()).unwrap_or_default(),
            memory_overhead_bytes: plan.overhead.memory_bytes,
            processes: number(plan.processes()),
            processes_overhead: plan.overhead.processes,
            cpu_millis: plan.limits.cpu_millis,
            swap_off: plan.swap_accounted,
        },
        namespaces: ["pid", "mount", "network", "ipc", "uts", "cgroup"]
            .map(str::to_owned)
            .to_vec(),
        own_kernel: plan.overhead.own_kernel,
    }
}
