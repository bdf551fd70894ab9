//! The reviewed list of what a backend does not give: `tests/exceptions.toml`. A check on it is run all the same. It must
//! fail, and in the way that the list says; one that passes has to be taken off. So the list can only shrink.

use crate::cells::Cells;
use crate::skip::Skip;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::sync::OnceLock;

/// How a skip begins that the list is the reason of.
pub const MARK: &str = "exception: ";

/// One line of the list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The check.
    pub check: String,
    /// The cells that do not give it, by their names.
    pub cells: Vec<String>,
    /// What the failure says: another failure of the same check is none of this exception.
    pub says: String,
    /// Why that is so, and what stands in its place.
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default, rename = "exception")]
    exceptions: Vec<Exception>,
}

/// The list.
///
/// # Errors
/// When the file is not as it should be.
pub fn all() -> Result<&'static [Exception]> {
    static LIST: OnceLock<Result<Vec<Exception>, String>> = OnceLock::new();
    let list = LIST.get_or_init(|| read().map_err(|error| format!("{error:#}")));
    list.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn read() -> Result<Vec<Exception>> {
    let path = crate::stage::source("exceptions.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let list: List = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
    Ok(list.exceptions)
}

/// The exception of a check in these cells.
///
/// # Errors
/// When the list cannot be read.
pub fn of(check: &str, cells: Cells) -> Result<Option<&'static Exception>> {
    let mut found = all()?
        .iter()
        .filter(|one| one.check == check && one.cells.iter().any(|name| name == cells.name()));
    let first = found.next();
    ensure!(
        found.next().is_none(),
        "{check} [{}] is on the list twice",
        cells.name()
    );
    Ok(first)
}

/// What becomes of a check's outcome where the list has it: a skip with the reason, or a failure that tells why the list
/// is wrong.
///
/// # Errors
/// Always: a check that is on the list cannot pass.
pub fn judge(exception: &Exception, outcome: Result<()>) -> Result<()> {
    let Err(failure) = outcome else {
        bail!(
            "{} passes and is on the list of exceptions: take it off tests/exceptions.toml",
            exception.check
        );
    };
    if failure.downcast_ref::<Skip>().is_some() {
        bail!(
            "{} is skipped and on the list of exceptions: {failure}",
            exception.check
        );
    }
    let said = format!("{failure:#}");
    ensure!(
        said.contains(&exception.says),
        "{} fails, but not as the list of exceptions says ({:?}): {said}",
        exception.check,
        exception.says
    );
    Err(Skip::because(format!("{MARK}{}", exception.reason)).into())
}
