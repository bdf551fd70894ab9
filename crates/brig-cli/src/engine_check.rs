//! The container engine of this machine, as `brig doctor` sees it.

use crate::engine::embedded_config;
use crate::keeper_config::images_dirs;
use crate::terminal::{table, visible};
use brig_backend::docker::examine::{EngineReport, Grade, Wishes, examine};
use brig_backend::images::ImageCatalog;
use brig_daemon::{Config, DockerConfig};
use serde_json::{Value, json};

/// Whether somebody wants the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The configuration has a section for it.
    Configured,
    /// It was only looked for at its usual place.
    Perhaps,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct EngineCheck {
    wanted: Wanted,
    report: EngineReport,
}

/// The engine that a configuration means: its own, or the one at the usual place.
pub(crate) fn docker_of(config: &Config) -> DockerConfig {
    config.docker.clone().unwrap_or_else(|| {
        let mut docker = DockerConfig::default();
        // As the engine's own client finds it; an engine on another machine is none for cells.
        if let Some(host) = std::env::var("DOCKER_HOST")
            .ok()
            .filter(|host| host.starts_with("unix:"))
        {
            docker.socket = DockerConfig::socket_of(&host);
        }
        docker
    })
}

/// Looks at it.
pub(crate) async fn of_this_machine() -> anyhow::Result<EngineCheck> {
    let config = embedded_config()?;
    let docker = docker_of(&config);
    let names = ImageCatalog::new(images_dirs(&config)).names();
    let wishes = Wishes {
        runtimes: docker.runtimes,
        default_image: docker.image,
        // A store that cannot be trusted has no image; `brig image ls` says why.
        images: names.unwrap_or_default().into_iter().collect(),
    };
    let wanted = if config.docker.is_some() {
        Wanted::Configured
    } else {
        Wanted::Perhaps
    };
    let report = examine(&docker.socket, &wishes).await;
    Ok(EngineCheck { wanted, report })
}

impl EngineCheck {
    /// Whether nothing is wrong that anybody asked for.
    pub(crate) fn is_well(&self) -> bool {
        self.wanted == Wanted::Perhaps || self.report.works()
    }

    pub(crate) fn as_object(&self) -> Value {
        let findings = self.report.findings.iter().map(|finding| {
            json!({
                "what": finding.what,
                "state": finding.grade.word(),
                "detail": finding.detail,
                "remedy": Some(&finding.remedy).filter(|remedy| !remedy.is_empty()),
            })
        });
        json!({
            "socket": self.report.socket,
            "configured": self.wanted == Wanted::Configured,
            "works": self.report.works(),
            "findings": findings.collect::<Vec<_>>(),
        })
    }

    pub(crate) fn as_text(&self) -> String {
        let socket = self.report.socket.display();
        if self.wanted == Wanted::Perhaps && self.report.is_absent() {
            return format!("No container engine at {socket}: `--backend docker` would need one.\n");
        }
        let mut rows = Vec::new();
        for finding in &self.report.findings {
            rows.push(vec![
                finding.grade.word().to_owned(),
                finding.what.to_owned(),
                visible(&finding.detail),
            ]);
        }
        let state = if self.report.works() {
            "works"
        } else {
            "does not work"
        };
        let mut text = format!("\nThe container engine at {socket} {state}\n\n{}", table(&rows));
        let remedies = self
            .report
            .findings
            .iter()
            .filter(|finding| finding.grade != Grade::Fine);
        for finding in remedies {
            text.push_str(&format!("{}: {}\n", finding.what, visible(&finding.remedy)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_backend::docker::examine::cannot_open;
    use std::path::Path;

    fn check(wanted: Wanted, socket: &Path) -> EngineCheck {
        let error = std::io::ErrorKind::PermissionDenied.into();
        EngineCheck {
            wanted,
            report: EngineReport {
                socket: socket.to_owned(),
                findings: vec![cannot_open(socket, &error)],
            },
        }
    }

    #[test]
    fn an_engine_that_nobody_wants_and_that_is_not_there_is_no_trouble() {
        let absent = check(Wanted::Perhaps, Path::new("/nonexistent.sock"));
        assert!(absent.is_well());
        assert!(
            absent
                .as_text()
                .starts_with("No container engine at /nonexistent.sock")
        );
    }

    #[test]
    fn one_that_is_configured_and_does_not_work_is_told_with_its_remedy() {
        let broken = check(Wanted::Configured, Path::new("/dev/null"));
        assert!(!broken.is_well());
        let text = broken.as_text();
        assert!(
            text.contains("does not work") && text.contains("usermod -aG docker"),
            "{text}"
        );
        let object = broken.as_object();
        assert_eq!(object["works"], false);
        assert_eq!(object["findings"][0]["state"], "trouble");
    }
}
