//! The golden files: what is expected, and a difference that can be read.

use crate::stage::source;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The command that writes the golden files anew; what it changed is for a reviewer to see.
pub const REGENERATE: &str =
    "BRIG_TESTS_WRITE_GOLDEN=1 cargo test -p brig-tests --test posture -- \"the posture\"";

fn file(name: &str) -> PathBuf {
    source("golden").join(format!("posture-{name}.txt"))
}

/// Whether a line with this tag is expected on this host.
fn applies(line: &str) -> bool {
    match tag(line) {
        None => true,
        Some(version @ ("v1" | "v2")) => version == super::group_version(),
        Some(path) => Path::new(path).exists(),
    }
}

fn tag(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.split_once("] ").map(|(tag, _)| tag)
}

/// What differs, as lines with `-` (expected) and `+` (seen).
///
/// # Errors
/// When the golden file cannot be read.
pub fn differences(name: &str, seen: &[String]) -> Result<Vec<String>> {
    let path = file(name);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("no golden file {}", path.display()))?;
    let expected: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#') && applies(line))
        .collect();
    Ok(difference(&expected, seen))
}

/// Lines of one side that the other does not have as often, in the order of their side. Order within a section is
/// the kernel's and is part of no promise.
fn difference(expected: &[&str], seen: &[String]) -> Vec<String> {
    let count =
        |lines: &mut dyn Iterator<Item = &str>, wanted: &str| lines.filter(|line| *line == wanted).count();
    let mut told = BTreeSet::new();
    let mut lines = Vec::new();
    for line in expected.iter().copied().chain(seen.iter().map(String::as_str)) {
        let then = count(&mut expected.iter().copied(), line);
        let now = count(&mut seen.iter().map(String::as_str), line);
        if then != now && told.insert(line) {
            let sign = if then > now { '-' } else { '+' };
            lines.push(format!("{sign} {line}"));
        }
    }
    lines
}

/// Asserts that what is seen is what the golden file says; with `BRIG_TESTS_WRITE_GOLDEN` set, writes it instead.
///
/// # Errors
/// The difference, and how to accept it.
pub fn compare(name: &str, seen: &[String]) -> Result<()> {
    if std::env::var_os("BRIG_TESTS_WRITE_GOLDEN").is_some() {
        return write(name, seen);
    }
    let differences = differences(name, seen)?;
    ensure!(
        differences.is_empty(),
        "the posture is not the one of tests/golden/posture-{name}.txt (- expected, + seen):\n{}\nif that is meant: \
         {REGENERATE}",
        differences.join("\n")
    );
    Ok(())
}

/// Writes the file; lines for other kinds of host stay as they are.
fn write(name: &str, seen: &[String]) -> Result<()> {
    let path = file(name);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let foreign: Vec<&str> = before
        .lines()
        .filter(|line| tag(line).is_some() && !applies(line))
        .collect();
    let mut text = format!(
        "# What a running cell looks like from the host, mode: {name}. Written by\n# {REGENERATE}\n# and reviewed like code. \
         A tag in brackets says on which hosts a line is expected (see tests/src/posture).\n"
    );
    for line in seen.iter().map(String::as_str).chain(foreign) {
        text.push_str(line);
        text.push('\n');
    }
    std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_gone_new_or_there_twice_is_a_difference() {
        let seen = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        assert_eq!(difference(&["a", "b"], &seen(&["b", "a"])), Vec::<String>::new());
        assert_eq!(difference(&["a", "b"], &seen(&["a", "c"])), ["- b", "+ c"]);
        assert_eq!(difference(&["a"], &seen(&["a", "a"])), ["+ a"]);
    }

    #[test]
    fn a_line_for_another_host_is_not_expected_here() {
        assert!(applies("mount /tmp: whatever"));
        assert!(applies("[/proc/self] mount /proc/self: whatever"));
        assert!(!applies(
            "[/proc/no-such-file] mount /proc/no-such-file: whatever"
        ));
        assert!(applies("[v1] x") != applies("[v2] x"));
    }
}
