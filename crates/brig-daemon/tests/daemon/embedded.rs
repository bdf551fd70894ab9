//! A daemon inside the process of its only client.

use crate::support::fake::Fake;
use brig_api::{BrigClient, ExecuteOptions};
use brig_core::spec::{Blob, Content, JobDraft, Program};
use brig_daemon::{Config, ExitCode, HostCheck, Listeners, Parts};
use brig_store::SqliteStore;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_daemon_serves_over_memory_and_ends_when_told() {
    let store = SqliteStore::open_temporary().await.unwrap();
    let config = Config {
        data: store.directory().to_owned(),
        ..Config::default()
    };
    let backend = Fake::new();
    let parts = Parts {
        store: Arc::new(store),
        backend: Arc::new(backend.clone()),
        lost: Box::pin(backend.lost().cancelled_owned()),
        listeners: Listeners::default(),
        host_check: HostCheck::Skip,
        on_ready: Box::new(|| {}),
    };
    let (daemon, stream) = brig_daemon::embedded(config, parts);
    let client = BrigClient::embedded(stream).await.unwrap();
    let draft = JobDraft::new(Program::Python {
        code: Content::Inline(Blob(b"out hello".to_vec())),
        file: None,
        args: vec![],
    });
    let mut events = client.execute(draft, ExecuteOptions::default()).await.unwrap();
    let mut output = Vec::new();
    while let Some(event) = events.next().await {
        if let brig_api::Body::Output { data, .. } = event.unwrap().body {
            output.extend(data);
        }
    }
    assert_eq!(output, b"hello\n");
    let created_by = client.get(events.job().unwrap()).await.unwrap().created_by;
    assert_eq!(created_by, "embedded");
    assert_eq!(daemon.stop().await.unwrap(), ExitCode::Clean);
    assert_eq!(backend.cells(), 0);
}
