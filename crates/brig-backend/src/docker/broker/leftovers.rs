//! What a dead broker left: found by label, and removed. Two brokers of one installation can live at once (a served daemon
//! and an embedded run), so a container also names its broker, and that of a living one is not touched.

use super::container::try_remove;
use super::engine::EngineError;
use super::plan::{LABEL_BROKER, LABEL_INSTANCE};
use super::shared::Shared;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use std::collections::HashMap;
use std::fmt;
use tracing::{info, warn};

/// A broker's process, such that no other one is ever taken for it: boot, namespace of processes, number, time of its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerId {
    boot: String,
    namespace: String,
    pid: String,
    started: String,
}

/// Whether a process still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    Dead,
    /// It is not in this namespace of processes.
    Unknown,
}

impl BrokerId {
    /// This process.
    pub(super) fn own() -> BrokerId {
        let pid = std::process::id().to_string();
        BrokerId {
            boot: boot(),
            namespace: namespace(),
            started: started(&pid).unwrap_or_default(),
            pid,
        }
    }

    fn parse(text: &str) -> Option<BrokerId> {
        let mut words = text.split('.').map(str::to_owned);
        let id = BrokerId {
            boot: words.next()?,
            namespace: words.next()?,
            pid: words.next()?,
            started: words.next()?,
        };
        words.next().is_none().then_some(id)
    }

    fn life(&self) -> Life {
        if self.boot != boot() {
            Life::Dead
        } else if self.namespace != namespace() {
            Life::Unknown
        } else if started(&self.pid).as_ref() == Some(&self.started) {
            Life::Alive
        } else {
            Life::Dead
        }
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BrokerId {
            boot,
            namespace,
            pid,
            started,
        } = self;
        write!(out, "{boot}.{namespace}.{pid}.{started}")
    }
}

fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect()
}

/// When a process started, in ticks since the boot. Nothing for one that is dead and not yet reaped.
fn started(pid: &str) -> Option<String> {
    if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may contain anything, ends at the last parenthesis.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    fields
        .nth(18)
        .filter(|_| state != "Z" && state != "X")
        .map(str::to_owned)
}

/// Removes what nobody needs: containers of dead brokers, and own ones that could not be removed when their time came.
pub(super) async fn sweep(shared: &Shared) -> Result<(), EngineError> {
    let label = format!("{LABEL_INSTANCE}={}", shared.config.instance);
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let engine = &shared.engine;
    let containers = engine
        .call("list containers", engine.deadlines.quick, |docker| async move {
            docker.list_containers(Some(options)).await
        })
        .await?;
    let left = containers
        .iter()
        .filter(|container| is_left(shared, container))
        .filter_map(|container| container.id.clone());
    for id in left {
        info!(id, "removes the container of a dead broker");
        if let Err(error) = try_remove(shared, &id).await {
            warn!(%error, id, "a left-over container is not removed yet");
            shared.doom(id);
        }
    }
    for id in shared.doomed() {
        match try_remove(shared, &id).await {
            Ok(()) => shared.forgive(&id),
            Err(error) if error.is_engines_loss() => return Err(error),
            Err(error) => warn!(%error, id, "a container is not removed yet"),
        }
    }
    Ok(())
}

fn is_left(shared: &Shared, container: &ContainerSummary) -> bool {
    let labels = container.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
    // An old engine might ignore the filter.
    if label(LABEL_INSTANCE) != Some(shared.config.instance.as_str()) {
        return false;
    }
    match label(LABEL_BROKER).and_then(BrokerId::parse) {
        Some(broker) if broker == shared.broker => false,
        Some(broker) => match broker.life() {
            Life::Alive => false,
            Life::Dead => true,
            // A broker that dies closes the input of its containers, so what still runs has one.
            Life::Unknown => container.state != Some(ContainerSummaryStateEnum::RUNNING),
        },
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_broker_is_told_from_a_dead_one_with_the_same_number() {
        let own = BrokerId::own();
        assert_eq!(own.life(), Life::Alive);
        assert_eq!(BrokerId::parse(&own.to_string()), Some(own.clone()));
        let later = BrokerId {
            started: "1".to_owned(),
            ..own.clone()
        };
        assert_eq!(later.life(), Life::Dead);
        let rebooted = BrokerId {
            boot: "other".to_owned(),
            ..own.clone()
        };
        assert_eq!(rebooted.life(), Life::Dead);
        let elsewhere = BrokerId {
            namespace: "1".to_owned(),
            ..own
        };
        assert_eq!(elsewhere.life(), Life::Unknown);
    }

    #[test]
    fn a_label_that_is_no_broker_is_nobodys() {
        for text in ["", "a.b.c", "a.b.c.d.e"] {
            assert_eq!(BrokerId::parse(text), None, "{text}");
        }
        assert_eq!(started("1/../self"), None);
    }
}
