//! The scripted backend behaves as the conformance suite says.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "a test program"
)]

mod conformance;

use brig_backend::FakeBackend;
use brig_backend::fake::{Seen, Step};
use brig_core::backend::{Backend, BackendError};
use brig_core::spec::IsolationLevel;
use conformance::{Heard, Subject, limits, python, request};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Fake(FakeBackend);

impl Subject for Fake {
    fn backend(&self) -> &dyn Backend {
        &self.0
    }
    fn level(&self) -> IsolationLevel {
        IsolationLevel::Strict
    }
    fn script(&self, steps: Vec<Step>) {
        self.0.script(steps);
    }
}

#[tokio::test]
async fn the_fake_conforms() {
    conformance::all(&Fake(FakeBackend::new())).await;
}

#[tokio::test]
async fn a_test_decides_when_a_step_ends_and_sees_what_was_done() {
    let fake = FakeBackend::new();
    let gate = CancellationToken::new();
    fake.script([Step::Until(gate.clone())]);
    let mut cell = fake
        .open(&request(IsolationLevel::Strict, limits(|_| {})))
        .await
        .unwrap();
    assert_eq!(fake.open_cells(), (1, 1));
    let running = cell.exec(python("1"), Arc::new(Heard::default()));
    let (exit, ()) = tokio::join!(running, async { gate.cancel() });
    assert_eq!(exit.unwrap().facts.killed, None);
    cell.destroy().await.unwrap();
    let seen = fake.seen();
    assert!(
        matches!(seen.as_slice(), [Seen::Opened, Seen::Started(_), Seen::Destroyed]),
        "{seen:?}"
    );
    assert_eq!(fake.open_cells(), (0, 1));
}

#[tokio::test]
async fn a_refusal_and_a_loss_are_errors_of_the_port() {
    let fake = FakeBackend::new();
    fake.refuse(BackendError::Lost("the keeper"));
    let wanted = request(IsolationLevel::Strict, limits(|_| {}));
    assert!(matches!(
        fake.open(&wanted).await,
        Err(BackendError::Lost("the keeper"))
    ));
    fake.script([Step::Lose]);
    let mut cell = fake.open(&wanted).await.unwrap();
    assert!(matches!(
        cell.exec(python("1"), Arc::new(Heard::default())).await,
        Err(BackendError::Lost("the keeper"))
    ));
}
