//! Images of the jail while a daemon runs: made, renamed, damaged, taken away; and what the daemon may do to them.

use anyhow::{Context, Result, ensure};
use brig_tests::cell::Bench;
use brig_tests::cells::{Cells, images};
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process;
use brig_tests::seen::Seen;
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const MODE: Mode = Mode::jail(Privilege::Root, Reach::Served);

type Body = fn(&World) -> Result<()>;

const TRIALS: [(&str, Body); 7] = [
    (
        "an image that is made while the daemon runs is used at once",
        made_meanwhile,
    ),
    (
        "a name that is given to another root means that from then on",
        renamed,
    ),
    (
        "an image whose root is gone fails by name, and no verdict is given",
        root_is_gone,
    ),
    (
        "an image that others could change fails by name and says what helps",
        others_could_change,
    ),
    (
        "an image without its interpreter fails by name",
        interpreter_is_gone,
    ),
    (
        "an image has its own default limits, and the job's own win",
        default_limits,
    ),
    (
        "a store within the data directory is refused at the start",
        store_within_data,
    ),
];

fn main() -> ExitCode {
    let stage = match Stage::set_up() {
        Ok(stage) => Arc::new(stage),
        Err(error) => return run(vec![trial("the programs can be staged", move || Err(error))]),
    };
    let trials = TRIALS.map(|(title, body)| {
        let stage = Arc::clone(&stage);
        trial(title, move || body(&World::set_up(stage)?))
    });
    run(trials.into_iter().collect())
}

/// A daemon with a store of its own, empty at first.
struct World {
    bench: Bench,
    store: tempfile::TempDir,
}

impl World {
    fn set_up(stage: Arc<Stage>) -> Result<World> {
        MODE.available()?;
        if !Cells::JailOnImage.image_is_built() {
            return Err(
                Skip::because("the image python-data is not built: tests/run does it as root").into(),
            );
        }
        // Where the images are, so that their files can be the same ones.
        let above = images()
            .parent()
            .context("a store has a directory above it")?
            .to_owned();
        let store = tempfile::tempdir_in(above)?;
        for part in ["names", "roots"] {
            std::fs::create_dir(store.path().join(part))?;
            set_mode(&store.path().join(part), 0o755)?;
        }
        set_mode(store.path(), 0o755)?;
        let config = format!("images_dirs = [{:?}]\n", store.path().display().to_string());
        let bench = Bench {
            mode: MODE,
            stage,
            daemon: None,
        };
        Ok(World {
            bench: bench.served_with(&config)?,
            store,
        })
    }

    /// Puts an image of the tests into the store, under a name.
    fn add(&self, image: &str, name: &str) -> Result<String> {
        let record = std::fs::read(images().join("names").join(format!("{image}.json")))?;
        let digest: Value = serde_json::from_slice(&record)?;
        let digest = digest["digest"]
            .as_str()
            .context("a name has a digest")?
            .to_owned();
        for end in ["", ".json"] {
            let part = format!("roots/{digest}{end}");
            if !self.path(&part).exists() {
                // Links instead of copies: nobody writes to them.
                let mut command = process::command("cp");
                command
                    .args(["-al", "--"])
                    .arg(images().join(&part))
                    .arg(self.path(&part));
                let done = process::run(command, Vec::new(), Duration::from_secs(60))?;
                ensure!(done.code() == 0, "{}", String::from_utf8_lossy(&done.stderr));
            }
        }
        std::fs::write(self.path(&format!("names/{name}.json")), record)?;
        Ok(digest)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.store.path().join(part)
    }

    fn run(&self, image: &str, code: &str, options: &[&str]) -> Result<Seen> {
        let run = self
            .bench
            .code(code)
            .options(&["--image", image])
            .options(options);
        run.time_enough(30).start()?.report()
    }

    /// What a client is told that gets no job.
    fn refusal(&self, image: &str) -> Result<String> {
        let (daemon, _) = self.bench.daemon.as_ref().context("a daemon")?;
        let command = daemon.client(&["run", "--image", image, "-c", "1"]);
        let done = process::run(command, Vec::new(), Duration::from_secs(30))?;
        ensure!(done.code() == 2, "exit {}", done.code());
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// The failure of a job that never ran.
    fn failure(&self, image: &str) -> Result<String> {
        let seen = self.run(image, "print('ran')", &[])?;
        ensure!(
            seen.report["state"] == "failed" && seen.code == 125,
            "{}",
            seen.told()
        );
        ensure!(
            seen.kind() == "setup_error" && seen.stdout.is_empty(),
            "{}",
            seen.told()
        );
        let failure = &seen.report["failure"];
        Ok(failure.to_string())
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(mode),
    )?)
}

fn image_of(seen: &Seen) -> String {
    seen.report["receipt"]["image"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn made_meanwhile(world: &World) -> Result<()> {
    let told = world.refusal("late")?;
    ensure!(told.contains("\"late\"") && told.contains("host"), "{told}");
    let digest = world.add("python", "late")?;
    let seen = world.run("late", "import sys; print(sys.executable)", &[])?;
    ensure!(seen.stdout == "/usr/bin/python3\n", "{}", seen.told());
    ensure!(
        image_of(&seen) == format!("late@sha256:{digest}"),
        "{}",
        image_of(&seen)
    );
    // The host's own Python is not the image's.
    let seen = world.run(
        "late",
        "import os; print(os.path.exists('/etc/debian_version'), os.path.exists('/usr/bin/gcc'))",
        &[],
    )?;
    ensure!(seen.stdout == "True False\n", "{}", seen.told());
    Ok(())
}

fn renamed(world: &World) -> Result<()> {
    let find = "import importlib.util; print(importlib.util.find_spec('numpy') is not None)";
    let small = world.add("python", "mine")?;
    let before = world.run("mine", find, &[])?;
    let large = world.add("python-data", "mine")?;
    let after = world.run("mine", find, &[])?;
    ensure!(
        before.stdout == "False\n" && after.stdout == "True\n",
        "{}{}",
        before.told(),
        after.told()
    );
    ensure!(image_of(&before).ends_with(&small) && image_of(&after).ends_with(&large));
    Ok(())
}

fn root_is_gone(world: &World) -> Result<()> {
    let digest = world.add("python", "mine")?;
    world.run("mine", "1", &[])?.exited(0)?;
    let root = world.path(&format!("roots/{digest}"));
    std::fs::rename(&root, world.path("aside"))?;
    let told = world.failure("mine")?;
    for word in ["mine", &digest, "brig image build"] {
        ensure!(told.contains(word), "{word}: {told}");
    }
    std::fs::rename(world.path("aside"), &root)?;
    world.run("mine", "1", &[])?.exited(0)?;
    Ok(())
}

fn others_could_change(world: &World) -> Result<()> {
    let digest = world.add("python", "mine")?;
    let root = world.path(&format!("roots/{digest}"));
    set_mode(&root, 0o777)?;
    let told = world.failure("mine")?;
    ensure!(told.contains("mine") && told.contains("chmod go-w"), "{told}");
    set_mode(&root, 0o755)?;
    world.run("mine", "1", &[])?.exited(0)?;
    Ok(())
}

fn interpreter_is_gone(world: &World) -> Result<()> {
    let digest = world.add("python", "mine")?;
    let root = world.path(&format!("roots/{digest}"));
    // The name alone: the file is also that of the other stores.
    for entry in std::fs::read_dir(root.join("usr/bin"))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("python3") {
            std::fs::remove_file(entry.path())?;
        }
    }
    let told = world.failure("mine")?;
    for word in ["mine@sha256:", "/usr/bin/python3", "brig image build"] {
        ensure!(told.contains(word), "{word}: {told}");
    }
    // Another program of the image runs.
    let run = world
        .bench
        .command(&["/bin/echo", "still"])
        .options(&["--image", "mine"]);
    let seen = run.start()?.report()?;
    ensure!(seen.stdout == "still\n", "{}", seen.told());
    Ok(())
}

fn default_limits(world: &World) -> Result<()> {
    world.add("python-data", "large")?;
    world.add("python", "small")?;
    let take = "block = bytearray(700 << 20); print(len(block) >> 20)";
    let seen = world.run("large", take, &[])?;
    ensure!(seen.stdout == "700\n", "{}", seen.told());
    for (image, options) in [("small", &[][..]), ("large", &["--memory", "512MiB"][..])] {
        let seen = world.run(image, take, options)?;
        ensure!(seen.kind() == "out_of_memory", "{image}{}", seen.told());
    }
    Ok(())
}

fn store_within_data(world: &World) -> Result<()> {
    let place = tempfile::tempdir()?;
    let config = place.path().join("brig.toml");
    let inside = place.path().join("data/images");
    std::fs::write(
        &config,
        format!("images_dirs = [{:?}]\n", inside.display().to_string()),
    )?;
    let mut command = MODE.command(&world.bench.stage.brig);
    command
        .args(["serve", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(place.path().join("data"))
        .arg("--listen")
        .arg(format!("unix:{}", place.path().join("socket").display()));
    let done = process::run(command, Vec::new(), Duration::from_secs(30))?;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.code() == 64, "exit {}: {told}", done.code());
    ensure!(told.contains("images_dirs") && told.contains("overlap"), "{told}");
    Ok(())
}
