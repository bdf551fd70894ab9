//! `docs/system-calls.md`, made from the policy and from the programs that need its rules.

use crate::needs::{self, Probed, Rule};
use crate::stage::source;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write;

const PAGE: &str = "../docs/system-calls.md";
const WRITE_IT: &str = "BRIG_WRITE_DOCS=1 cargo test -p brig-tests --test allow_list -- docs";

const HEAD: &str = "# System calls

What a program in a cell may ask of the kernel. Everything else is refused with `EPERM` (calls that Brig does not know: with
`ENOSYS`), counted, and told with the result. Calls of other architectures and x32 calls end the program. The count for a machine
is in `brig doctor`. Newer kernels let two calls of x86_64 pass every filter, `uretprobe` and `uprobe`, which only their own
trampolines may make: a program that makes one is ended with SIGILL.

This page is made from `crates/brig-jail/policies` and `tests/needs`; a test compares them. To write it anew:

```
BRIG_WRITE_DOCS=1 cargo test -p brig-tests --test allow_list -- docs
```

";

/// Compares the page with the policy, or writes it.
///
/// # Errors
/// When it says something else.
pub fn is_up_to_date() -> Result<()> {
    let page = page()?;
    let path = source(PAGE);
    if std::env::var_os("BRIG_WRITE_DOCS").is_some() {
        return std::fs::write(&path, page).with_context(|| format!("failed to write {}", path.display()));
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(written == page, "docs/system-calls.md is out of date: {WRITE_IT}");
    Ok(())
}

/// What the table says of one call.
#[derive(Debug, Default)]
struct Row {
    arguments: Vec<String>,
    comment: String,
    programs: Vec<String>,
    architectures: Vec<&'static str>,
}

fn page() -> Result<String> {
    let (x86_64, aarch64) = (needs::rules("x86_64")?, needs::rules("aarch64")?);
    let mut page = String::from(HEAD);
    let (here, there) = (calls(&x86_64), calls(&aarch64));
    writeln!(
        page,
        "## Allowed\n\n{here} calls on x86_64, {there} on aarch64.\n"
    )?;
    writeln!(
        page,
        "| call | arguments | who needs it | shown by |\n| --- | --- | --- | --- |"
    )?;
    for (call, row) in rows(&x86_64, &aarch64)? {
        let only = match row.architectures.as_slice() {
            [one] => format!(" ({one})"),
            _ => String::new(),
        };
        let (arguments, programs) = (row.arguments.join("; "), row.programs.join(", "));
        writeln!(
            page,
            "| `{call}`{only} | {arguments} | {} | {programs} |",
            row.comment
        )?;
    }
    writeln!(
        page,
        "\n## Probed\n\nCalls that programs merely try. They fail at once with this error and are not counted.\n"
    )?;
    writeln!(
        page,
        "| call | with | error | who probes it |\n| --- | --- | --- | --- |"
    )?;
    let mut probed = needs::probed("x86_64")?;
    let more = needs::probed("aarch64")?;
    probed.extend(
        more.into_iter()
            .filter(|one| !probed.contains(one))
            .collect::<Vec<_>>(),
    );
    probed.sort_by(|one, other| (&one.call, &one.errno).cmp(&(&other.call, &other.errno)));
    for Probed {
        call,
        arguments,
        errno,
        comment,
    } in probed
    {
        writeln!(
            page,
            "| `{call}` | {} | {errno} | {comment} |",
            arguments.join("; ")
        )?;
    }
    Ok(page)
}

fn calls(rules: &[Rule]) -> usize {
    let mut names: Vec<&str> = rules.iter().map(|rule| rule.call.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

fn rows(x86_64: &[Rule], aarch64: &[Rule]) -> Result<BTreeMap<String, Row>> {
    let programs = needs::programs()?;
    let elsewhere = needs::elsewhere()?;
    let mut rows = BTreeMap::<String, Row>::new();
    for (architecture, rules) in [("x86_64", x86_64), ("aarch64", aarch64)] {
        for rule in rules {
            let row = rows.entry(rule.call.clone()).or_default();
            row.comment.clone_from(&rule.comment);
            if !row.architectures.contains(&architecture) {
                row.architectures.push(architecture);
            }
            if !rule.arguments.is_empty() && !row.arguments.contains(&rule.arguments) {
                row.arguments.push(rule.arguments.clone());
            }
            let users = programs
                .iter()
                .filter(|program| program.needs.contains(&rule.name));
            let mut shown: Vec<String> = users.map(|program| format!("`{}`", program.name())).collect();
            shown.extend(
                elsewhere
                    .get(&rule.name)
                    .map(|reason| format!("elsewhere: {reason}")),
            );
            for one in shown {
                if !row.programs.contains(&one) {
                    row.programs.push(one);
                }
            }
        }
    }
    Ok(rows)
}
