//! A backend whose programs are scripts: one step per line.
//!
//! `out TEXT`, `err TEXT`, `flood BYTES`, `env NAME`, `stdin`, `wait GATE`, `exit CODE`. A program that reaches its
//! end exits with 0. A step `wait` is held until the test opens the gate or the cell is killed.

use async_trait::async_trait;
use brig_core::backend::{
    Backend, BackendError, BackendOffer, BackendState, Bulk, CellControl, CellRequest, CollectLimits,
    Collected, Condition, Environment, Execution, Exit, FileSink, HostReport, ImageOffer, OutputPiece,
    OutputSink, ProgramReport, Start, Upload,
};
use brig_core::outcome::CollectedFile;
use brig_core::spec::{BackendName, ImageName, OutputPattern};
use brig_core::{ExitFacts, KillCause, MainExit, Receipt, StreamName};
use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Shared {
    gates: Mutex<HashMap<String, CancellationToken>>,
    cells: watch::Sender<usize>,
    most: AtomicUsize,
    runs: AtomicUsize,
    renewed: watch::Sender<usize>,
    started: mpsc::UnboundedSender<String>,
    open_gate: Mutex<Option<String>>,
    lost: CancellationToken,
    condition: Mutex<Condition>,
}

impl Shared {
    fn gate(&self, name: &str) -> CancellationToken {
        self.gates
            .lock()
            .unwrap()
            .entry(name.to_owned())
            .or_default()
            .clone()
    }
}

/// The backend; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    shared: Arc<Shared>,
    started: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let (sender, started) = mpsc::unbounded_channel();
        Self {
            shared: Arc::new(Shared {
                gates: Mutex::default(),
                cells: watch::channel(0).0,
                most: AtomicUsize::new(0),
                runs: AtomicUsize::new(0),
                renewed: watch::channel(0).0,
                started: sender,
                open_gate: Mutex::default(),
                lost: CancellationToken::new(),
                condition: Mutex::new(Condition::Serving),
            }),
            started: Arc::new(tokio::sync::Mutex::new(started)),
        }
    }

    /// Lets every program that waits at this gate go on.
    pub(crate) fn open_gate(&self, name: &str) {
        self.shared.gate(name).cancel();
    }

    /// Cells are given only after this gate was opened.
    pub(crate) fn hold_cells_at(&self, gate: &str) {
        *self.shared.open_gate.lock().unwrap() = Some(gate.to_owned());
    }

    /// Waits for the next program to start; gives its first line.
    pub(crate) async fn next_start(&self) -> String {
        self.started.lock().await.recv().await.unwrap()
    }

    /// Cells that exist now.
    pub(crate) fn cells(&self) -> usize {
        *self.shared.cells.borrow()
    }

    /// Most cells that ever existed at once.
    pub(crate) fn most_cells(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Programs that were started.
    pub(crate) fn runs(&self) -> usize {
        self.shared.runs.load(Ordering::SeqCst)
    }

    /// Waits until so many renewals have reached cells.
    pub(crate) async fn renewed(&self, times: usize) {
        let mut renewed = self.shared.renewed.subscribe();
        renewed.wait_for(|count| *count >= times).await.unwrap();
    }

    /// Waits until no cell is left.
    pub(crate) async fn no_cells(&self) {
        let mut cells = self.shared.cells.subscribe();
        cells.wait_for(|count| *count == 0).await.unwrap();
    }

    /// From now on it is like this.
    pub(crate) fn be(&self, condition: Condition) {
        *self.shared.condition.lock().unwrap() = condition;
    }

    /// The keeper goes away.
    pub(crate) fn lose(&self) {
        self.shared.lost.cancel();
    }

    /// Resolves when the keeper is gone.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }
}

fn receipt(level: &str) -> Receipt {
    Receipt {
        backend: "fake".to_owned(),
        level: level.to_owned(),
        image: "host".to_owned(),
        cell: "on_demand".to_owned(),
        layers: Vec::new(),
    }
}

#[async_trait]
impl Backend for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn offers(&self) -> Vec<BackendOffer> {
        vec![BackendOffer {
            name: BackendName("fake".to_owned()),
            default_image: ImageName::host(),
            images: vec![ImageOffer::host()],
            trouble: None,
        }]
    }

    fn states(&self) -> Vec<BackendState> {
        vec![BackendState {
            name: BackendName("fake".to_owned()),
            condition: *self.shared.condition.lock().unwrap(),
            why: "the test says so".to_owned(),
            ready_cells: Some(3),
        }]
    }

    async fn probe(&self) -> Result<HostReport, BackendError> {
        Ok(HostReport {
            receipt: receipt("strict"),
            levels: Vec::new(),
        })
    }

    async fn open(&self, request: &CellRequest) -> Result<Box<dyn Environment>, BackendError> {
        let held = self.shared.open_gate.lock().unwrap().clone();
        if let Some(gate) = held {
            self.shared.gate(&gate).cancelled().await;
        }
        self.shared.cells.send_modify(|count| *count += 1);
        let cells = *self.shared.cells.borrow();
        self.shared.most.fetch_max(cells, Ordering::SeqCst);
        Ok(Box::new(Cell {
            shared: Arc::clone(&self.shared),
            receipt: receipt(request.isolation.word()),
            control: Arc::new(Control {
                killed: watch::channel(None).0,
                shared: Arc::clone(&self.shared),
            }),
            files: HashMap::new(),
        }))
    }
}

#[derive(Debug)]
struct Control {
    killed: watch::Sender<Option<KillCause>>,
    shared: Arc<Shared>,
}

impl CellControl for Control {
    fn kill(&self, cause: KillCause) {
        self.killed.send_if_modified(|killed| {
            let first = killed.is_none();
            killed.get_or_insert(cause);
            first
        });
    }

    fn renew(&self, _lease_until: std::time::Instant) {
        self.shared.renewed.send_modify(|count| *count += 1);
    }
}

struct Cell {
    shared: Arc<Shared>,
    receipt: Receipt,
    control: Arc<Control>,
    files: HashMap<String, Vec<u8>>,
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.shared.cells.send_modify(|count| *count -= 1);
    }
}

fn content(bulk: Bulk) -> Vec<u8> {
    match bulk {
        Bulk::Memory(bytes) => bytes,
        Bulk::File(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        }
    }
}

impl Cell {
    /// Runs the steps; gives the exit code, or `None` when killed.
    async fn steps(&self, execution: Execution, sink: &dyn OutputSink, written: &mut [u64; 2]) -> Option<u8> {
        let Start::Python { code, .. } = execution.start else {
            return Some(0);
        };
        let stdin = content(execution.stdin);
        let code = String::from_utf8(code).unwrap();
        let first = code.lines().next().unwrap_or_default();
        self.shared
            .started
            .send(first.to_owned())
            .expect("the test holds the other end");
        let mut killed = self.control.killed.subscribe();
        for line in code.lines() {
            let (step, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (stream, data) = match step {
                "out" => (StreamName::Stdout, format!("{rest}\n").into_bytes()),
                "err" => (StreamName::Stderr, format!("{rest}\n").into_bytes()),
                "flood" => (StreamName::Stdout, vec![b'x'; rest.parse().unwrap()]),
                "stdin" => (StreamName::Stdout, stdin.clone()),
                "read" => (
                    StreamName::Stdout,
                    self.files.get(rest).cloned().unwrap_or_default(),
                ),
                "env" => {
                    let value = execution.env.iter().find(|(name, _)| name == rest);
                    (
                        StreamName::Stdout,
                        value.map_or("?", |(_, value)| value).as_bytes().to_vec(),
                    )
                }
                "wait" => {
                    tokio::select! {
                        () = self.shared.gate(rest).cancelled_owned() => {}
                        _ = killed.wait_for(Option::is_some) => return None,
                    }
                    continue;
                }
                "exit" => return Some(rest.parse().unwrap()),
                _ => panic!("unknown step {line:?}"),
            };
            for piece in data.chunks(16 * 1024) {
                let mut text = piece.to_vec();
                for secret in &execution.redact {
                    let hidden = String::from_utf8_lossy(&text).replace(secret, "[secret]");
                    text = hidden.into_bytes();
                }
                written[usize::from(stream == StreamName::Stderr)] += u64::try_from(text.len()).unwrap();
                sink.output(OutputPiece { stream, data: text }).await;
            }
        }
        Some(0)
    }
}

#[async_trait]
impl Environment for Cell {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    fn control(&self) -> Arc<dyn CellControl> {
        Arc::clone(&self.control) as Arc<dyn CellControl>
    }

    async fn upload(&mut self, files: Vec<Upload>) -> Result<(), BackendError> {
        for file in files {
            self.files
                .insert(file.path.as_str().to_owned(), content(file.content));
        }
        Ok(())
    }

    async fn exec(
        &mut self,
        execution: Execution,
        output: Arc<dyn OutputSink>,
    ) -> Result<Exit, BackendError> {
        self.shared.runs.fetch_add(1, Ordering::SeqCst);
        let mut written = [0; 2];
        let code = tokio::select! {
            code = self.steps(execution, &*output, &mut written) => code,
            () = self.shared.lost.cancelled() => return Err(BackendError::Lost("the keeper")),
        };
        let facts = match code {
            Some(code) => ExitFacts::exited(code),
            None => ExitFacts {
                main: MainExit::Signalled(9),
                killed: *self.control.killed.borrow(),
                ..ExitFacts::exited(0)
            },
        };
        Ok(Exit {
            facts,
            report: ProgramReport::default(),
            stdout_bytes: written[0],
            stderr_bytes: written[1],
            hints: Vec::new(),
        })
    }

    async fn download(
        &mut self,
        wanted: &[OutputPattern],
        _limits: CollectLimits,
        sink: &mut dyn FileSink,
    ) -> Result<Collected, BackendError> {
        let mut collected = Collected::default();
        for (path, bytes) in &self.files {
            if !wanted.iter().any(|pattern| pattern.as_str() == path) {
                continue;
            }
            sink.begin(path).await.unwrap();
            sink.data(bytes).await.unwrap();
            collected.files.push(CollectedFile {
                path: path.clone(),
                file: sink.end().await.unwrap(),
                size: u64::try_from(bytes.len()).unwrap(),
            });
        }
        Ok(collected)
    }

    async fn destroy(self: Box<Self>) -> Result<(), BackendError> {
        Ok(())
    }
}
