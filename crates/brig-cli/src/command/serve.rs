//! `brig serve`: the keeper in this process, the daemon as its child. The child runs the same file with the same
//! options, so both read one configuration.

use crate::broker_process;
use crate::connect::{default_data, default_socket};
use crate::keeper_config::{self, Prewarm};
use crate::parts::{self, Brought, PartsError};
use crate::process::name_process;
use crate::terminal::say;
use brig_daemon::config::{DockerConfig, ListenAddress};
use brig_daemon::{Config, ConfigError, ExitCode as DaemonExit, Listeners, ServeError, Shutdown, telemetry};
use brig_jail::client::KeeperLink;
use brig_jail::confine::{DaemonConfinement, confine_daemon};
use brig_jail::embedded::close_inherited_descriptors;
use brig_jail::keeper::{self, ExitReason, KeeperError, Programs};
use brig_jail::protocol::LayerState;
use brig_jail::remedy::HostSigns;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Words of the line that says that jobs are accepted from now on.
pub(crate) const READY: &str = "ready, listening on";

/// Start the daemon: accepts jobs over gRPC, queues them, runs each in a fresh cell
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Options on the command line win over the configuration file. SIGTERM lets running jobs end,
for 30 seconds unless the file says otherwise; a second SIGTERM stops at once.

Examples:
  brig serve
  brig serve --listen unix:/run/brig/brig.sock --listen tcp:127.0.0.1:7070
  brig serve --data /srv/brig --max-concurrent 16 --metrics 127.0.0.1:9464
  brig serve --config /etc/brig.toml
  brig serve --docker                                 a container engine beside the jail: brig run --backend docker
  brig serve --docker=/run/podman/podman.sock

Exit status:
  0   stopped by a signal, every job was given its end
  2   the command line is wrong
  64  the configuration is not valid
  65  another daemon uses the data directory
  66  the store cannot be opened or is damaged
  67  an address cannot be listened on
  68  the host lacks a required layer of isolation; stderr says how to get it
  69  the keeper died; starting again helps
  70  a fault of Brig itself
  71  stopped at once by a second signal"
)]
pub(crate) struct Args {
    /// Where to listen, any number of times [default: unix:$XDG_RUNTIME_DIR/brig/brig.sock; root: unix:/run/brig/brig.sock]
    #[arg(long, value_name = "unix:PATH|tcp:HOST:PORT")]
    listen: Vec<ListenAddress>,
    /// Where jobs and files are kept [default: ~/.local/state/brig; root: /var/lib/brig]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "BRIG_CONFIG")]
    config: Option<PathBuf>,
    /// Cells at once; further jobs wait in order [default: 4]
    #[arg(long, value_name = "N")]
    max_concurrent: Option<usize>,
    /// Serve metrics as Prometheus text here
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<SocketAddr>,
    /// Run jobs in containers too, of the engine at this socket [default: /run/docker.sock, or what the file says]
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    docker: Option<String>,
}

impl Args {
    /// File and command line together.
    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config {
                data: default_data().unwrap_or_default(),
                ..Config::default()
            },
        };
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        } else if config.data == Config::default().data {
            // The file says nothing, or what is root's default anyway.
            config.data = default_data().unwrap_or_default();
        }
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        } else if config.listen.is_empty() {
            config.listen.extend(default_socket().map(ListenAddress::Unix));
        }
        config.max_concurrent = self.max_concurrent.unwrap_or(config.max_concurrent);
        config.metrics = self.metrics.or(config.metrics);
        if let Some(socket) = &self.docker {
            let docker = config.docker.get_or_insert_default();
            if !socket.is_empty() {
                docker.socket = DockerConfig::socket_of(socket);
            }
        }
        config.check()?;
        Ok(config)
    }
}

/// The first status that means a signal.
const KILLED: i32 = 128;
/// Asked to stop before it could hear of it: nothing was begun yet.
const STOPPED_EARLY: i32 = KILLED + 15;

/// The keeper's process.
pub(crate) fn run(args: &Args) -> ExitCode {
    if let Err(error) = close_inherited_descriptors() {
        return refuse(&chain(&error), DaemonExit::Internal);
    }
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => return refuse(&chain(&error), DaemonExit::BadConfig),
    };
    if let Err(problem) = images_are_apart(&config) {
        return refuse(&problem, DaemonExit::BadConfig);
    }
    // The directory's name is its identity, so it has to be there before it is looked at.
    if let Err(error) = make_data_directory(&config) {
        return refuse(&error, DaemonExit::StoreUnusable);
    }
    name_process(c"brig-keeper");
    make_images_directory(&config);
    let keeper_config = keeper_config::of(&config, Prewarm::defaults(&config));
    if let Err(error) = keeper::check_host_image(&keeper_config.host_image) {
        return refuse(&format!("images.host: {}", chain(&error)), DaemonExit::BadConfig);
    }
    let words = std::env::args_os().skip(2);
    let daemon_args: Vec<OsString> = std::iter::once("__daemon".into()).chain(words).collect();
    let broker_args = match broker_words(&config) {
        Ok(words) => words,
        Err(error) => return refuse(&format!("{error:#}"), DaemonExit::BadConfig),
    };
    let sockets = socket_names(&config);
    let programs = Programs {
        program: Path::new("/proc/self/exe"),
        daemon: &daemon_args,
        broker: broker_args.as_deref(),
    };
    let ended = keeper::serve(&keeper_config, programs);
    sockets.iter().for_each(|name| remove_socket(name));
    match ended {
        Ok(ExitReason::Drained | ExitReason::DaemonGone(Some(STOPPED_EARLY))) => ExitCode::SUCCESS,
        Ok(ExitReason::DaemonGone(None | Some(KILLED..))) => refuse(
            "the daemon was killed; every cell was ended",
            DaemonExit::Internal,
        ),
        Ok(ExitReason::DaemonGone(Some(code))) => {
            ExitCode::from(u8::try_from(code).unwrap_or(DaemonExit::Internal.number()))
        }
        Ok(ExitReason::Stopped) => ExitCode::from(DaemonExit::Forced.number()),
        Err(error) => refuse(&chain(&error), keeper_exit(&error)),
    }
}

/// What starts the engine broker, where there is an engine.
fn broker_words(config: &Config) -> anyhow::Result<Option<Vec<OsString>>> {
    let Some(docker) = &config.docker else {
        return Ok(None);
    };
    let instance = keeper_config::instance(&config.data);
    let broker = broker_process::config_of(config, docker, instance)?;
    Ok(Some(broker_process::words(&broker)?))
}

fn keeper_exit(error: &KeeperError) -> DaemonExit {
    match error {
        KeeperError::RangeOverlap { .. } => DaemonExit::BadConfig,
        KeeperError::Threads(_)
        | KeeperError::SealInit(_)
        | KeeperError::Policy(_)
        | KeeperError::StartDaemon(_)
        | KeeperError::StartBroker(_)
        | KeeperError::GiveUp { .. }
        | KeeperError::Loop { .. } => DaemonExit::Internal,
    }
}

/// The daemon's process. It takes everything that needs rights, gives the rights up, and only then has threads.
pub(crate) fn run_daemon(args: &Args) -> ExitCode {
    match daemon(args) {
        Ok(code) => ExitCode::from(code.number()),
        Err((text, code)) => refuse(&text, code),
    }
}

fn daemon(args: &Args) -> Result<DaemonExit, (String, DaemonExit)> {
    let config = args
        .config()
        .map_err(|error| (chain(&error), DaemonExit::BadConfig))?;
    telemetry::init(config.log);
    name_process(c"brig-daemon");
    let internal = |error: &dyn std::error::Error| (chain(error), DaemonExit::Internal);
    let (link, broker) = KeeperLink::inherited().map_err(|error| internal(&error))?;
    let signs = HostSigns::gather();
    let listeners = Listeners::bind(&config).map_err(|error| (chain(&error), DaemonExit::from(&error)))?;
    let ready = ready_line(&config, &listeners);
    let confined = confine_daemon(&confinement(&config)).map_err(|error| internal(&error))?;
    if confined.landlock == LayerState::Missing {
        tracing::warn!("this kernel has no Landlock: the daemon can reach every file of its user");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| internal(&error))?;
    runtime.block_on(async {
        // First: whoever stops a service that only just listens means it no less.
        let shutdown = Shutdown::on_signals().map_err(|error| internal(&error))?;
        let brought = Brought {
            link,
            broker,
            listeners,
            signs,
        };
        let parts = parts::daemon(&config, brought, Box::new(move || say(ready)))
            .await
            .map_err(|error| match error {
                PartsError::Store(error) => {
                    let error = ServeError::Store(error);
                    (chain(&error), DaemonExit::from(&error))
                }
                PartsError::Backend(error) => (format!("{error:#}"), DaemonExit::Internal),
            })?;
        let served = brig_daemon::serve(config, parts, shutdown).await;
        served.map_err(|error| (chain(&error), DaemonExit::from(&error)))
    })
}

/// The data, and nothing else: the directory of a socket may be one that all services of the host share.
fn confinement(config: &Config) -> DaemonConfinement {
    DaemonConfinement {
        writable: vec![config.data.clone()],
        // The catalogue of images, which grows while the daemon runs.
        readable: keeper_config::images_dirs(config)
            .into_iter()
            .filter(|directory| directory.is_dir())
            .collect(),
    }
}

/// The names of the sockets, to be removed after the daemon: it may not do so itself.
fn socket_names(config: &Config) -> Vec<PathBuf> {
    let names = config.listen.iter().filter_map(|address| match address {
        // The keeper leaves the working directory.
        ListenAddress::Unix(path) => std::path::absolute(path).ok(),
        ListenAddress::Tcp(_) => None,
    });
    names.collect()
}

/// Removes the name of a socket on which nobody listens. One that stays is replaced by the next daemon.
fn remove_socket(name: &Path) {
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    if UnixStream::connect(name).as_ref().is_err_and(refused) {
        std::fs::remove_file(name).ok();
    }
}

/// What a person looks for: that it works, and where.
fn ready_line(config: &Config, listeners: &Listeners) -> String {
    // A port that the system chose is known only now.
    let mut chosen = listeners.tcp_addresses().into_iter();
    let addresses = config.listen.iter().map(|address| match address {
        ListenAddress::Unix(_) => address.to_string(),
        ListenAddress::Tcp(_) => chosen
            .next()
            .map_or_else(|| address.to_string(), |bound| format!("tcp:{bound}")),
    });
    format!("{READY} {}", addresses.collect::<Vec<_>>().join(" and "))
}

fn make_data_directory(config: &Config) -> Result<(), String> {
    if config.data.as_os_str().is_empty() {
        return Err("where shall jobs be kept? There is no HOME; name a directory with --data".to_owned());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(&config.data)
        .map_err(|error| format!("cannot make {}: {error}", config.data.display()))
}

/// The daemon writes to its data directory. What cells of everybody see must not be in there.
fn images_are_apart(config: &Config) -> Result<(), String> {
    let inside =
        |directory: &PathBuf| directory.starts_with(&config.data) || config.data.starts_with(directory);
    match keeper_config::images_dirs(config).into_iter().find(inside) {
        None => Ok(()),
        Some(directory) => Err(format!(
            "images_dirs: {} and the data directory {} overlap: the daemon, which reads the network, could change \
             images; put them beside each other",
            directory.display(),
            config.data.display()
        )),
    }
}

/// The first directory of images, so that the daemon and the broker can be given it before it has any. Where it cannot be made
/// there are no images in it.
fn make_images_directory(config: &Config) {
    if let Some(first) = keeper_config::images_dirs(config).first() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(first).ok();
    }
}

fn refuse(text: &str, code: DaemonExit) -> ExitCode {
    say(text);
    ExitCode::from(code.number())
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // Some errors say in their own words what their cause says too.
    texts.dedup_by(|cause, effect| effect.contains(cause.as_str()));
    texts.join(": ")
}
