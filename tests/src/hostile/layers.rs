//! One layer off at a time: the programs of the corpus must then see what the layer prevents. Only the program that
//! is built with control arms can do this, and `tests/run` builds it beside the shipped one.

use crate::cell::Bench;
use crate::seen::Seen;
use anyhow::{Result, ensure};

/// A layer and what shows that it is off.
#[derive(Debug, Clone, Copy)]
pub struct LayerArm {
    /// As in the name of the test.
    pub title: &'static str,
    /// What must be seen.
    pub body: fn(&Bench) -> Result<()>,
}

/// One arm per layer that a single layer's absence shows.
pub const LAYER_ARMS: &[LayerArm] = &[
    LayerArm {
        // The keeper refuses itself the key rings, and a cell inherits that: these it leaves alone.
        title: "without seccomp shared memory and message queues can be reached",
        body: |bench| {
            let seen = bench.program("kernel_surface.py").without(&["seccomp"]).go()?;
            seen.exited(0)?.reached("shmget")?.reached("msgget")?;
            ensure!(seen.refused_call("shmget") == 0, "{}", seen.told());
            Ok(())
        },
    },
    LayerArm {
        title: "without its network namespace a cell sees the host's interfaces",
        body: |bench| {
            let seen = bench.program("interfaces.py").without(&["network"]).go()?;
            let outside = bench.outside("interfaces.py", &[])?;
            ensure!(
                seen.saw("interfaces")? == outside.saw("interfaces")?,
                "{}",
                seen.told()
            );
            Ok(())
        },
    },
    LayerArm {
        title: "without the limits of its tmpfs a cell fills more than its workspace",
        body: |bench| {
            let run = bench
                .program("fill_workspace.py")
                .args(&["48"])
                .options(&["--workspace", "32MiB"]);
            run.without(&["tmpfs_limits"])
                .go()?
                .reached("many_files")
                .map(drop)
        },
    },
    LayerArm {
        title: "without the limits of its control group a cell takes more memory",
        body: |bench| {
            let options = ["--memory", "160MiB", "--workspace", "8MiB"];
            let run = bench.program("memory_hog.py").args(&["400"]).options(&options);
            run.without(&["cgroup_limits"]).go()?.reached("memory").map(drop)
        },
    },
    LayerArm {
        title: "without the masks of /proc a cell reads what the kernel shows everyone",
        body: |bench| {
            let masked = reached(&bench.program("sensitive_proc.py").go()?);
            let open = reached(&bench.program("sensitive_proc.py").without(&["proc_masks"]).go()?);
            ensure!(open > masked, "{open} entries without masks, {masked} with them");
            Ok(())
        },
    },
    LayerArm {
        title: "without the dropping of capabilities a program has some",
        body: |bench| {
            let seen = bench.program("who_am_i.py").without(&["capabilities"]).go()?;
            ensure!(seen.saw("CapBnd")? != "0000000000000000", "{}", seen.told());
            Ok(())
        },
    },
    LayerArm {
        title: "without resource limits a program opens more files",
        body: |bench| {
            let count = |seen: &Seen| seen.number("files_count");
            let walled = count(&bench.program("exhaust_handles.py").go()?)?;
            let open = count(&bench.program("exhaust_handles.py").without(&["rlimits"]).go()?)?;
            ensure!(open > walled, "{open} files without limits, {walled} with them");
            Ok(())
        },
    },
];

fn reached(seen: &Seen) -> usize {
    seen.stdout
        .lines()
        .filter(|line| line.starts_with("REACHED "))
        .count()
}
