//! Files: what of the host can be seen, what is mounted, what goes in and comes out.

use super::{Arm, Check};
use crate::cell::Bench;
use crate::seen::Seen;
use anyhow::{Context, Result, ensure};
use std::path::Path;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "F-01",
        title: "the host's files are not there",
        needs: &[],
        body: host_files,
        arm: Arm::Shows(|bench| {
            let planted = Planted::new()?;
            let seen = bench.outside("look_for_host_files.py", &planted.paths())?;
            for path in planted.paths() {
                seen.reached(&format!("read {path}"))?;
            }
            seen.reached("open /etc/shadow")?
                .reached("open /var/log")
                .map(drop)
        }),
    },
    Check {
        id: "F-02",
        title: "the mount table is the golden one",
        needs: &[],
        body: mounts,
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("mount_table.py", &[])?;
            ensure!(
                bad_mounts(&seen.lines("SAW", "mount")).is_err(),
                "the host's table passed too"
            );
            Ok(())
        }),
    },
    Check {
        id: "F-03",
        title: "sensitive entries of /proc are masked",
        needs: &[],
        body: |bench| {
            let seen = bench.program("sensitive_proc.py").go()?;
            // Opening for writing is how it is tried: the file of PID 1 belongs to somebody else.
            seen.refused_everything_but(&["read /proc/kallsyms"])?;
            ensure!(seen.number("pids")? < 10.0, "pids{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("sensitive_proc.py", &[])?;
            for attempt in [
                "read /proc/keys",
                "read /proc/kallsyms",
                "read /proc/interrupts",
                "read /proc/sys/kernel/random/boot_id",
                "write /proc/sys/kernel/hostname",
                "write /proc/sys/vm/overcommit_memory",
            ] {
                seen.reached(attempt)?;
            }
            Ok(())
        }),
    },
    Check {
        id: "F-04",
        title: "limits cannot be raised from inside, hardware not read",
        needs: &[],
        body: |bench| refused(bench, "raise_own_limits.py"),
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("raise_own_limits.py", &[])?;
            seen.reached("list /sys/fs/cgroup")?.reached("nice -5").map(drop)
        }),
    },
    Check {
        id: "F-05",
        title: "only harmless devices",
        needs: &[],
        body: devices,
        arm: Arm::Shows(devices_outside),
    },
    Check {
        id: "F-06",
        title: "no way into another job's files",
        needs: &[],
        body: |bench| {
            let decoy = bench.decoy()?;
            let guesses = [
                "/var/lib/brig",
                "/run/brig",
                "/tmp/brig",
                "/proc/1/root/workspace",
            ];
            let seen = bench
                .program("other_workspace.py")
                .args(&[&decoy.pid(), "inside"])
                .args(&guesses)
                .go()?;
            seen.refused_everything_but(&[]).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let decoy = bench.decoy()?;
            let seen = bench.outside("other_workspace.py", &[&decoy.pid()])?;
            seen.reached("outsider root")?
                .reached("outsider cwd")?
                .reached("outsider fd")
                .map(drop)
        }),
    },
    Check {
        id: "F-07",
        title: "only regular files are collected",
        needs: &[],
        body: outputs,
        arm: Arm::Within,
    },
    Check {
        id: "F-11",
        title: "evil names of inputs are refused",
        needs: &[],
        body: evil_names,
        arm: Arm::Within,
    },
    Check {
        id: "F-15",
        title: "files go in and come out unchanged",
        needs: &[],
        body: round_trip,
        arm: Arm::NoRefusal,
    },
];

fn refused(bench: &Bench, program: &str) -> Result<()> {
    bench.program(program).go()?.refused_everything_but(&[]).map(drop)
}

/// Files with secrets where a host has them.
pub(super) struct Planted(Vec<tempfile::NamedTempFile>);

impl Planted {
    pub(super) fn new() -> Result<Self> {
        let home = std::env::var("HOME").unwrap_or_else(|_| "/tmp".into());
        let mut planted = Vec::new();
        for directory in [home.as_str(), "/tmp", "/var/tmp"] {
            let file = tempfile::Builder::new()
                .prefix("brig-planted-")
                .tempfile_in(directory)?;
            std::fs::write(file.path(), "a secret of the host")?;
            planted.push(file);
        }
        Ok(Self(planted))
    }

    pub(super) fn paths(&self) -> Vec<&str> {
        self.0.iter().filter_map(|file| file.path().to_str()).collect()
    }
}

/// Everything that may stand in the root of a cell.
const ROOT: [&str; 15] = [
    "bin",
    "dev",
    "etc",
    "home",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "opt",
    "proc",
    "sbin",
    "tmp",
    "usr",
    "workspace",
    "var",
];

fn host_files(bench: &Bench) -> Result<()> {
    let planted = Planted::new()?;
    let seen = bench
        .program("look_for_host_files.py")
        .args(&planted.paths())
        .go()?;
    if let Some((root, _)) = bench.mode.cells.image_root()? {
        return files_of_the_image(&seen, &root);
    }
    // Empty directories that programs expect may be there; a listing of the host's may not.
    for line in seen.lines("REACHED", "open") {
        ensure!(line.ends_with("[]"), "{line} is not empty{}", seen.told());
    }
    seen.refused_everything_but(&[
        "open /home []",
        "open /opt []",
        "open /mnt []",
        "open /var/lib []",
        "open /var/log []",
    ])?;
    for name in seen.saw("root")?.split_whitespace() {
        ensure!(ROOT.contains(&name), "/{name} is in the root{}", seen.told());
    }
    Ok(())
}

/// What can be seen is what the image has, and nothing else.
fn files_of_the_image(seen: &Seen, root: &Path) -> Result<()> {
    seen.exited(0)?;
    ensure!(
        seen.lines("REACHED", "read").is_empty(),
        "a planted file{}",
        seen.told()
    );
    for line in seen.lines("REACHED", "open") {
        let (path, listed) = line.split_once(' ').context("no listing")?;
        let own = root.join(path.trim_start_matches('/'));
        ensure!(own.exists(), "{path} is not of the image{}", seen.told());
        // The listing may be cut in the middle of a name.
        let names = listed.trim_matches(['[', ']']).split(", ");
        let whole = names.filter_map(|name| name.strip_prefix('\'')?.strip_suffix('\''));
        for name in whole {
            ensure!(
                own.join(name).exists(),
                "{path}/{name} is not of the image{}",
                seen.told()
            );
        }
    }
    for name in seen.saw("root")?.split_whitespace() {
        let own = root.join(name).exists() || MADE.contains(&name);
        ensure!(own, "/{name} is not of the image{}", seen.told());
    }
    Ok(())
}

/// What the root of a cell has beside its image: places of its own, and in a container init and the engine's mark.
const MADE: [&str; 7] = ["dev", "proc", "tmp", "workspace", "sys", ".brig", ".dockerenv"];

fn mounts(bench: &Bench) -> Result<()> {
    let seen = bench.program("mount_table.py").go()?;
    seen.exited(0)?;
    bad_mounts(&seen.lines("SAW", "mount")).with_context(|| seen.told())
}

/// Every mount: private, nosuid; nodev except device nodes; read-only except the places for the program.
fn bad_mounts(lines: &[&str]) -> Result<()> {
    ensure!(!lines.is_empty(), "no mount");
    for line in lines {
        let mut fields = line.split_whitespace();
        let (target, kind) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let options: Vec<&str> = fields.next().unwrap_or_default().split(',').collect();
        let propagation = fields.next().unwrap_or_default();
        ensure!(propagation == "private", "{target} is {propagation}");
        ensure!(options.contains(&"nosuid"), "{target} is not nosuid");
        // A mask is `/dev/null` bound over a file: it must be a device to be read as empty.
        let masked = target.starts_with("/proc/") && ["tmpfs", "devtmpfs"].contains(&kind);
        let device = masked || (target.starts_with("/dev/") && !target.starts_with("/dev/shm"));
        ensure!(device || options.contains(&"nodev"), "{target} is not nodev");
        let writable = ["/workspace", "/tmp", "/dev/shm", "/dev/pts", "/proc"].contains(&target);
        ensure!(
            device || writable || options.contains(&"ro"),
            "{target} is writable"
        );
    }
    Ok(())
}

/// The golden list; `core` is a link that some programs make of `/proc/kcore`, and not here.
const DEVICES: [&str; 14] = [
    "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
    "zero", "mqueue",
];

fn devices(bench: &Bench) -> Result<()> {
    let seen = bench.program("devices.py").go()?;
    seen.refused_everything_but(&[])?;
    let listed: Vec<&str> = seen.saw("dev")?.split_whitespace().collect();
    for name in &listed {
        ensure!(DEVICES.contains(name), "/dev/{name} is there{}", seen.told());
    }
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin", "stdout",
        "stderr",
    ] {
        ensure!(listed.contains(&name), "/dev/{name} is missing{}", seen.told());
    }
    Ok(())
}

fn devices_outside(bench: &Bench) -> Result<()> {
    let seen = bench.unshared("devices.py", &[])?;
    seen.reached("mknod null in .")?
        .reached("mknod mem in .")?
        .reached("open /dev/kmsg")?;
    // What was made in shared places is taken away again.
    for name in ["null", "mem", "disk", "kmsg"] {
        for directory in ["/tmp", "/dev/shm"] {
            std::fs::remove_file(format!("{directory}/node-{name}")).ok();
        }
    }
    Ok(())
}

fn outputs(bench: &Bench) -> Result<()> {
    let collect = bench.stage.directory(bench.mode)?;
    let into = collect.path().display().to_string();
    let seen = bench
        .program("tricky_outputs.py")
        .options(&["--out", "*.out", "--out", "escape/etc/passwd", "--out-dir", &into])
        .go()?;
    seen.exited(0)?;
    let names = |list: &str| -> Vec<String> {
        let entries = seen.report[list].as_array().into_iter().flatten();
        let name = |entry: &serde_json::Value| {
            entry["path"]
                .as_str()
                .or(entry["name"].as_str())
                .map(str::to_owned)
        };
        entries.filter_map(name).collect()
    };
    let collected = names("files");
    ensure!(
        collected.contains(&"other.out".to_owned()),
        "the good file is missing{}",
        seen.told()
    );
    for name in &collected {
        ensure!(
            ["good.out", "other.out", "second-name.out"].contains(&name.as_str()),
            "{name} was collected{}",
            seen.told()
        );
    }
    let told = seen.report.to_string();
    ensure!(!told.contains("root:x:0"), "content of the host{}", seen.told());
    ensure!(
        told.contains("link-to-device.out"),
        "no reason for what was left out{}",
        seen.told()
    );
    Ok(())
}

fn evil_names(bench: &Bench) -> Result<()> {
    let source = bench.stage.path("fixtures/table.csv").display().to_string();
    let long = "x".repeat(300);
    for name in [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "",
        ".",
        "..",
        "a//../../b",
        long.as_str(),
    ] {
        let run = bench
            .code("print('ran')")
            .options(&["--in", &format!("{source}:{name}")]);
        // An empty name is no name at all, which is allowed: the file keeps its own.
        if name.is_empty() {
            continue;
        }
        let refused = match run.start()?.report() {
            Ok(seen) => seen.code != 0 && !seen.stdout.contains("ran"),
            Err(no_report) => !format!("{no_report:#}").contains("ran\\n"),
        };
        ensure!(refused, "the input name {name:?} was accepted");
    }
    let good = bench
        .code("print(open('sub/dir/in.csv').read())")
        .options(&["--in", &format!("{source}:sub/dir/in.csv")]);
    good.go()?.exited(0)?.printed("anna,3").map(drop)
}

fn round_trip(bench: &Bench) -> Result<()> {
    let inputs = bench.stage.directory(bench.mode)?;
    let back = bench.stage.directory(bench.mode)?;
    let sizes = [0_usize, 1, 4095, 65_537, 1_048_577, 7_654_321];
    let mut run = bench.program("copy_files.py");
    for size in sizes {
        let path = inputs.path().join(format!("{size}.data"));
        let content: Vec<u8> = (0..size).map(|n| n.wrapping_mul(31).to_le_bytes()[1]).collect();
        std::fs::write(&path, content)?;
        run = run.options(&["--in", &path.display().to_string()]);
    }
    for number in 0..50_usize {
        let path = inputs.path().join(format!("small-{number}.data"));
        std::fs::write(&path, vec![number.to_le_bytes()[0]; number * 37])?;
        run = run.options(&["--in", &path.display().to_string()]);
    }
    let into = back.path().display().to_string();
    let seen = run.options(&["--out", "out/*.data", "--out-dir", &into]).go()?;
    seen.exited(0)?;
    let names = sizes.map(|size| format!("{size}.data")).into_iter();
    for name in names.chain((0..50).map(|number| format!("small-{number}.data"))) {
        let returned = std::fs::read(back.path().join("out").join(&name)).with_context(|| seen.told())?;
        ensure!(
            returned == std::fs::read(inputs.path().join(&name))?,
            "{name} came back changed{}",
            seen.told()
        );
    }
    Ok(())
}
