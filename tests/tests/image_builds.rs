//! Images as they are really built: what is in `python` and `python-data`, and a tiny definition from its build to its end.

use anyhow::{Context, Result, bail, ensure};
use brig_tests::cells::images;
use brig_tests::process::{self, Done};
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, state};
use brig_tests::suite::{run, trial};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A build whose base is in the cache.
const PATIENCE: Duration = Duration::from_secs(120);

/// 2000-01-01, see `brig_backend::images::tar`.
const ROOT_TIME: i64 = 946_684_800;

/// Small, without dependencies; its hash is in the lock of `python-data`, too.
const WHEEL: &str =
    "et_xmlfile==2.0.0 --hash=sha256:7a91720bc756843502c3b7504c77b8fe44217c85c537d85037f0f536151b2caa\n";

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for image in ["python", "python-data"] {
        let case = |title: &str, body: fn(&Built) -> Result<()>| {
            trial(format!("{title} [{image}]"), move || body(&Built::find(image)?))
        };
        trials.push(case("its content is what its digest says", verified));
        trials.push(case("nothing in it gives power or tells who built it", harmless));
        trials.push(case("its byte code never looks at times", byte_code));
        trials.push(case("UTF-8, time zones and certificates are there", surroundings));
    }
    trials.push(trial(
        "a tree with one fault of each kind is noticed",
        control_arm,
    ));
    trials.push(trial("matplotlib does not look for fonts in a cell", font_list));
    trials.push(trial(
        "a tiny definition is built, twice the same, imported and removed",
        tiny,
    ));
    trials.push(trial("a build that is killed leaves the store as it was", killed));
    trials.push(trial("a wheel with another hash ends the build", other_hash));
    trials.push(trial("a user without root is told what to do", without_root));
    run(trials)
}

/// An image of `tests/run`.
struct Built {
    name: &'static str,
    root: PathBuf,
    stage: Stage,
}

impl Built {
    fn find(name: &'static str) -> Result<Self> {
        let path = images().join("names").join(format!("{name}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Err(Skip::because(format!(
                "the image {name} is not built: tests/run does it as root"
            ))
            .into());
        };
        let record: serde_json::Value = serde_json::from_str(&text)?;
        let digest = record["digest"].as_str().context("a name without a digest")?;
        Ok(Self {
            name,
            root: images().join("roots").join(digest),
            stage: Stage::set_up()?,
        })
    }

    fn run_code(&self, code: &str) -> Result<String> {
        let config = self.stage.path("images.toml");
        std::fs::write(
            &config,
            format!("images_dirs = [{:?}]\n", images().display().to_string()),
        )?;
        let mut command = process::command(&self.stage.brig);
        command
            .args(["run", "--image", self.name, "-c", code])
            .env("BRIG_CONFIG", &config);
        fine(&process::run(command, Vec::new(), PATIENCE)?)
    }
}

fn brig(stage: &Stage, arguments: &[&str]) -> Result<Done> {
    let mut command = process::command(&stage.brig);
    command.arg("image").args(arguments);
    process::run(command, Vec::new(), PATIENCE)
}

/// What it said, if it did what it was asked.
fn fine(done: &Done) -> Result<String> {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    ensure!(done.code() == 0, "exit {}: {stdout}{stderr}", done.code());
    Ok(stdout.into_owned())
}

fn verified(built: &Built) -> Result<()> {
    let store = images().display().to_string();
    let text = fine(&brig(
        &built.stage,
        &["inspect", built.name, "--verify", "--store", &store, "--json"],
    )?)?;
    let told: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(told["verified"] == true, "{told}");
    ensure!(
        told["packages"]
            .as_array()
            .is_some_and(|packages| packages.len() > 50),
        "{told}"
    );
    Ok(())
}

fn harmless(built: &Built) -> Result<()> {
    let faults = faults_of(&built.root)?;
    ensure!(faults.is_empty(), "{faults:#?}");
    let passwd = std::fs::read_to_string(built.root.join("etc/passwd"))?;
    ensure!(
        passwd.lines().count() == 3 && passwd.contains("agent:x:10001:10001:"),
        "{passwd}"
    );
    Ok(())
}

/// Everything that an image must not have.
fn faults_of(root: &Path) -> Result<BTreeSet<String>> {
    let mut faults = BTreeSet::new();
    walk(root, root, &mut faults)?;
    for gone in [
        "etc/machine-id",
        "etc/shadow",
        "etc/gshadow",
        "etc/passwd-",
        "etc/.pwd.lock",
        "etc/subuid",
        "var/lib/dbus/machine-id",
        "var/lib/dpkg/info",
        "var/lib/apt/lists",
        "usr/share/doc/bash/changelog.gz",
        "usr/share/man",
        "usr/share/locale",
    ] {
        if root.join(gone).symlink_metadata().is_ok() {
            faults.insert(format!("{gone} is there"));
        }
    }
    for empty in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "workspace",
        "root",
        "home",
        "var/log",
        "var/cache",
        "var/tmp",
    ] {
        let count = std::fs::read_dir(root.join(empty)).map(Iterator::count);
        if !matches!(count, Ok(0)) {
            faults.insert(format!("{empty} is not an empty directory"));
        }
    }
    Ok(faults)
}

fn walk(root: &Path, directory: &Path, faults: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let found = path.symlink_metadata()?;
        let name = path.strip_prefix(root)?.display().to_string();
        let mut fault = |what: &str| {
            faults.insert(format!("{name} {what}"));
        };
        if (found.uid(), found.gid()) != (0, 0) {
            fault("belongs to somebody");
        }
        if found.is_symlink() {
            continue;
        }
        if !found.is_dir() && !found.is_file() {
            fault("is a special file");
            continue;
        }
        let mode = found.mode() & 0o7777;
        if !(mode == 0o755 || (found.is_file() && mode == 0o644)) {
            fault("has another mode");
        }
        if found.mtime() != ROOT_TIME {
            fault("tells a time");
        }
        if found.is_dir() {
            walk(root, &path, faults)?;
        }
    }
    Ok(())
}

fn control_arm() -> Result<()> {
    needs_root()?;
    let place = tempfile::tempdir()?;
    let root = place.path();
    std::fs::create_dir_all(root.join("usr/bin"))?;
    std::fs::write(root.join("usr/bin/su"), "")?;
    std::fs::set_permissions(
        root.join("usr/bin/su"),
        std::os::unix::fs::PermissionsExt::from_mode(0o4755),
    )?;
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRUSR)?;
    symlink("nowhere", root.join("link"))?;
    std::os::unix::fs::lchown(root.join("link"), Some(1), None)?;
    std::fs::create_dir_all(root.join("etc"))?;
    std::fs::write(root.join("etc/machine-id"), "")?;
    let faults = faults_of(root)?;
    for expected in [
        "usr/bin/su has another mode",
        "usr/bin/su tells a time",
        "pipe is a special file",
        "link belongs to somebody",
        "etc/machine-id is there",
        "tmp is not an empty directory",
    ] {
        ensure!(faults.contains(expected), "{expected}: {faults:?}");
    }
    Ok(())
}

/// The header of a file of byte code: a magic number, then flags, of which 1 means a hash and not 3, that it is looked at.
fn byte_code(built: &Built) -> Result<()> {
    let mut compiled = 0;
    let mut directories = vec![built.root.join("usr/lib"), built.root.join("usr/local/lib")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.symlink_metadata()?.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "pyc") {
                let header = std::fs::read(&path)?;
                ensure!(header.get(4..8) == Some(&[1, 0, 0, 0][..]), "{}", path.display());
                compiled += 1;
            }
        }
    }
    ensure!(compiled > 500, "only {compiled} files are compiled");
    Ok(())
}

fn surroundings(built: &Built) -> Result<()> {
    let code = "import locale, os, ssl, sys, zoneinfo
print(locale.setlocale(locale.LC_ALL, ''), locale.getpreferredencoding(), sys.getfilesystemencoding())
print(zoneinfo.ZoneInfo('Europe/Berlin').key, os.environ['TZ'], open('/etc/timezone').read().strip())
print(len(ssl.create_default_context().get_ca_certs()) > 50)";
    let said = built.run_code(code)?;
    ensure!(
        said == "C.UTF-8 UTF-8 utf-8\nEurope/Berlin Etc/UTC Etc/UTC\nTrue\n",
        "{said}"
    );
    Ok(())
}

fn font_list() -> Result<()> {
    let code = "import os, time
began = time.monotonic()
import matplotlib.pyplot as plot
plot.plot([1, 2]); plot.title('x'); plot.savefig('/workspace/x.png')
print(os.listdir('/tmp/matplotlib'), time.monotonic() - began < 3 * float(os.environ.get('SLACK', '1')))";
    let said = Built::find("python-data")?.run_code(code)?;
    ensure!(said == "[] True\n", "{said}");
    Ok(())
}

/// A definition with everything that one can have, on the base of `python`, so that the cached one serves.
struct Tiny {
    place: tempfile::TempDir,
    stage: Stage,
    cache: String,
}

impl Tiny {
    fn lay_out(lock: &str, after: &str) -> Result<Self> {
        needs_root()?;
        let cache = state()
            .map(|state| state.join("image-cache"))
            .filter(|cache| cache.join("bases").is_dir());
        let Some(cache) = cache else {
            return Err(Skip::because("no base is in the cache: tests/run builds the images first").into());
        };
        let place = tempfile::tempdir_in("/var/tmp")?;
        let folder = place.path().join("tiny");
        std::fs::create_dir(&folder)?;
        let recipe =
            std::fs::read_to_string(brig_tests::stage::source("../sandbox-images/python/image.toml"))?;
        let recipe = recipe.replace(
            "[base]",
            "remove = [\"usr/bin/make\"]\n[env]\nTINY = \"yes\"\n[base]",
        );
        std::fs::write(folder.join("image.toml"), recipe)?;
        std::fs::write(folder.join("requirements.lock"), lock)?;
        std::fs::write(folder.join("after.py"), after)?;
        Ok(Self {
            stage: Stage::set_up()?,
            cache: cache.display().to_string(),
            place,
        })
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).display().to_string()
    }

    fn build(&self, store: &str) -> Result<Done> {
        let (folder, store) = (self.path("tiny"), self.path(store));
        brig(
            &self.stage,
            &[
                "build",
                &folder,
                "--store",
                &store,
                "--cache",
                &self.cache,
                "--json",
            ],
        )
    }

    fn names(&self, store: &str) -> Result<Vec<String>> {
        let store = self.path(store);
        let listed: serde_json::Value =
            serde_json::from_str(&fine(&brig(&self.stage, &["ls", "--json", "--store", &store])?)?)?;
        let images = listed["images"].as_array().context("no list")?;
        Ok(images
            .iter()
            .filter_map(|image| image["name"].as_str())
            .map(str::to_owned)
            .collect())
    }
}

const AFTER: &str = "import et_xmlfile, socket
try:
    socket.create_connection(('127.0.0.1', 9), 1)
except OSError as error:
    assert error.errno == 101, error
open('/opt/after', 'w').write(et_xmlfile.__version__)\n";

fn tiny() -> Result<()> {
    let tiny = Tiny::lay_out(WHEEL, AFTER)?;
    let first: serde_json::Value = serde_json::from_str(&fine(&tiny.build("one")?)?)?;
    let second: serde_json::Value = serde_json::from_str(&fine(&tiny.build("two")?)?)?;
    ensure!(first["digest"] == second["digest"], "{first} {second}");
    let root = PathBuf::from(first["root"].as_str().context("no root")?);
    let faults = faults_of(&root)?;
    ensure!(faults.is_empty(), "{faults:?}");
    ensure!(std::fs::read_to_string(root.join("opt/after"))? == "2.0.0");
    ensure!(!root.join("usr/bin/make").exists() && root.join("usr/bin/bash").exists());
    // The same files as an archive that another tool packed, in another order, are the same image.
    let archive = tiny.path("packed.tar");
    let mut tar = process::command("tar");
    tar.args(["-C"])
        .arg(&root)
        .args(["--sort=none", "-cf", &archive, "."]);
    fine(&process::run(tar, Vec::new(), PATIENCE)?)?;
    let store = tiny.path("one");
    let imported = fine(&brig(
        &tiny.stage,
        &["import", &archive, "--name", "again", "--store", &store, "--json"],
    )?)?;
    let imported: serde_json::Value = serde_json::from_str(&imported)?;
    ensure!(imported["digest"] == first["digest"], "{imported} {first}");
    ensure!(tiny.names("one")? == ["again", "tiny"]);
    fine(&brig(&tiny.stage, &["rm", "tiny", "--store", &store])?)?;
    ensure!(
        root.exists() && tiny.names("one")? == ["again"],
        "another name means the same root"
    );
    fine(&brig(&tiny.stage, &["rm", "again", "--store", &store])?)?;
    ensure!(!root.exists() && tiny.names("one")?.is_empty());
    Ok(())
}

fn killed() -> Result<()> {
    let tiny = Tiny::lay_out(WHEEL, "import time\ntime.sleep(600)\n")?;
    let (folder, store) = (tiny.path("tiny"), tiny.path("one"));
    let mut command = process::command(&tiny.stage.brig);
    command.args([
        "image",
        "build",
        &folder,
        "--store",
        &store,
        "--cache",
        &tiny.cache,
    ]);
    let running = process::start(command, Vec::new())?;
    let runs = || processes_with("/mnt/after.py").is_ok_and(|found| !found.is_empty());
    ensure!(process::wait_until(PATIENCE, runs), "after.py does not start");
    running.signal(Signal::SIGKILL)?;
    running.finish(PATIENCE)?;
    ensure!(
        process::wait_until(Duration::from_secs(10), || !runs()),
        "what the build started runs on"
    );
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    ensure!(!mounts.contains(&store), "mounts are left: {mounts}");
    ensure!(tiny.names("one")?.is_empty());
    std::fs::write(tiny.place.path().join("tiny/after.py"), "")?;
    fine(&tiny.build("one")?)?;
    ensure!(tiny.names("one")? == ["tiny"]);
    let roots = std::fs::read_dir(tiny.place.path().join("one/roots"))?.count();
    ensure!(roots == 2, "{roots} entries where a root and its description are");
    Ok(())
}

fn processes_with(word: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let words = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        // The script that enters the image has the same words, and more.
        if words.contains(word) && !words.contains("chroot") {
            found.push(words);
        }
    }
    Ok(found)
}

fn other_hash() -> Result<()> {
    let tiny = Tiny::lay_out(&WHEEL.replace("7a9172", "000000"), "")?;
    let done = tiny.build("one")?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(
        done.code() == 125 && said.contains("HASH"),
        "exit {}: {said}",
        done.code()
    );
    ensure!(tiny.names("one")?.is_empty());
    Ok(())
}

fn without_root() -> Result<()> {
    needs_root()?;
    let stage = Stage::set_up()?;
    let place = tempfile::tempdir_in("/var/tmp")?;
    std::os::unix::fs::chown(place.path(), Some(65_534), Some(65_534))?;
    let mut command = process::command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&stage.brig);
    command
        .args(["image", "build", "python", "--store"])
        .arg(place.path().join("images"));
    let done = process::run(command, Vec::new(), PATIENCE)?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.code() == 125, "exit {}: {said}", done.code());
    for word in ["root", "sudo", "brig image import"] {
        if !said.contains(word) {
            bail!("it does not speak of {word}: {said}");
        }
    }
    Ok(())
}

fn needs_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Skip::because("needs root").into())
}
