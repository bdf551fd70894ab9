//! The engine broker's process: the one that opens the engine's socket. Started by the keeper of `brig serve`, or by an
//! engine of this process, with its configuration as a word; it keeps nothing of their rights but that.

use crate::jail_init::JAIL_INIT;
use crate::keeper_config;
use crate::process::name_process;
use crate::terminal::say;
use anyhow::Context;
use brig_backend::docker::broker::{self, BrokerConfig, WarmPool};
use brig_backend::docker::protocol::{BackendName, HealthState, PoolCounts, Reply, encode};
use brig_daemon::{Config, DockerConfig};
use brig_jail::confine::confine_broker;
use brig_jail::embedded::{close_inherited_descriptors, take_inherited_socket};
use brig_jail::record::RecordSocket;
use brig_jail::restart::{Helper, WorkerEnd, keep_working};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use tracing_subscriber::EnvFilter;

/// The word that makes a process of this file a broker.
pub(crate) const BROKER: &str = "__broker";

/// The broker's configuration: what the daemon itself never decides.
pub(crate) fn config_of(
    config: &Config,
    docker: &DockerConfig,
    instance: String,
) -> anyhow::Result<BrokerConfig> {
    let mut broker = BrokerConfig::new(instance, keeper_config::images_dirs(config));
    broker.socket.clone_from(&docker.socket);
    broker.backends = docker
        .runtimes
        .iter()
        .map(|(name, runtime)| Ok((BackendName::try_from(name.clone())?, runtime.clone())))
        .collect::<anyhow::Result<_>>()?;
    broker.ceilings = keeper_config::ceilings(config);
    broker.wall_ceiling = config.limits.ceiling.wall;
    broker.warm = WarmPool {
        count: docker.warm,
        idle: docker.warm_idle,
        memory_bytes: docker.warm_memory.0,
    };
    // Those that run, those that wait, and those that are being removed.
    broker.max_containers = config.max_concurrent * 2 + docker.warm * docker.runtimes.len() * 8;
    Ok(broker)
}

/// The words that start it.
pub(crate) fn words(config: &BrokerConfig) -> anyhow::Result<Vec<OsString>> {
    let settings = serde_json::to_string(config).context("cannot describe the engine broker")?;
    Ok(vec![BROKER.into(), settings.into()])
}

/// Does its work.
pub(crate) fn run(settings: Option<OsString>) -> anyhow::Result<()> {
    close_inherited_descriptors().context("cannot close what was inherited")?;
    let settings = settings.context("a broker needs its settings")?;
    let settings = settings
        .into_string()
        .map_err(|_bytes| anyhow::anyhow!("the broker's settings are not text"))?;
    let config: BrokerConfig =
        serde_json::from_str(&settings).context("the broker's settings cannot be read")?;
    name_process(c"brig-broker");
    let socket = take_inherited_socket().context("a broker is started by brig itself")?;
    confine_broker(&config.images_dirs).context("the broker cannot give up its rights")?;
    log_warnings();
    keep_working(&socket, &Broker { config }).context("the broker cannot be kept working")
}

struct Broker {
    config: BrokerConfig,
}

impl Helper for Broker {
    fn work(&self, socket: OwnedFd) -> u8 {
        match broker::run(self.config.clone(), socket, JAIL_INIT) {
            Ok(()) => 0,
            Err(error) => {
                say(format!("the engine broker: {:#}", anyhow::Error::from(error)));
                1
            }
        }
    }

    /// The daemon would otherwise learn it only from the next broker's first word.
    fn died(&self, end: WorkerEnd, socket: &OwnedFd) {
        let why = format!("the engine broker {end} and is started again");
        say(&why);
        let Ok(socket) = socket.try_clone().map(RecordSocket::new) else {
            return;
        };
        for backend in self.config.backends.keys() {
            let news = Reply::Health {
                backend: backend.clone(),
                state: HealthState::Unavailable,
                why: why.clone(),
                counts: PoolCounts::default(),
            };
            if let Ok(record) = encode(&news) {
                // A daemon that does not listen hears of it later.
                socket.send(&record, &[]).ok();
            }
        }
    }
}

/// What the broker has to say goes where the service's own lines go.
fn log_warnings() {
    let filter = EnvFilter::try_from_env("BRIG_LOG").unwrap_or_else(|_unset| EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // The first call wins, and this is the only one.
    lines.try_init().ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_operators_words_reach_the_broker() {
        let mut docker = DockerConfig::default();
        docker.runtimes.insert("gvisor".into(), "runsc".into());
        docker.warm = 3;
        docker.socket = "/run/other.sock".into();
        let config = Config {
            images_dirs: vec!["/srv/images".into()],
            ..Config::default()
        };
        let broker = config_of(&config, &docker, "x".into()).unwrap();
        let runtimes: Vec<(&str, &str)> = broker
            .backends
            .iter()
            .map(|(name, runtime)| (name.as_str(), runtime.as_str()))
            .collect();
        assert_eq!(runtimes, [("docker", "runc"), ("gvisor", "runsc")]);
        assert_eq!(broker.socket, PathBuf::from("/run/other.sock"));
        assert_eq!(broker.images_dirs, [PathBuf::from("/srv/images")]);
        assert_eq!((broker.warm.count, broker.warm.memory_bytes), (3, 2 << 30));
        assert_eq!(broker.ceilings.memory_bytes, config.limits.ceiling.memory.0);
        let [word, settings] = words(&broker).unwrap().try_into().unwrap();
        assert_eq!(word, BROKER);
        let read: BrokerConfig = serde_json::from_str(settings.to_str().unwrap()).unwrap();
        assert_eq!(read, broker);
    }
}
