//! Which program needs which rule of the allow-list of system calls: the rules from `crates/brig-jail/policies`, the
//! programs from `tests/needs`, each naming in its first lines (`needs: ioctl/TCGETS, ..`) what it needs.

use crate::process;
use crate::skip::Skip;
use crate::stage::source;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a C compiler may take.
const COMPILES_WITHIN: Duration = Duration::from_secs(60);

/// Rules whose users cannot run here, and why.
const ELSEWHERE: &str = "needs/elsewhere.txt";

/// One call on the allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, as a control arm takes it off.
    pub name: String,
    /// The call.
    pub call: String,
    /// What the alternative asks of the arguments, for people; empty for a call that may have any.
    pub arguments: String,
    /// Who needs the call.
    pub comment: String,
}

/// One call that programs merely probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The call.
    pub call: String,
    /// What its arguments are when it is refused; empty for whatever they are.
    pub arguments: Vec<String>,
    /// How it fails.
    pub errno: String,
    /// Who probes it.
    pub comment: String,
}

/// A program and what it needs.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Names of rules.
    pub needs: Vec<String>,
}

fn policy(name: &str) -> Result<Value> {
    let path = source("../crates/brig-jail/policies").join(format!("{name}.json"));
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// What an alternative is called: what its conditions mean, without remarks.
fn name_of(alternative: &Value) -> String {
    let means: Vec<&str> = conditions(alternative).collect();
    let names = means
        .iter()
        .map(|means| means.split(',').next().unwrap_or_default());
    names.collect::<Vec<_>>().join("+")
}

fn conditions(alternative: &Value) -> impl Iterator<Item = &str> {
    let conditions = alternative.as_array().into_iter().flatten();
    conditions.map(|condition| condition["means"].as_str().unwrap_or_default())
}

fn meaning(alternative: &Value) -> String {
    conditions(alternative).collect::<Vec<_>>().join(", ")
}

/// The rules of one architecture: every alternative of a call is one.
///
/// # Errors
/// When the policy cannot be read.
pub fn rules(architecture: &str) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for file in ["common", architecture] {
        for rule in list(&policy(file)?, "allow") {
            let (call, comment) = (text(rule, "call"), text(rule, "comment"));
            let alternatives: Vec<&Value> = list(rule, "any").collect();
            if alternatives.len() < 2 {
                let arguments = alternatives.first().map(|one| meaning(one));
                rules.push(Rule {
                    name: call.clone(),
                    call,
                    arguments: arguments.unwrap_or_default(),
                    comment,
                });
                continue;
            }
            rules.extend(alternatives.into_iter().map(|one| Rule {
                name: format!("{call}/{}", name_of(one)),
                call: call.clone(),
                arguments: meaning(one),
                comment: comment.clone(),
            }));
        }
    }
    Ok(rules)
}

/// The probed calls of one architecture.
///
/// # Errors
/// When the policy cannot be read.
pub fn probed(architecture: &str) -> Result<Vec<Probed>> {
    let mut found = Vec::new();
    for file in ["common", architecture] {
        let file = policy(file)?;
        let here =
            list(&file, "probed").filter(|rule| rule["only"].as_str().is_none_or(|it| it == architecture));
        found.extend(here.map(|rule| Probed {
            call: text(rule, "call"),
            arguments: list(rule, "any").map(meaning).collect(),
            errno: text(rule, "errno"),
            comment: text(rule, "comment"),
        }));
    }
    Ok(found)
}

/// The programs, by name.
///
/// # Errors
/// When they cannot be read.
pub fn programs() -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(source("needs"))? {
        let path = entry?.path();
        if path.ends_with(Path::new(ELSEWHERE).file_name().context("a file")?) {
            continue;
        }
        let content = std::fs::read_to_string(&path)?;
        let lines = content.lines().filter_map(|line| {
            let comment = line.strip_prefix("# ").or_else(|| line.strip_prefix("// "))?;
            comment.strip_prefix("needs: ")
        });
        let needs: Vec<String> = lines
            .flat_map(|line| line.split(", "))
            .map(str::to_owned)
            .collect();
        ensure!(
            !needs.is_empty(),
            "{} names nothing that it needs",
            path.display()
        );
        programs.push(Program { path, needs });
    }
    programs.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(programs)
}

/// Rules whose users cannot run here, with the reason.
///
/// # Errors
/// When a line has no reason.
pub fn elsewhere() -> Result<BTreeMap<String, String>> {
    let content = std::fs::read_to_string(source(ELSEWHERE))?;
    let lines = content.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (rule, reason) = line
                .split_once(": ")
                .with_context(|| format!("no reason: {line}"))?;
            Ok((rule.to_owned(), reason.to_owned()))
        })
        .collect()
}

impl Program {
    /// Its file name.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// What `brig run` gets: options, then what to run. C is compiled into `directory` first.
    ///
    /// # Errors
    /// When it cannot be compiled; a [`Skip`] where a compiler is missing.
    pub fn command(&self, directory: &Path) -> Result<(Vec<String>, Vec<String>)> {
        let path = self.path.display().to_string();
        let name = self.name();
        let (_, kind) = name.split_once('.').context("a program has a kind")?;
        let by = |interpreter: &str| {
            if !crate::modes::has_program(interpreter) {
                return Err(
                    Skip::because(format!("{interpreter} is not installed: tests/run does it")).into(),
                );
            }
            let input = vec!["--in".to_owned(), path.clone()];
            Ok((input, vec!["--".to_owned(), interpreter.to_owned(), name.clone()]))
        };
        match kind {
            "py" => Ok((Vec::new(), vec![path])),
            "sh" => by("sh"),
            "pl" => by("perl"),
            "js" => by("node"),
            "c" => self.compiled("cc", &[], directory),
            "musl.c" => self.compiled("musl-gcc", &["-static"], directory),
            other => anyhow::bail!("{name}: nobody runs .{other}"),
        }
    }

    fn compiled(
        &self,
        compiler: &str,
        flags: &[&str],
        directory: &Path,
    ) -> Result<(Vec<String>, Vec<String>)> {
        if !crate::modes::has_program(compiler) {
            return Err(Skip::because(format!("{compiler} is not installed: tests/run does it")).into());
        }
        let name = self.name().replace('.', "_");
        let program = directory.join(&name);
        let mut command = process::command(compiler);
        command
            .args(["-O1", "-pthread", "-o"])
            .arg(&program)
            .arg(&self.path)
            .args(flags);
        let done = process::run(command, Vec::new(), COMPILES_WITHIN)?;
        ensure!(
            done.code() == 0,
            "{name}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let input = vec!["--in".to_owned(), program.display().to_string()];
        Ok((input, vec!["--".to_owned(), format!("./{name}")]))
    }
}
