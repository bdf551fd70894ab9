//! `brig doctor`

use crate::connect::{EngineArgs, Place};
use crate::engine::Engine;
use crate::exit_code::Exit;
use crate::report::{ReceiptReport, layer_word};
use crate::terminal::{print, print_json, table, visible};
use anyhow::Context;
use brig_api::convert::info::ServerInfo;
use brig_core::backend::{HostReport, Obstacle};
use brig_core::spec::IsolationLevel;
use serde_json::{Value, json};

/// Try in a throw-away cell which protections this machine gives, and say how to get the others
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 when every layer that the default level requires works, else 1.

Examples:
  brig doctor
  brig doctor --json | jq '.levels[] | select(.works | not)'
  brig doctor --address unix:/run/brig/brig.sock      what a daemon's host gives"
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
    engine.stop().await;
    let info = answer?;
    let host = info
        .host
        .as_ref()
        .context("the engine could not try this host; its log says why")?;
    if args.json {
        print_json(&as_object(&info, host))?;
    } else {
        print(&as_text(&info, host))?;
    }
    Ok(if obstacle(host, info.default_isolation).is_none() {
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

fn as_object(info: &ServerInfo, host: &HostReport) -> Value {
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
    })
}

fn as_text(info: &ServerInfo, host: &HostReport) -> String {
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
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::limits::LimitsPolicy;
    use brig_core::receipt::{Layer, LayerState, Receipt};

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
        let text = as_text(&info, &host);
        assert!(text.contains(
            "Level strict (the default here) does not work: no cgroup is delegated\n    Delegate=yes\n"
        ));
        assert!(text.contains("Level workstation works.\n"));
        let object = as_object(&info, &host);
        assert_eq!(object["ready"], false);
        assert_eq!(object["levels"][0]["remedy"], "Delegate=yes");
        assert_eq!(object["receipt"]["layers"][1]["state"], "missing");
    }

    #[test]
    fn a_host_is_ready_when_the_default_level_works() {
        let (info, host) = info(None);
        assert_eq!(as_object(&info, &host)["ready"], true);
        assert!(as_text(&info, &host).contains("missing  cgroup      words\n"));
    }
}
