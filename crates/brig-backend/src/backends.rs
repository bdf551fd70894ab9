//! Several backends as one: a request goes to the one that it names.

use async_trait::async_trait;
use brig_core::backend::{
    Backend, BackendError, BackendOffer, BackendState, CellRequest, Environment, HostReport,
};
use brig_core::spec::BackendName;
use std::sync::Arc;

/// The backends of one engine, the default first. Each can offer several names: an engine with two runtimes does.
pub struct Backends {
    /// The names that each of them had at the start: they come from the configuration and do not change.
    routes: Vec<(Vec<BackendName>, Arc<dyn Backend>)>,
    first: Arc<dyn Backend>,
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.routes.iter().map(|(names, _)| names);
        f.debug_list().entries(names).finish()
    }
}

impl Backends {
    /// `first` is the default, and the one whose host is tried.
    #[must_use]
    pub fn new(first: Arc<dyn Backend>, others: Vec<Arc<dyn Backend>>) -> Self {
        let names =
            |backend: &Arc<dyn Backend>| backend.offers().into_iter().map(|offer| offer.name).collect();
        let all = std::iter::once(Arc::clone(&first)).chain(others);
        Self {
            routes: all.map(|backend| (names(&backend), backend)).collect(),
            first,
        }
    }
}

#[async_trait]
impl Backend for Backends {
    fn name(&self) -> &'static str {
        self.first.name()
    }

    fn offers(&self) -> Vec<BackendOffer> {
        self.routes
            .iter()
            .flat_map(|(_, backend)| backend.offers())
            .collect()
    }

    fn states(&self) -> Vec<BackendState> {
        self.routes
            .iter()
            .flat_map(|(_, backend)| backend.states())
            .collect()
    }

    async fn probe(&self) -> Result<HostReport, BackendError> {
        self.first.probe().await
    }

    async fn open(&self, request: &CellRequest) -> Result<Box<dyn Environment>, BackendError> {
        let route = self
            .routes
            .iter()
            .find(|(names, _)| names.contains(&request.backend));
        match route {
            Some((_, backend)) => backend.open(request).await,
            // Accepted by a daemon that had it; this one, started with another configuration, does not.
            None => Err(BackendError::Setup {
                stage: "backend".to_owned(),
                item: request.backend.to_string(),
                errno: 0,
                remedy: "the daemon was started without this backend; `brig doctor` lists those that it has"
                    .to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeBackend;
    use brig_core::id::JobId;
    use brig_core::limits::LimitsPolicy;
    use brig_core::spec::{ImageName, IsolationLevel, NetworkPolicy};

    fn request(backend: &str) -> CellRequest {
        CellRequest {
            job: JobId::generate(),
            backend: BackendName(backend.to_owned()),
            image: ImageName::host(),
            isolation: IsolationLevel::Strict,
            network: NetworkPolicy::None,
            limits: LimitsPolicy::default().default,
        }
    }

    #[tokio::test]
    async fn a_request_goes_to_the_backend_that_it_names_and_to_no_other() {
        let (one, two) = (FakeBackend::named("one"), FakeBackend::named("two"));
        let backends = Backends::new(Arc::new(one.clone()), vec![Arc::new(two.clone())]);
        let names: Vec<String> = backends.offers().into_iter().map(|offer| offer.name.0).collect();
        assert_eq!(names, ["one", "two"]);
        let cell = backends.open(&request("two")).await.unwrap();
        assert_eq!((one.open_cells().0, two.open_cells().0), (0, 1));
        cell.destroy().await.unwrap();
        let refused = backends.open(&request("three")).await.err().unwrap();
        assert!(matches!(refused, BackendError::Setup { item, .. } if item == "three"));
        assert_eq!((one.open_cells().1, two.open_cells().1), (0, 1));
    }
}
