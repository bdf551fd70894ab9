//! The libraries of the image `python-data`, each in real use: its program checks its own results and says `fine`.

use anyhow::{Context, Result, ensure};
use brig_tests::cell::{Bench, Run};
use brig_tests::cells::{Cells, images};
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{in_lane, run, tell_times, trial};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

const IMAGE: &str = "python-data";

/// A program of `tests/programs/libraries`.
#[derive(Debug, Clone, Copy)]
struct Library {
    name: &'static str,
    file: &'static str,
    stderr: Stderr,
}

/// What it may say on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stderr {
    /// Nothing.
    Empty,
    /// joblib says that it cannot count physical cores where there is no `/sys`, and goes on.
    PhysicalCores,
}

const fn library(name: &'static str, file: &'static str) -> Library {
    Library {
        name,
        file,
        stderr: Stderr::Empty,
    }
}

const LIBRARIES: [Library; 12] = [
    library("numpy", "use_numpy.py"),
    library("pandas", "use_pandas.py"),
    library("matplotlib", "use_matplotlib.py"),
    library("requests", "use_requests.py"),
    Library {
        stderr: Stderr::PhysicalCores,
        ..library("scikit-learn", "use_sklearn.py")
    },
    library("scipy", "use_scipy.py"),
    library("Pillow", "use_pillow.py"),
    library("Beautiful Soup", "use_bs4.py"),
    library("sympy", "use_sympy.py"),
    library("networkx", "use_networkx.py"),
    library("openpyxl", "use_openpyxl.py"),
    library("pyarrow", "use_pyarrow.py"),
];

/// Where they are tried. Users without root read the image of root's store, and try those that ask most of a cell.
const MODES: [(Mode, &[&str]); 3] = [
    (Mode::of_cells(Cells::JailOnImage), &[]),
    (Mode::jail(Privilege::Subordinate, Reach::Embedded), DEMANDING),
    (Mode::jail(Privilege::Bare, Reach::Embedded), DEMANDING),
];

/// Threads, processes, mapped files, plots.
const DEMANDING: &[&str] = &["numpy", "pandas", "matplotlib", "scikit-learn", "pyarrow"];

fn main() -> ExitCode {
    let stage = match Stage::set_up() {
        Ok(stage) => Arc::new(stage),
        Err(error) => return run(vec![trial("the programs can be staged", move || Err(error))]),
    };
    let mut trials = Vec::new();
    for (mode, chosen) in MODES {
        let bench = Arc::new(OnceLock::new());
        let is_chosen = |library: &Library| chosen.is_empty() || chosen.contains(&library.name);
        for library in LIBRARIES.into_iter().filter(is_chosen) {
            let (stage, bench) = (Arc::clone(&stage), Arc::clone(&bench));
            trials.push(trial(
                format!("K {} in use [{}]", library.name, name(mode)),
                move || {
                    available(mode)?;
                    in_lane(mode.name(), || {
                        let opened = bench.get_or_init(|| Bench::set_up(stage, mode));
                        let bench = opened.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                        is_fine(bench, library)
                    })
                },
            ));
        }
    }
    let code = run(trials);
    tell_times("libraries");
    code
}

fn name(mode: Mode) -> String {
    match mode.cells {
        Cells::JailOnImage => "jail".to_owned(),
        Cells::Jail | Cells::Docker | Cells::Gvisor => mode.name().to_owned(),
    }
}

fn available(mode: Mode) -> Result<()> {
    mode.available()?;
    if !Cells::JailOnImage.image_is_built() {
        return Err(Skip::because(format!(
            "the image {IMAGE} is not built: tests/run does it as root"
        ))
        .into());
    }
    Ok(())
}

fn is_fine(bench: &Bench, library: Library) -> Result<()> {
    let program = bench.stage.path("programs/libraries").join(library.file);
    let configured = bench.stage.directory(bench.mode)?;
    let mut run: Run<'_> = bench.file(&program.display().to_string()).time_enough(60);
    if bench.mode.cells != Cells::JailOnImage {
        run = run.options(&["--image", IMAGE]);
    }
    if bench.daemon.is_none() {
        let file = configured.path().join("brig.toml");
        std::fs::write(
            &file,
            format!("images_dirs = [{:?}]\n", images().display().to_string()),
        )?;
        run = run.host_env("BRIG_CONFIG", &file.display().to_string());
    }
    let seen = run.go()?;
    ensure!(seen.code == 0, "exit code {}{}", seen.code, seen.told());
    ensure!(seen.stdout == "fine\n", "it is not fine{}", seen.told());
    let refused = seen.refused_calls();
    ensure!(refused.is_empty(), "refused calls {refused:?}{}", seen.told());
    let may_speak =
        library.stderr == Stderr::PhysicalCores && seen.stderr.contains("number of physical cores");
    ensure!(seen.stderr.is_empty() || may_speak, "it complains{}", seen.told());
    let image = seen.report["receipt"]["image"]
        .as_str()
        .context("a receipt names its image")?;
    ensure!(
        image.starts_with("python-data@sha256:") && image.len() == "python-data@sha256:".len() + 64,
        "the receipt names another image: {image}"
    );
    Ok(())
}
