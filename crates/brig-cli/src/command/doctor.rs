//! `brig doctor`

use crate::connect::{EngineArgs, Place};
use crate::engine::Engine;
use crate::engine_check::{self, EngineCheck};
use crate::exit_code::Exit;
use crate::report::{ReceiptReport, layer_word};
use crate::terminal::{print, print_json, table, visible};
use anyhow::Context;
use brig_api::convert::info::ServerInfo;
use brig_core::backend::{BackendOffer, HostReport, Obstacle};
use brig_core::spec::IsolationLevel;
use serde_json::{Value, json};

/// Try in a throw-away cell which protections this machine gives, and say how to get the others
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The container engine is looked at too: the one that the file of BRIG_CONFIG names, else DOCKER_HOST, else
/run/docker.sock. One that nobody configured and that is not there is no trouble.

Exit status: 0 when every layer that the default level requires works, and the engine where one is configured, else 1.

Examples:
  brig doctor
  brig doctor --json | jq '.levels[] | select(.works | not)'
  brig doctor --json | jq '.engine.findings[] | select(.state != \"ok\")'
  brig doctor --address unix:/run/brig/brig.sock      what a daemon's host and its backends give"
)]
pub(crate) struct Args {
    #[command(flatten)]
    engine: EngineArgs,
    /// Print one object
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether the keeper has to be started: without an address, this machine is tried as the user who asks.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        self.engine.named_place()
    }
}

pub(crate) async fn run(args: &Args, engine: Engine) -> anyhow::Result<Exit> {
    let mut engine = engine;
    let answer = match engine.remote().await {
        Ok(remote) => remote.info().await,
        Err(error) => Err(error),
    };
    let own = engine.is_embedded();
    engine.stop().await;
    let info = answer?;
    // A daemon's engine is the daemon's to look at: what it found is in the backends' troubles.
    let engine = if own {
        Some(engine_check::of_this_machine().await?)
    } else {
        None
    };
    let host = info
        .host
        .as_ref()
        .context("the engine could not try this host; its log says why")?;
    if args.json {
        print_json(&as_object(&info, host, engine.as_ref()))?;
    } else {
        print(&as_text(&info, host, engine.as_ref()))?;
    }
    let backends_work = info.backends.iter().all(|backend| backend.trouble.is_none());
    let works = backends_work && engine.as_ref().is_none_or(EngineCheck::is_well);
    Ok(if works && obstacle(host, info.default_isolation).is_none() {
        Exit::Success
    } else {
        Exit::NotFit
    })
}

/// What keeps `level` from working.
fn obstacle(host: &HostReport, level: IsolationLevel) -> Option<&Obstacle> {
    host.levels
        .iter()
        .find(|(of, _)| *of == level)
        .and_then(|(_, obstacle)| obstacle.as_ref())
}

fn as_object(info: &ServerInfo, host: &HostReport, engine: Option<&EngineCheck>) -> Value {
    let levels = host.levels.iter().map(|(level, obstacle)| {
        json!({
            "level": level.word(),
            "works": obstacle.is_none(),
            "problem": obstacle.as_ref().map(|obstacle| &obstacle.problem),
            "remedy": obstacle.as_ref().map(|obstacle| &obstacle.remedy),
        })
    });
    json!({
        "version": info.version,
        "ready": obstacle(host, info.default_isolation).is_none(),
        "default_level": info.default_isolation.word(),
        "levels": levels.collect::<Vec<_>>(),
        "receipt": ReceiptReport::of(&host.receipt),
        "backends": info.backends.iter().map(backend_object).collect::<Vec<_>>(),
        "engine": engine.map(EngineCheck::as_object),
    })
}

fn backend_object(backend: &BackendOffer) -> Value {
    let images = backend
        .images
        .iter()
        .map(|image| json!({ "name": image.name.0, "digest": image.digest }));
    json!({
        "name": backend.name.0,
        "default_image": backend.default_image.0,
        "images": images.collect::<Vec<_>>(),
        "problem": backend.trouble.as_ref().map(|trouble| &trouble.problem),
        "remedy": backend.trouble.as_ref().map(|trouble| &trouble.remedy),
    })
}

/// The backends of a daemon, or of an engine of this process; the engine's own state is told by itself.
fn backends_text(backends: &[BackendOffer]) -> String {
    let mut text = String::new();
    for backend in backends {
        let names: Vec<String> = backend
            .images
            .iter()
            .map(|image| visible(&image.name.0))
            .collect();
        let images = if names.is_empty() {
            "none yet".to_owned()
        } else {
            names.join(", ")
        };
        text.push_str(&format!(
            "Backend {}: images {images}.\n",
            visible(backend.name.as_str())
        ));
        if let Some(Obstacle { problem, remedy }) = &backend.trouble {
            text.push_str(&format!("    trouble: {}\n", visible(problem)));
            for line in remedy.lines() {
                text.push_str(&format!("    {}\n", visible(line)));
            }
        }
    }
    text
}

fn as_text(info: &ServerInfo, host: &HostReport, engine: Option<&EngineCheck>) -> String {
    let mut rows = Vec::new();
    for layer in &host.receipt.layers {
        rows.push(vec![
            layer_word(layer.state).to_owned(),
            layer.name.clone(),
            visible(&layer.detail),
        ]);
    }
    let mut text = format!(
        "Brig {}: the layers of a cell on this machine\n\n{}\n",
        info.version,
        table(&rows)
    );
    for (level, obstacle) in &host.levels {
        let default = if *level == info.default_isolation {
            " (the default here)"
        } else {
            ""
        };
        match obstacle {
            None => text.push_str(&format!("Level {}{default} works.\n", level.word())),
            Some(Obstacle { problem, remedy }) => {
                text.push_str(&format!(
                    "Level {}{default} does not work: {}\n",
                    level.word(),
                    visible(problem)
                ));
                for line in remedy.lines() {
                    text.push_str(&format!("    {}\n", visible(line)));
                }
            }
        }
    }
    text.push_str(&backends_text(&info.backends));
    if let Some(engine) = engine {
        text.push_str(&engine.as_text());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::backend::ImageOffer;
    use brig_core::limits::LimitsPolicy;
    use brig_core::receipt::{Layer, LayerState, Receipt};
    use brig_core::spec::{BackendName, ImageName};

    fn info(strict: Option<Obstacle>) -> (ServerInfo, HostReport) {
        let layer = |name: &str, state| Layer {
            name: name.into(),
            state,
            detail: "words".into(),
        };
        let host = HostReport {
            receipt: Receipt {
                backend: "jail".into(),
                level: "workstation".into(),
                image: "host".into(),
                cell: "on_demand".into(),
                layers: vec![
                    layer("namespaces", LayerState::Active),
                    layer("cgroup", LayerState::Missing),
                ],
            },
            levels: vec![
                (IsolationLevel::Strict, strict),
                (IsolationLevel::Workstation, None),
            ],
        };
        let info = ServerInfo {
            version: "0.1.0".into(),
            backends: vec![],
            default_isolation: IsolationLevel::Strict,
            limits: LimitsPolicy::default(),
            features: vec![],
            max_concurrent_jobs: 4,
            max_queued_jobs: 1,
            host: Some(host.clone()),
        };
        (info, host)
    }

    #[test]
    fn a_level_that_does_not_work_comes_with_its_remedy() {
        let lacking = Obstacle {
            problem: "no cgroup is delegated".into(),
            remedy: "Delegate=yes".into(),
        };
        let (info, host) = info(Some(lacking));
        let text = as_text(&info, &host, None);
        assert!(text.contains(
            "Level strict (the default here) does not work: no cgroup is delegated\n    Delegate=yes\n"
        ));
        assert!(text.contains("Level workstation works.\n"));
        let object = as_object(&info, &host, None);
        assert_eq!(object["ready"], false);
        assert_eq!(object["levels"][0]["remedy"], "Delegate=yes");
        assert_eq!(object["receipt"]["layers"][1]["state"], "missing");
    }

    #[test]
    fn a_daemons_backends_are_told_with_their_troubles() {
        let (mut info, host) = info(None);
        let image = |name: &str| ImageOffer {
            name: ImageName(name.into()),
            digest: Some("ab".into()),
            limits: brig_core::LimitsRequest::default(),
        };
        info.backends = vec![BackendOffer {
            name: BackendName::docker(),
            default_image: ImageName("python".into()),
            images: vec![image("python"), image("python-data")],
            trouble: Some(Obstacle {
                problem: "the engine does not answer".into(),
                remedy: "systemctl restart docker".into(),
            }),
        }];
        let text = as_text(&info, &host, None);
        assert!(text.contains(
            "Backend docker: images python, python-data.\n    trouble: the engine does not answer\n"
        ));
        let object = as_object(&info, &host, None);
        assert_eq!(object["backends"][0]["images"][1]["name"], "python-data");
        assert_eq!(object["backends"][0]["remedy"], "systemctl restart docker");
        assert_eq!(object["engine"], Value::Null);
    }

    #[test]
    fn a_host_is_ready_when_the_default_level_works() {
        let (info, host) = info(None);
        assert_eq!(as_object(&info, &host, None)["ready"], true);
        assert!(as_text(&info, &host, None).contains("missing  cgroup      words\n"));
    }
}
