//! What a daemon is and can.

use super::field::{At, InvalidFields, each, required};
use super::spec::{isolation_level, isolation_to_wire};
use crate::pb;
use brig_core::backend::{BackendOffer, HostReport, ImageOffer, Obstacle};
use brig_core::limits::{Limits, LimitsPolicy, LimitsRequest};
use brig_core::receipt::Receipt;
use brig_core::spec::{BackendName, ImageName, IsolationLevel};

/// What a daemon tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// Backends that jobs can name, the default first.
    pub backends: Vec<BackendOffer>,
    /// Level of jobs that name none.
    pub default_isolation: IsolationLevel,
    /// Limits of jobs that name none, and the most.
    pub limits: LimitsPolicy,
    /// What it can do beyond the first version of the contract.
    pub features: Vec<String>,
    /// Jobs that run at once.
    pub max_concurrent_jobs: u32,
    /// Jobs of one tenant that can wait.
    pub max_queued_jobs: u32,
    /// What its host gives; `None` where it was not tried.
    pub host: Option<HostReport>,
}

impl From<&ServerInfo> for pb::GetInfoResponse {
    fn from(info: &ServerInfo) -> Self {
        let ServerInfo {
            version,
            backends,
            default_isolation,
            limits: LimitsPolicy { default, ceiling },
            features,
            max_concurrent_jobs,
            max_queued_jobs,
            host,
        } = info;
        Self {
            version: version.clone(),
            backends: backends.iter().map(|backend| backend.name.0.clone()).collect(),
            images: every_image(backends).map(pb::Image::from).collect(),
            default_isolation: isolation_to_wire(*default_isolation).into(),
            default_limits: Some(pb::Limits::from(default)),
            limit_ceilings: Some(pb::Limits::from(ceiling)),
            features: features.clone(),
            max_concurrent_jobs: *max_concurrent_jobs,
            max_queued_jobs: *max_queued_jobs,
            host: host.as_ref().map(pb::HostReport::from),
            backend_reports: backends.iter().map(pb::BackendReport::from).collect(),
        }
    }
}

impl TryFrom<pb::GetInfoResponse> for ServerInfo {
    type Error = InvalidFields;

    fn try_from(wire: pb::GetInfoResponse) -> Result<Self, InvalidFields> {
        let pb::GetInfoResponse {
            version,
            backends,
            images,
            default_isolation,
            default_limits,
            limit_ceilings,
            features,
            max_concurrent_jobs,
            max_queued_jobs,
            host,
            backend_reports,
        } = wire;
        let backends = if backend_reports.is_empty() {
            older_backends(backends, images)
        } else {
            backend_reports.into_iter().map(BackendOffer::from).collect()
        };
        let default = required(default_limits)
            .and_then(Limits::try_from)
            .at("default_limits")?;
        let ceiling = required(limit_ceilings)
            .and_then(Limits::try_from)
            .at("limit_ceilings")?;
        Ok(Self {
            version,
            backends,
            default_isolation: isolation_level(default_isolation)
                .and_then(required)
                .at("default_isolation")?,
            limits: LimitsPolicy { default, ceiling },
            features,
            max_concurrent_jobs,
            max_queued_jobs,
            host: host.map(HostReport::try_from).transpose().at("host")?,
        })
    }
}

/// Images of all backends, each once.
fn every_image(backends: &[BackendOffer]) -> impl Iterator<Item = &ImageOffer> {
    let mut told: Vec<&ImageOffer> = Vec::new();
    for image in backends.iter().flat_map(|backend| &backend.images) {
        if !told.contains(&image) {
            told.push(image);
        }
    }
    told.into_iter()
}

/// What a daemon from before there were reports tells: every backend has the same images, and the first is the default.
fn older_backends(names: Vec<String>, images: Vec<pb::Image>) -> Vec<BackendOffer> {
    let images: Vec<ImageOffer> = images.into_iter().map(ImageOffer::from).collect();
    let default_image = images
        .first()
        .map_or_else(ImageName::host, |image| image.name.clone());
    let offer = |name| BackendOffer {
        name: BackendName(name),
        default_image: default_image.clone(),
        images: images.clone(),
        trouble: None,
    };
    names.into_iter().map(offer).collect()
}

impl From<&BackendOffer> for pb::BackendReport {
    fn from(backend: &BackendOffer) -> Self {
        let BackendOffer {
            name: BackendName(name),
            default_image: ImageName(default_image),
            images,
            trouble,
        } = backend;
        Self {
            name: name.clone(),
            default_image: default_image.clone(),
            images: images.iter().map(pb::Image::from).collect(),
            trouble: trouble.as_ref().map(pb::Obstacle::from),
        }
    }
}

impl From<pb::BackendReport> for BackendOffer {
    fn from(wire: pb::BackendReport) -> Self {
        let pb::BackendReport {
            name,
            default_image,
            images,
            trouble,
        } = wire;
        Self {
            name: BackendName(name),
            default_image: ImageName(default_image),
            images: images.into_iter().map(ImageOffer::from).collect(),
            trouble: trouble.map(Obstacle::from),
        }
    }
}

impl From<&ImageOffer> for pb::Image {
    fn from(image: &ImageOffer) -> Self {
        let ImageOffer {
            name: ImageName(name),
            digest,
            // The daemon's own business: a caller sees what came of them in its job's record.
            limits: _,
        } = image;
        Self {
            name: name.clone(),
            digest: digest.clone().unwrap_or_default(),
        }
    }
}

impl From<pb::Image> for ImageOffer {
    fn from(wire: pb::Image) -> Self {
        let pb::Image { name, digest } = wire;
        Self {
            name: ImageName(name),
            digest: Some(digest).filter(|digest| !digest.is_empty()),
            limits: LimitsRequest::default(),
        }
    }
}

impl From<&HostReport> for pb::HostReport {
    fn from(report: &HostReport) -> Self {
        let HostReport { receipt, levels } = report;
        let level_report = |(level, obstacle): &(IsolationLevel, Option<Obstacle>)| pb::LevelReport {
            level: isolation_to_wire(*level).into(),
            obstacle: obstacle.as_ref().map(pb::Obstacle::from),
        };
        Self {
            receipt: Some(pb::Receipt::from(receipt)),
            levels: levels.iter().map(level_report).collect(),
        }
    }
}

impl TryFrom<pb::HostReport> for HostReport {
    type Error = InvalidFields;

    fn try_from(wire: pb::HostReport) -> Result<Self, InvalidFields> {
        let pb::HostReport { receipt, levels } = wire;
        let levels: Vec<LevelOfHost> = each(levels).at("levels")?;
        Ok(Self {
            receipt: required(receipt).and_then(Receipt::try_from).at("receipt")?,
            levels: levels
                .into_iter()
                .map(|LevelOfHost(level, obstacle)| (level, obstacle))
                .collect(),
        })
    }
}

struct LevelOfHost(IsolationLevel, Option<Obstacle>);

impl TryFrom<pb::LevelReport> for LevelOfHost {
    type Error = InvalidFields;

    fn try_from(wire: pb::LevelReport) -> Result<Self, InvalidFields> {
        let pb::LevelReport { level, obstacle } = wire;
        let level = isolation_level(level).and_then(required).at("level")?;
        Ok(Self(level, obstacle.map(Obstacle::from)))
    }
}

impl From<&Obstacle> for pb::Obstacle {
    fn from(obstacle: &Obstacle) -> Self {
        let Obstacle { problem, remedy } = obstacle;
        Self {
            problem: problem.clone(),
            remedy: remedy.clone(),
        }
    }
}

impl From<pb::Obstacle> for Obstacle {
    fn from(wire: pb::Obstacle) -> Self {
        let pb::Obstacle { problem, remedy } = wire;
        Self { problem, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    #[test]
    fn a_daemon_that_sends_no_reports_is_understood() {
        let image = |name: &str| pb::Image {
            name: name.to_owned(),
            digest: String::new(),
        };
        let told = older_backends(vec!["jail".to_owned()], vec![image("host")]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].name, BackendName::jail());
        assert_eq!(told[0].default_image, ImageName::host());
        assert_eq!(told[0].images, [ImageOffer::host()]);
    }

    proptest! {
        #[test]
        fn what_a_daemon_tells_survives_the_wire(info in samples::server_info()) {
            prop_assert_eq!(ServerInfo::try_from(pb::GetInfoResponse::from(&info)), Ok(info));
        }
    }
}
