//! A witness of one run: it looks at the host's processes again and again while a program runs, and tells afterwards
//! how long any of them was alive. It believes neither Brig nor the program.

use crate::assert::field;
use crate::modes::Mode;
use crate::process;
use crate::skip::Skip;
use crate::slack::{is_busy, stretched};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The variable by which the processes of a run are known.
pub const MARKER: &str = "BRIG_TESTS_MARKER";

/// How late the last process of a cell may be gone.
pub const LATE: Duration = Duration::from_millis(500);

/// No other work of the machine explains that a kill took so long.
const VERY_LATE: Duration = Duration::from_secs(5);

/// Asserts that what took so long to die took no longer than it may.
///
/// # Errors
/// When it did; on a busy machine, where nothing can go before other work because there is no control group, a skip.
pub fn in_time(mode: Mode, late: Duration) -> Result<()> {
    if late <= stretched(LATE) {
        return Ok(());
    }
    if !mode.has_cgroup() && late <= stretched(VERY_LATE) && is_busy()? {
        let reason = format!(
            "{late:?}: without a control group nothing goes before the other work of this busy machine"
        );
        return Err(Skip::because(reason).into());
    }
    bail!("gone after {late:?}")
}

/// What was seen from outside.
#[derive(Debug, Clone, Default)]
pub struct Testimony {
    /// When a process of the program was there for the first time.
    pub first: Option<Instant>,
    /// The last moment at which one was certainly alive.
    pub last: Option<Instant>,
    /// The same of the cell's control group being populated; none without a group.
    pub populated: Option<Instant>,
    /// The most that were alive at one time.
    pub most: usize,
    /// Nice value and scheduling class of the cell's PID 1, each time that they were another.
    pub first_process: BTreeSet<String>,
}

/// A look that is under way until [`Witness::testify`].
#[derive(Debug)]
pub struct Witness {
    shared: Arc<Shared>,
    looking: JoinHandle<Testimony>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    alive: AtomicUsize,
}

impl Witness {
    /// Watches the program in whose environment [`MARKER`] has this value, and everything in its pid namespace.
    #[must_use]
    pub fn of(marker: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let (told, marker) = (Arc::clone(&shared), marker.to_owned());
        let looking = std::thread::spawn(move || look(&marker, &told));
        Self { shared, looking }
    }

    /// Waits until so many processes are alive at once.
    ///
    /// # Errors
    /// When there never are.
    pub fn sees(&self, processes: usize) -> Result<()> {
        let seen = process::wait_until(Duration::from_secs(20), || {
            self.shared.alive.load(Ordering::Relaxed) >= processes
        });
        ensure!(seen, "there never were {processes} processes");
        Ok(())
    }

    /// Whether it sees no process of the program any more, having seen one.
    #[must_use]
    pub fn sees_nothing(&self) -> bool {
        self.shared.alive.load(Ordering::Relaxed) == 0
    }

    /// Stops and tells.
    ///
    /// # Errors
    /// When the witness itself failed.
    pub fn testify(self) -> Result<Testimony> {
        self.shared.over.store(true, Ordering::Relaxed);
        let seen = self.looking.join();
        seen.ok().context("the witness died")
    }
}

impl Testimony {
    /// From the first sight of a process to the last.
    ///
    /// # Errors
    /// When none was ever seen: then nothing was watched.
    pub fn lived(&self) -> Result<Duration> {
        let (first, last) = (self.first, self.last);
        let (first, last) = first
            .zip(last)
            .context("the program was never seen from outside")?;
        Ok(last.max(self.populated.unwrap_or(last)) - first)
    }

    /// From a moment to the last sight of a process.
    #[must_use]
    pub fn after(&self, moment: Instant) -> Duration {
        let last = self.last.max(self.populated);
        last.map_or(Duration::ZERO, |last| last.saturating_duration_since(moment))
    }
}

/// The cell of the program, once it is known.
struct Watched {
    namespace: PathBuf,
    /// Keeps the namespace's number from being given to another one when the cell is gone.
    _held: File,
    events: Option<PathBuf>,
    init: Option<u32>,
}

fn look(marker: &str, shared: &Shared) -> Testimony {
    raise_this_thread();
    let mut seen = Testimony::default();
    let mut cell: Option<Watched> = None;
    // Ends when it is told to, so the long limit is never reached.
    process::wait_until(Duration::from_secs(600), || {
        if cell.is_none() {
            cell = find(marker);
        }
        if let Some(cell) = &cell {
            shared.alive.store(note(cell, &mut seen), Ordering::Relaxed);
        }
        shared.over.load(Ordering::Relaxed)
    });
    seen
}

fn note(cell: &Watched, seen: &mut Testimony) -> usize {
    let (alive, last) = alive_in(&cell.namespace, cell.init);
    if let Some(last) = last {
        seen.first.get_or_insert(last);
        seen.last = Some(last);
        seen.most = seen.most.max(alive);
    }
    let now = Instant::now();
    let populated = cell
        .events
        .as_deref()
        .and_then(|events| std::fs::read_to_string(events).ok());
    if populated.is_some_and(|text| text.contains("populated 1")) {
        seen.populated = Some(now);
    }
    if let Some(place) = cell.init.and_then(place_of) {
        seen.first_process.insert(place);
    }
    alive
}

/// The harness competes with what it watches; where it may, it goes first.
fn raise_this_thread() {
    let thread = nix::unistd::gettid().to_string();
    let mut renice = process::command("renice");
    renice.args(["-n", "-15", "-p", &thread]);
    process::run(renice, Vec::new(), Duration::from_secs(5)).ok();
}

fn find(marker: &str) -> Option<Watched> {
    let own = namespace_of(Path::new("/proc/self"))?;
    processes().find_map(|(pid, process)| {
        let namespace = namespace_of(&process).filter(|found| *found != own)?;
        // Its arguments go through a channel; its environment can be seen.
        let environment = std::fs::read(process.join("environ")).ok()?;
        let entry = format!("{MARKER}={marker}");
        let known = environment
            .split(|byte| *byte == 0)
            .any(|found| found == entry.as_bytes());
        let held = File::open(process.join("ns/pid")).ok()?;
        known.then(|| Watched {
            _held: held,
            events: events_of(pid),
            init: first_of(&namespace, pid),
            namespace,
        })
    })
}

fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn namespace_of(process: &Path) -> Option<PathBuf> {
    std::fs::read_link(process.join("ns/pid")).ok()
}

/// The first process of a pid namespace: the last ancestor of `pid` that is in it.
fn first_of(namespace: &Path, pid: u32) -> Option<u32> {
    let parent = |of: u32| {
        let status = std::fs::read_to_string(format!("/proc/{of}/status")).ok()?;
        field(&status, "PPid:")?.trim().parse::<u32>().ok()
    };
    let here =
        |of: &u32| namespace_of(Path::new(&format!("/proc/{of}"))).is_some_and(|found| found == namespace);
    std::iter::successors(Some(pid), |of| parent(*of).filter(here)).last()
}

/// The file that tells whether the cell's group holds a process.
fn events_of(pid: u32) -> Option<PathBuf> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let name = Path::new(path).file_name()?.to_string_lossy().into_owned();
    if !name.starts_with("cell-") {
        return None;
    }
    let below = path.trim_start_matches('/');
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(|top| Path::new(top).join(below).join("cgroup.events"))
        .find(|events| events.exists())
}

/// How many processes of a pid namespace are alive, without its first one, and a moment at which the last one of them
/// still was: this thread may itself have to wait between a look and the clock.
fn alive_in(namespace: &Path, init: Option<u32>) -> (usize, Option<Instant>) {
    let here = |process: &Path| match namespace_of(process) {
        Some(found) => found == namespace,
        // A zombie has no namespaces any more. Where only the first thread has ended, the others have them.
        None => has_thread_in(process, namespace),
    };
    let (mut alive, mut last) = (0, None);
    for (_, process) in processes().filter(|(pid, _)| Some(*pid) != init) {
        let moment = Instant::now();
        if here(&process) {
            alive += 1;
            last = Some(moment);
        }
    }
    (alive, last)
}

fn has_thread_in(process: &Path, namespace: &Path) -> bool {
    let mut threads = std::fs::read_dir(process.join("task"))
        .into_iter()
        .flatten()
        .flatten();
    threads.any(|thread| namespace_of(&thread.path()).is_some_and(|found| found == namespace))
}

/// `nice N policy N` of a process.
fn place_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields 19 and 41 of the whole line; the first one after the name is number 3.
    Some(format!("nice {} policy {}", fields.get(16)?, fields.get(38)?))
}
