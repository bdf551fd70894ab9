//! What the tests found out about this kind of host: one JSON line each, in the file that `BRIG_TESTS_RECORD` names.
//! `tests/conformance` makes the table in `docs/conformance.md` of them.

use crate::exceptions;
use crate::modes::Mode;
use crate::process;
use crate::seen::Seen;
use crate::skip::Skip;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

/// What of the host decides which layers there can be.
#[must_use]
pub fn kind_of_host() -> &'static str {
    static KIND: OnceLock<String> = OnceLock::new();
    KIND.get_or_init(|| {
        let abi = landlock_abi().map_or_else(|_| "unknown".to_owned(), |abi| abi.to_string());
        format!("Control groups {}, Landlock ABI {abi}", control_groups())
    })
}

fn control_groups() -> &'static str {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => "of both versions (hybrid)",
        (true, false) => "of version 1",
        (false, true) => "of version 2",
        (false, false) => "absent",
    }
}

/// The newest Landlock that the kernel has, 0 without; asked of it outside every cell.
///
/// # Errors
/// When that cannot be asked.
pub fn landlock_abi() -> Result<u32> {
    let mut python = process::command("/usr/bin/python3");
    python.args([
        "-Ic",
        "import ctypes; print(max(0, ctypes.CDLL(None).syscall(444, None, 0, 1)))",
    ]);
    let done = process::run(python, Vec::new(), Duration::from_secs(20))?;
    ensure!(
        done.code() == 0,
        "python3: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8_lossy(&done.stdout).trim().parse()?)
}

/// Records that a mode gives, or does not give, what a check needs.
pub fn check(mode: Mode, id: &str, title: &str, not_given: Option<&str>) {
    write(&json!({
        "host": kind_of_host(), "mode": mode.name(), "check": id, "title": title, "not_given": not_given,
    }));
}

/// Records what came of a check on one of the backends that every program must behave alike on.
pub fn on_backend(mode: Mode, id: &str, title: &str, outcome: &Result<()>) {
    if !Mode::BACKENDS.contains(&mode) {
        return;
    }
    let (state, why) = match outcome {
        Ok(()) => ("holds", String::new()),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) if skip.0.starts_with(exceptions::MARK) => {
                ("exception", skip.0.replacen(exceptions::MARK, "", 1))
            }
            Some(skip) => ("skipped", skip.0.clone()),
            None => ("fails", String::new()),
        },
    };
    write(&json!({
        "backend": mode.cells.name(), "check": id, "title": title, "state": state, "why": why,
    }));
}

/// Records the layers of a receipt.
pub fn receipt(mode: Mode, seen: &Seen) {
    write(&json!({
        "host": kind_of_host(), "mode": mode.name(), "level": seen.report["receipt"]["level"],
        "layers": seen.report["receipt"]["layers"],
    }));
}

fn write(line: &Value) {
    let Some(path) = std::env::var_os("BRIG_TESTS_RECORD") else {
        return;
    };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        file.write_all(format!("{line}\n").as_bytes()).ok();
    }
}
