//! `kill -9` in the middle of a write loop: what was acknowledged is there, whole.

use super::super::conformance::given::{self, AnyStore, LEASE, at, tenant};
use brig_core::store::{JobKeeper, NewJob};
use brig_core::{JobId, Timestamp, WorkerId};
use brig_store::SqliteStore;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const DATA: &str = "BRIG_STORE_CRASH_DATA";

/// Not a test of its own: the child that the next test kills. It tells each job when the store has acknowledged it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Some(data) = std::env::var_os(DATA) else {
        return;
    };
    let store: AnyStore = Arc::new(SqliteStore::open(Path::new(&data)).await.unwrap());
    // Whatever an earlier child left half done is not this one's.
    store
        .recover(WorkerId::generate(), Timestamp::now())
        .await
        .unwrap();
    store.purge(at(0), 0, at(0)).await.unwrap();
    let tell = |what: &str, job: JobId| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{what} {job}").unwrap();
        out.flush().unwrap();
    };
    loop {
        let now = Timestamp::now();
        let job: NewJob = given::job();
        let id = given::submitted(&store, job, now).await;
        tell("submitted", id);
        let Some(claim) = store.claim(WorkerId::generate(), LEASE, now).await.unwrap() else {
            continue;
        };
        let attempt = given::attempt_of(&claim);
        let events = vec![given::output(&[b'x'; 3_000]), given::output(b"y")];
        store.append(attempt, events, None, now).await.unwrap();
        store.end(attempt, given::finished(), vec![], now).await.unwrap();
        tell("ended", claim.job.id);
    }
}

/// Runs the child until it has told `lines` things, kills it, and gives everything that it told.
fn killed_after(data: &Path, lines: usize) -> Vec<(String, JobId)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sqlite_only::crash::child_that_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(DATA, data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((what @ ("submitted" | "ended"), id)) = line.split_once(' ') {
            told.push((what.to_owned(), id.parse().unwrap()));
            if told.len() == lines {
                // The rest of the pipe is still read: what was told before the kill counts too.
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(
        told.len() >= lines,
        "the child ended by itself after {} lines",
        told.len()
    );
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_writing_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for lines in [1, 17, 60, 133, 250] {
        let told = killed_after(&data, lines);
        let concrete = Arc::new(SqliteStore::open(&data).await.unwrap());
        concrete.check_integrity().await.unwrap();
        let store: AnyStore = concrete.clone();
        concrete
            .recover(WorkerId::generate(), Timestamp::now())
            .await
            .unwrap();
        for (what, id) in told {
            let job = store.get(&tenant("default"), id).await;
            let job = job.unwrap_or_else(|error| panic!("{what} {id} is lost: {error:?}"));
            let events = given::whole_history(&store, &tenant("default"), id).await;
            if what == "ended" {
                assert_eq!((job.state.word(), events.len()), ("finished", 4));
            }
        }
        let counts = store.counts().await.unwrap();
        assert_eq!(counts["running"] + counts["cancelling"], 0);
        drop(store);
        Arc::into_inner(concrete).unwrap().close().await;
    }
}
