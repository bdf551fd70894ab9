//! Disk: sizes and numbers of files.

use super::{Arm, Check};
use crate::cell::Bench;
use anyhow::{Result, ensure};

const SMALL: &[&str] = &["--workspace", "32MiB"];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "D-01",
        title: "one file grows no larger than allowed",
        needs: &[],
        body: |bench| {
            let seen = bench.program("grow_file.py").args(&["64"]).options(SMALL).go()?;
            ensure!(
                seen.kind() == "disk_limit" || seen.kind() == "exited",
                "verdict{}",
                seen.told()
            );
            if seen.kind() == "exited" {
                seen.refused("file_size", &["EFBIG", "ENOSPC"])?;
                ensure!(seen.number("written_mib")? <= 32.0, "size{}", seen.told());
            }
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            bench
                .outside("grow_file.py", &["64"])?
                .reached("file_size")
                .map(drop)
        }),
    },
    Check {
        id: "D-02",
        title: "the workspace holds no more than its quota",
        needs: &[],
        body: |bench| {
            let seen = bench
                .program("fill_workspace.py")
                .args(&["64"])
                .options(SMALL)
                .go()?;
            seen.exited(0)?.refused("many_files", &["ENOSPC", "EDQUOT"])?;
            seen.refused("preallocate", &["ENOSPC", "EDQUOT", "EFBIG"])?;
            ensure!(seen.number("many_files_left")? <= 33.0, "files{}", seen.told());
            bench.code("print('next')").go()?.exited(0).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("fill_workspace.py", &["64"])?;
            seen.reached("many_files")?.reached("preallocate").map(drop)
        }),
    },
    Check {
        id: "D-03",
        title: "the number of files is limited and clean-up is quick",
        needs: &[],
        body: |bench| {
            let seen = bench
                .program("fill_inodes.py")
                .args(&["100000"])
                .time_enough(30)
                .go()?;
            seen.exited(0)?.refused("inodes", &["ENOSPC", "EDQUOT"])?;
            ensure!(seen.number("made")? <= 16_384.0, "files{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            bench
                .outside("fill_inodes.py", &["20000"])?
                .reached("inodes")
                .map(drop)
        }),
    },
    Check {
        id: "D-05",
        title: "the image cannot be written",
        needs: &[],
        body: |bench| refused(bench, "write_image.py"),
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("write_image.py", &[])?;
            for attempt in [
                "write /usr",
                "write /etc",
                "append /etc/passwd",
                "chmod /usr/bin/env",
            ] {
                seen.reached(attempt)?;
            }
            Ok(())
        }),
    },
];

fn refused(bench: &Bench, program: &str) -> Result<()> {
    bench.program(program).go()?.refused_everything_but(&[]).map(drop)
}
