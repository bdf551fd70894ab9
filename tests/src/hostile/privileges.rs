//! Privileges: who the program is and that it can become nobody else.

use super::{Arm, Check};
use crate::cell::Bench;
use crate::modes::Need;
use anyhow::{Result, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "R-01",
        title: "an unprivileged identity, alone in its id map",
        needs: &[],
        body: identity,
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("who_am_i.py", &[])?;
            ensure!(seen.saw("uid_map")? != "10001", "outside has one id too");
            ensure!(seen.saw("CapEff")? != NONE, "outside has no capability either");
            Ok(())
        }),
    },
    Check {
        id: "R-01b",
        title: "jobs at the same time have different ids on the host",
        needs: &[Need::DistinctUid, Need::HarnessRoot],
        body: distinct_ids,
        arm: Arm::Within,
    },
    Check {
        id: "R-04",
        title: "nobody becomes root",
        needs: &[],
        body: |bench| {
            let seen = bench.program("become_root.py").go()?;
            seen.refused_everything_but(&[])?;
            ensure!(seen.saw("uid")? == "10001", "uid{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("become_root.py", &[])?;
            seen.reached("setuid")?.reached("setgroups").map(drop)
        }),
    },
    Check {
        id: "R-07",
        title: "its own session, no terminal, a fixed umask",
        needs: &[],
        body: |bench| {
            let seen = bench.program("who_am_i.py").go()?;
            seen.exited(0)?;
            ensure!(seen.saw("terminal")? == "none", "terminal{}", seen.told());
            ensure!(seen.saw("Umask")? == "0022", "umask{}", seen.told());
            ensure!(seen.saw("TracerPid")? == "0", "tracer{}", seen.told());
            let session = seen.saw("session")?;
            ensure!(
                session != "0" && session != "1",
                "the session comes from outside{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
];

const NONE: &str = "0000000000000000";

fn identity(bench: &Bench) -> Result<()> {
    let seen = bench.program("who_am_i.py").go()?;
    seen.exited(0)?;
    let ids = "10001 10001 10001 10001";
    ensure!(
        seen.saw("Uid")? == ids && seen.saw("Gid")? == ids,
        "ids{}",
        seen.told()
    );
    let groups = seen.saw("Groups")?;
    ensure!(groups == "-" || groups == "10001", "groups{}", seen.told());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        ensure!(seen.saw(set)? == NONE, "{set}{}", seen.told());
    }
    ensure!(
        seen.saw("NoNewPrivs")? == "1" && seen.saw("Seccomp")? == "2",
        "walls{}",
        seen.told()
    );
    for map in ["uid_map", "gid_map"] {
        let fields: Vec<&str> = seen.saw(map)?.split_whitespace().collect();
        ensure!(
            fields.len() == 3 && fields[0] == "10001" && fields[2] == "1",
            "{map}{}",
            seen.told()
        );
    }
    ensure!(seen.saw("setgroups")? == "deny", "setgroups{}", seen.told());
    ensure!(seen.saw("name")? == "agent", "name{}", seen.told());
    Ok(())
}

fn distinct_ids(bench: &Bench) -> Result<()> {
    if bench.daemon.is_none() {
        // Two engines know nothing of each other: only a daemon leases its ids.
        return Err(crate::skip::Skip::because("asked of a daemon's jobs").into());
    }
    let markers = [bench.marker(), bench.marker()];
    let run = |marker: &str| bench.command(&["sleep", &format!("3.{marker}")]).start();
    let started = [run(&markers[0])?, run(&markers[1])?];
    let mut ids = std::collections::BTreeSet::new();
    let both = crate::process::wait_until(std::time::Duration::from_secs(2), || {
        ids = markers
            .iter()
            .flat_map(|marker| crate::assert::processes_with(marker))
            .filter_map(host_id)
            .collect();
        ids.len() == 2
    });
    for one in started {
        one.report()?.exited(0)?;
    }
    ensure!(both, "ids on the host: {ids:?}");
    ensure!(!ids.contains(&0), "a cell is root on the host");
    Ok(())
}

fn host_id(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    crate::assert::field(&status, "Uid:")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
