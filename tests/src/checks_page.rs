//! `docs/checks.md`: the list of checks and where each is tried, so that none can vanish silently.
//!
//! The first table is written by hand and every place in it is looked up; the second is made from the corpus.

use crate::hostile::{Arm, Check, checks};
use crate::modes::Need;
use crate::stage::source;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

const PAGE: &str = "../docs/checks.md";
const WRITE_IT: &str = "BRIG_WRITE_DOCS=1 cargo test -p brig-tests --test checks";
/// Everything below this line is made.
const MADE: &str = "## The corpus\n";

/// The ids of the list of checks that the project was asked for. One that is not tried yet says so on the page.
const LISTED: &str = "P-01 P-02 P-04 P-05 P-06 P-07 P-08 M-01 M-03 M-05 M-07 M-08 M-11 M-12 T-01 T-02 T-03 T-05 T-07 T-10 D-01 D-02 \
                      D-03 D-05 D-10 O-01 O-02 O-04 O-09 O-10 O-11 F-01 F-02 F-03 F-04 F-05 F-06 F-07 F-11 F-12 F-13 F-15 N-01 N-02 \
                      N-03 N-04 N-05 N-06 N-07 N-11 N-12 S-01 S-02 S-03 S-04 S-05 S-08 S-09 S-10 S-11 S-12 R-01 R-02 R-03 R-04 \
                      R-07 R-08 R-09 E-01 E-02 E-06 L-01 L-03 L-04 L-05 L-07 L-09 A-01 A-02 A-04 A-06 A-07 A-08 A-09 A-10 A-11 \
                      A-12 A-14 X-01 X-02 X-03 X-04 X-07 X-08 X-10 X-11 X-12 X-13 K-01 K-02 K-03 K-04 K-05 K-06 K-07 K-08 K-09 \
                      K-10 K-11 J-01 J-02 J-03 J-04 J-05 J-06 J-07 J-08";

fn page() -> Result<String> {
    std::fs::read_to_string(source(PAGE)).with_context(|| format!("no {PAGE}"))
}

/// One row of the first table: an id, what is shown, and where.
struct Row<'a> {
    id: &'a str,
    places: Vec<&'a str>,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let by_hand = page.split(MADE).next().unwrap_or_default();
    let cells =
        |line: &'_ str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    by_hand
        .lines()
        .filter(|line| line.starts_with("| ") && cells(line).get(1).is_some_and(|id| is_id(id)))
        .filter_map(|line| {
            let mut parts = line.split('|').skip(1).map(str::trim);
            let id = parts.next()?;
            let places = parts.nth(1)?.split(';').map(str::trim).collect();
            Some(Row { id, places })
        })
        .collect()
}

fn is_id(text: &str) -> bool {
    let mut parts = text.split('-');
    let letter = parts.next().is_some_and(|part| part.len() == 1);
    letter
        && parts
            .next()
            .is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
}

/// Asserts that every listed id has one row, and that every place in it is there.
///
/// # Errors
/// The ids and places that are missing.
pub fn every_listed_check_has_its_place() -> Result<()> {
    let page = page()?;
    let rows = rows(&page);
    let listed: BTreeSet<&str> = LISTED.split_whitespace().collect();
    let found: BTreeSet<&str> = rows.iter().map(|row| row.id).collect();
    let missing: Vec<_> = listed.difference(&found).collect();
    ensure!(missing.is_empty(), "docs/checks.md has no row for {missing:?}");
    ensure!(
        found.len() == rows.len(),
        "docs/checks.md has two rows for one id"
    );
    for row in rows {
        ensure!(!row.places.is_empty(), "{} is tried nowhere", row.id);
        for place in row.places {
            look_up(place).with_context(|| format!("{}: {place}", row.id))?;
        }
    }
    Ok(())
}

/// `corpus ID`, or `FILE: words in it`, or `not yet: why`, or `not here: why`.
fn look_up(place: &str) -> Result<()> {
    if let Some(id) = place.strip_prefix("corpus ") {
        ensure!(
            checks().iter().any(|check| check.id == id),
            "the corpus has no such check"
        );
        return Ok(());
    }
    if place.starts_with("not yet: ") || place.starts_with("not here: ") {
        return Ok(());
    }
    let (file, words) = place.split_once(": ").context("no file and words")?;
    let path = source("..").join(file.trim_matches('`'));
    let text = std::fs::read_to_string(&path).with_context(|| format!("no file {}", path.display()))?;
    ensure!(text.contains(words), "{file} does not say {words:?}");
    Ok(())
}

/// Asserts that the second table is what the corpus has, and writes it anew where that is asked for.
///
/// # Errors
/// When it is not.
pub fn the_corpus_is_on_the_page() -> Result<()> {
    let page = page()?;
    let by_hand = page.split(MADE).next().unwrap_or_default();
    let whole = format!("{by_hand}{MADE}{}", table());
    if std::env::var_os("BRIG_WRITE_DOCS").is_some() {
        return Ok(std::fs::write(source(PAGE), whole)?);
    }
    ensure!(whole == page, "docs/checks.md is out of date: {WRITE_IT}");
    Ok(())
}

fn table() -> String {
    let mut checks = checks();
    checks.sort_by_key(|check| check.id);
    let mut text = format!(
        "\nMade from `tests/src/hostile` by `{WRITE_IT}`. Each is tried in every mode.\n\n| id | what is shown | needs | \
         counterpart |\n| --- | --- | --- | --- |\n"
    );
    for check in &checks {
        let needs = check.needs.iter().map(|need| match need {
            Need::Cgroup => "a control group",
            Need::DistinctUid => "a uid of its own",
            Need::HarnessRoot => "root to look from outside",
            Need::Embedded => "an embedded run",
            Need::DisposableMachine => "a machine that may be harmed (the virtual one)",
        });
        let needs = needs.collect::<Vec<_>>().join(", ");
        text.push_str(&format!(
            "| {} | {} | {needs} | {} |\n",
            check.id,
            check.title,
            counterpart(check)
        ));
    }
    text
}

fn counterpart(check: &Check) -> &'static str {
    match check.arm {
        Arm::Shows(_) => "a control arm",
        Arm::Within => "within",
        Arm::NoRefusal => "nothing is refused",
    }
}

/// Checks that refuse nothing: there is no wall to turn off. A new one is added here after a second look.
const REFUSE_NOTHING: [&str; 21] = [
    "B-06", "B-08", "B-36", "F-15", "H-01", "H-02", "H-03", "H-04", "H-05", "H-06", "H-07", "H-08", "M-03",
    "M-05", "N-06", "O-04", "O-10", "O-11", "R-07", "S-13", "T-08",
];

/// Asserts that every check of a refusal has its counterpart, and that ids are given once.
///
/// # Errors
/// The checks without one.
pub fn every_refusal_has_its_counterpart() -> Result<()> {
    let checks = checks();
    let ids: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
    ensure!(ids.len() == checks.len(), "an id is given twice");
    let without: Vec<&str> = checks
        .iter()
        .filter(|check| matches!(check.arm, Arm::NoRefusal))
        .map(|check| check.id)
        .filter(|id| !REFUSE_NOTHING.contains(id))
        .collect();
    ensure!(
        without.is_empty(),
        "no control arm, and not known to refuse nothing: {without:?}"
    );
    let with = |wanted: fn(&Arm) -> bool| checks.iter().filter(|check| wanted(&check.arm)).count();
    let (arms, within) = (
        with(|arm| matches!(arm, Arm::Shows(_))),
        with(|arm| matches!(arm, Arm::Within)),
    );
    ensure!(
        arms >= within,
        "{within} checks have no arm of their own, {arms} have one"
    );
    Ok(())
}
