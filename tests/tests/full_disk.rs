//! The data directory on a small file system that fills up in the middle of jobs: nothing is lost silently, nothing is
//! accepted that cannot be kept, and with room everything goes on.

use anyhow::{Context, Result, ensure};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, Done, wait_until};
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, source};
use brig_tests::suite::{run, trial};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    run(vec![
        trial(
            "a disk that is full for a moment costs no output",
            full_for_a_moment,
        ),
        trial(
            "a disk that stays full ends the job, and its record says why once there is room",
            stays_full,
        ),
        trial("a verdict waits for room, however long", verdict_waits),
        trial(
            "on a full disk a service starts and reads, or says why it does not",
            starts_on_a_full_disk,
        ),
    ])
}

/// A service whose data directory is a file system of its own.
struct Site {
    daemon: Daemon,
    data: Mounted,
}

/// Unmounted on drop.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut command = process::command("umount");
        command.arg("--lazy").arg(&self.0);
        process::run(command, Vec::new(), PATIENCE).ok();
    }
}

impl Site {
    fn open() -> Result<Self> {
        let mode = Mode::jail(Privilege::Root, Reach::Served);
        mode.available()?;
        let mut daemon = Daemon::start(&Arc::new(Stage::set_up()?), mode, &[])?;
        daemon.stop()?;
        let data = daemon.data();
        let mut command = process::command("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"])
            .arg(&data);
        let mounted = process::run(command, Vec::new(), PATIENCE)?;
        if mounted.code() != 0 {
            let why = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
            return Err(Skip::because(format!("no file system can be mounted here: {why}")).into());
        }
        let data = Mounted(data);
        daemon.start_again()?;
        Ok(Self { daemon, data })
    }

    fn ballast(&self) -> PathBuf {
        self.data.0.join("ballast")
    }

    /// Takes every last byte.
    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.ballast())?;
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("no ballast")
    }

    fn client(&self, arguments: &[&str]) -> Result<Done> {
        process::run(self.daemon.client(arguments), Vec::new(), PATIENCE)
    }

    fn submit(&self, code: &str) -> Result<String> {
        let done = self.client(&["submit", "-c", code])?;
        ensure!(done.code() == 0, "{}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    fn record(&self, job: &str) -> Result<Value> {
        let done = self.client(&["show", "--json", job])?;
        serde_json::from_slice(&done.stdout)
            .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())
    }

    fn output(&self, job: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.client(&["logs", job])?.stdout).into_owned())
    }

    fn wait_for(&self, job: &str, what: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut record = Value::Null;
        let came = wait_until(PATIENCE, || {
            record = self.record(job).unwrap_or_default();
            what(&record)
        });
        ensure!(came, "{job}: {record}");
        Ok(record)
    }

    fn wait_for_output(&self, job: &str) -> Result<()> {
        let came = wait_until(PATIENCE, || {
            self.output(job).is_ok_and(|text| text.lines().count() > 2)
        });
        ensure!(came, "{job} prints nothing");
        Ok(())
    }

    /// Everything in order, seen from outside.
    fn close(mut self, jobs: &[&str]) -> Result<()> {
        self.daemon.stop()?;
        let list = tempfile::NamedTempFile::new()?;
        std::fs::write(list.path(), jobs.join("\n"))?;
        let mut command = process::command("/usr/bin/python3");
        command.arg(source("clients/store.py")).arg("check");
        command.arg(&self.data.0).arg(list.path());
        let done = process::run(command, Vec::new(), PATIENCE)?;
        let found: Value = serde_json::from_slice(&done.stdout)
            .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
        ensure!(found["faults"] == serde_json::json!([]), "{found:#}");
        Ok(())
    }
}

fn has_ended(record: &Value) -> bool {
    record["state"]
        .as_str()
        .is_some_and(|state| ["finished", "failed", "cancelled"].contains(&state))
}

/// Prints for `steps` times 50 ms.
fn printing(steps: u32) -> String {
    format!(
        "import time\nfor n in range({steps}):\n    print('line', n, 'x' * 3000, flush=True)\n    time.sleep(0.05)\n"
    )
}

fn full_for_a_moment() -> Result<()> {
    let site = Site::open()?;
    let job = site.submit(&printing(60))?;
    site.wait_for_output(&job)?;
    site.fill()?;
    refuses_jobs(&site)?;
    // As long as it takes for the first commit to fail and to be tried again.
    wait_until(Duration::from_secs(2), || false);
    site.make_room()?;
    let record = site.wait_for(&job, has_ended)?;
    ensure!(
        record["state"] == "finished" && record["verdict"]["code"] == 0,
        "{record}"
    );
    let printed = site.output(&job)?;
    let expected: String = (0..60)
        .map(|n| format!("line {n} {}\n", "x".repeat(3000)))
        .collect();
    ensure!(
        printed == expected,
        "{} of {} bytes",
        printed.len(),
        expected.len()
    );
    site.close(&[&job])
}

/// What cannot be kept is not accepted, and the answer says what to do.
fn refuses_jobs(site: &Site) -> Result<()> {
    for command in ["submit", "run"] {
        let done = site.client(&[command, "-c", "print(1)"])?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(
            done.code() == 125 && said.contains("full") && said.contains("free some space"),
            "{command}: {} {said}",
            done.code()
        );
    }
    // What is there can be read all the while.
    let jobs = site.client(&["jobs"])?;
    ensure!(jobs.code() == 0, "{}", String::from_utf8_lossy(&jobs.stderr));
    Ok(())
}

fn stays_full() -> Result<()> {
    let site = Site::open()?;
    let job = site.submit(&printing(1000))?;
    site.wait_for_output(&job)?;
    site.fill()?;
    let killed = wait_until(PATIENCE, || no_cell_runs(&site).unwrap_or(false));
    ensure!(killed, "the program goes on for nobody");
    refuses_jobs(&site)?;
    site.make_room()?;
    let record = site.wait_for(&job, has_ended)?;
    let reason = record["failure"]["message"].as_str().unwrap_or_default();
    ensure!(
        record["state"] == "failed" && record["failure"]["retryable"] == true && reason.contains("full"),
        "{record}"
    );
    let printed = site.output(&job)?;
    let whole = printed.lines().count().saturating_sub(1);
    let prefix: String = (0..whole)
        .map(|n| format!("line {n} {}\n", "x".repeat(3000)))
        .collect();
    ensure!(
        whole > 0 && printed.starts_with(&prefix),
        "what was kept is no beginning"
    );
    let next = site.submit("print('again')")?;
    site.wait_for(&next, |record| record["state"] == "finished")?;
    site.close(&[&job, &next])
}

/// Whether the daemon's keeper has only its spare cells: none of their programs has started.
fn no_cell_runs(site: &Site) -> Result<bool> {
    let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut open = vec![site.daemon.keeper()?.to_string()];
    while let Some(pid) = open.pop() {
        if status(&pid).contains("python3") {
            return Ok(false);
        }
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().map(str::to_owned));
        }
    }
    Ok(true)
}

fn verdict_waits() -> Result<()> {
    let site = Site::open()?;
    let job = site.submit("import time, sys; time.sleep(1.5); sys.exit(7)")?;
    site.wait_for(&job, |record| record["state"] == "running")?;
    site.fill()?;
    let over = wait_until(PATIENCE, || no_cell_runs(&site).unwrap_or(false));
    ensure!(over, "it does not end");
    // Longer than the first tries to record the end.
    wait_until(Duration::from_secs(7), || false);
    ensure!(
        site.record(&job)?["state"] == "running",
        "where is that recorded?"
    );
    site.make_room()?;
    let record = site.wait_for(&job, has_ended)?;
    ensure!(
        record["state"] == "finished" && record["verdict"]["code"] == 7,
        "{record}"
    );
    site.close(&[&job])
}

fn starts_on_a_full_disk() -> Result<()> {
    let mut site = Site::open()?;
    let job = site.submit("print(1)")?;
    site.wait_for(&job, has_ended)?;
    site.daemon.stop()?;
    site.fill()?;
    match site.daemon.start_again() {
        // SQLite may find the few pages that it needs to read.
        Ok(()) => {
            if let Err(error) = refuses_jobs(&site) {
                // It listened already when it found that there is no room.
                let (code, said) = site.daemon.ended(PATIENCE)?;
                ensure!(
                    code == 66 && said.contains("full"),
                    "{error:#}; it ended with {code}: {said}"
                );
            } else {
                ensure!(site.output(&job)? == "1\n", "the old record cannot be read");
                site.daemon.stop()?;
            }
        }
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("exit 66") && said.contains("full"), "{said}");
        }
    }
    site.make_room()?;
    site.daemon.start_again()?;
    ensure!(site.output(&job)? == "1\n", "the old record is gone");
    let next = site.submit("print(2)")?;
    site.wait_for(&next, |record| record["state"] == "finished")?;
    site.close(&[&job, &next])
}
