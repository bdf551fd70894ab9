//! What one run looked like to its caller: the report, the lines that the program printed, the time.

use crate::process::Done;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::time::Duration;

/// One run.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The object that `--json` printed; null for a program outside.
    pub report: Value,
    /// Standard output of the program.
    pub stdout: String,
    /// Standard error of the program.
    pub stderr: String,
    /// What the command itself said on standard error.
    pub said: String,
    /// Exit code of the command.
    pub code: i32,
    /// From start to end of the command.
    pub elapsed: Duration,
}

impl Seen {
    /// Reads what `brig run --json` left.
    ///
    /// # Errors
    /// When it printed no object.
    pub fn from_run(done: &Done) -> Result<Self> {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let report: Value = serde_json::from_slice(&done.stdout).with_context(|| {
            let printed = String::from_utf8_lossy(&done.stdout);
            format!(
                "no report: exit {}, stdout {printed:?}, stderr {said:?}",
                done.code()
            )
        })?;
        let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
        let (stdout, stderr) = (text("stdout"), text("stderr"));
        Ok(Self {
            stdout,
            stderr,
            said,
            code: done.code(),
            elapsed: done.elapsed,
            report,
        })
    }

    /// What a program outside left.
    #[must_use]
    pub fn from_outside(done: &Done) -> Self {
        Self {
            report: Value::Null,
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
            said: String::new(),
            code: done.code(),
            elapsed: done.elapsed,
        }
    }

    /// Everything that helps to understand a failure.
    #[must_use]
    pub fn told(&self) -> String {
        let report = if self.report.is_null() {
            String::new()
        } else {
            without_output(&self.report)
        };
        let cut = |text: &str| text.chars().take(1500).collect::<String>();
        format!(
            "\n  exit {} after {:?}\n  report {report}\n  stdout {:?}\n  stderr {:?}\n  said {:?}",
            self.code,
            self.elapsed,
            cut(&self.stdout),
            cut(&self.stderr),
            cut(&self.said)
        )
    }

    /// The verdict's kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.report["verdict"]["kind"].as_str().unwrap_or("no verdict")
    }

    /// Asserts the verdict's kind and what the exit status of `brig run` must be with it.
    ///
    /// # Errors
    /// When it is another.
    pub fn is(&self, kind: &str, code: i32) -> Result<&Self> {
        ensure!(
            self.kind() == kind,
            "verdict {} instead of {kind}{}",
            self.kind(),
            self.told()
        );
        ensure!(
            self.code == code,
            "exit status {} instead of {code}{}",
            self.code,
            self.told()
        );
        Ok(self)
    }

    /// Asserts `exited` with this code.
    ///
    /// # Errors
    /// When it is another verdict.
    pub fn exited(&self, code: i32) -> Result<&Self> {
        self.is("exited", code)?;
        ensure!(
            self.report["verdict"]["code"] == code,
            "verdict's code{}",
            self.told()
        );
        ensure!(self.report["state"] == "finished", "state{}", self.told());
        Ok(self)
    }

    /// Asserts `timed_out` by this clock.
    ///
    /// # Errors
    /// When it is another verdict or clock.
    pub fn timed_out(&self, limit: &str) -> Result<&Self> {
        self.is("timed_out", 124)?;
        ensure!(
            self.report["verdict"]["limit"] == limit,
            "which limit{}",
            self.told()
        );
        Ok(self)
    }

    /// The value of a flag beside the verdict: a count or a truth.
    #[must_use]
    pub fn flag(&self, name: &str) -> u64 {
        let flag = [
            &self.report["flags"][name],
            &self.report[name],
            &self.report["verdict"][name],
        ]
        .into_iter()
        .find(|value| !value.is_null());
        flag.map_or(0, |value| {
            value
                .as_u64()
                .unwrap_or_else(|| u64::from(value.as_bool().unwrap_or(false)))
        })
    }

    /// Asserts that a flag is set.
    ///
    /// # Errors
    /// When it is not.
    pub fn flagged(&self, name: &str) -> Result<&Self> {
        ensure!(self.flag(name) > 0, "flag {name} is not set{}", self.told());
        Ok(self)
    }

    /// A number of `usage`.
    ///
    /// # Errors
    /// When it is missing.
    pub fn usage(&self, name: &str) -> Result<f64> {
        self.report["usage"][name]
            .as_f64()
            .with_context(|| format!("no usage.{name}{}", self.told()))
    }

    /// How often a refused call was counted.
    #[must_use]
    pub fn refused_call(&self, name: &str) -> u64 {
        let calls = self.report["refused_calls"].as_array();
        let call = calls.into_iter().flatten().find(|call| call["name"] == name);
        call.map_or(0, |call| call["count"].as_u64().unwrap_or(1))
    }

    /// The names of the refused calls.
    #[must_use]
    pub fn refused_calls(&self) -> Vec<String> {
        let calls = self.report["refused_calls"].as_array().into_iter().flatten();
        calls
            .filter_map(|call| call["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Whether refused calls are counted here at all.
    #[must_use]
    pub fn refusals_are_reported(&self) -> bool {
        !self.report["receipt"].to_string().contains("unreported")
    }

    /// A layer of the receipt.
    #[must_use]
    pub fn layer(&self, name: &str) -> &Value {
        let layers = self.report["receipt"]["layers"].as_array();
        layers
            .into_iter()
            .flatten()
            .find(|layer| layer["name"] == name)
            .unwrap_or(&Value::Null)
    }

    /// The rest of every line `WORD NAME rest`.
    #[must_use]
    pub fn lines(&self, word: &str, name: &str) -> Vec<&str> {
        let start = format!("{word} {name}");
        let rest = |line: &'_ str| -> Option<usize> {
            let rest = line.strip_prefix(&start)?;
            (rest.is_empty() || rest.starts_with(' ')).then_some(line.len() - rest.len())
        };
        self.stdout
            .lines()
            .filter_map(|line| rest(line).map(|at| line[at..].trim()))
            .collect()
    }

    /// The one value of `SAW name value`.
    ///
    /// # Errors
    /// When the program did not print it.
    pub fn saw(&self, name: &str) -> Result<&str> {
        self.lines("SAW", name)
            .first()
            .copied()
            .with_context(|| format!("no line SAW {name}{}", self.told()))
    }

    /// The same as a number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, name: &str) -> Result<f64> {
        self.saw(name)?
            .parse()
            .with_context(|| format!("{name} is no number{}", self.told()))
    }

    /// Asserts that an attempt had its effect.
    ///
    /// # Errors
    /// When it was refused or not tried.
    pub fn reached(&self, name: &str) -> Result<&Self> {
        ensure!(
            !self.lines("REACHED", name).is_empty(),
            "{name} did not have its effect{}",
            self.told()
        );
        Ok(self)
    }

    /// Asserts that an attempt was refused, with one of these words (any, when empty).
    ///
    /// # Errors
    /// When it had its effect, was not tried or failed otherwise.
    pub fn refused(&self, name: &str, words: &[&str]) -> Result<&Self> {
        ensure!(
            self.lines("REACHED", name).is_empty(),
            "{name} had its effect{}",
            self.told()
        );
        let found = self.lines("REFUSED", name);
        let Some(word) = found.first().and_then(|rest| rest.split_whitespace().next()) else {
            bail!("{name} was not tried{}", self.told());
        };
        ensure!(
            words.is_empty() || words.contains(&word),
            "{name}: {word} instead of {words:?}{}",
            self.told()
        );
        Ok(self)
    }

    /// Asserts that the program ran to its end, tried something, and that every attempt was refused except
    /// those named.
    ///
    /// # Errors
    /// What had its effect.
    pub fn refused_everything_but(&self, harmless: &[&str]) -> Result<&Self> {
        self.exited(0)?;
        let reached: Vec<&str> = self
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("REACHED "))
            .collect();
        let bad: Vec<&&str> = reached
            .iter()
            .filter(|line| !harmless.iter().any(|name| line.starts_with(name)))
            .collect();
        ensure!(bad.is_empty(), "had their effect: {bad:?}{}", self.told());
        ensure!(
            self.stdout.contains("REFUSED "),
            "nothing was tried{}",
            self.told()
        );
        Ok(self)
    }

    /// Asserts that stdout holds `text`.
    ///
    /// # Errors
    /// When it does not.
    pub fn printed(&self, text: &str) -> Result<&Self> {
        ensure!(
            self.stdout.contains(text),
            "{text:?} was not printed{}",
            self.told()
        );
        Ok(self)
    }
}

fn without_output(report: &Value) -> String {
    let mut report = report.clone();
    // Layers that are there are noise; what is missing shows.
    if let Some(layers) = report
        .pointer_mut("/receipt/layers")
        .and_then(Value::as_array_mut)
    {
        layers.retain(|layer| layer["state"] != "active");
    }
    for stream in ["stdout", "stderr"] {
        if let Some(text) = report.get_mut(stream) {
            *text = Value::Null;
        }
    }
    report.to_string()
}
