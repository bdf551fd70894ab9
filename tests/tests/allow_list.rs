//! The allow-list of system calls earns its keep: every rule has a program that needs it, and what the list says is
//! what the filter does.
//!
//! A program needs a rule when it prints something else, says something else on standard error or ends otherwise
//! without it. It must run without a refused call under the whole list. The control-arms build takes the rules off.
//!
//! `BRIG_WRITE_DOCS=1 cargo test -p brig-tests --test allow_list -- docs` writes docs/system-calls.md anew.

use anyhow::{Result, bail, ensure};
use brig_tests::arguments::{Answer, FILTERED, Filtered};
use brig_tests::cell::Bench;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::needs::{self, Program};
use brig_tests::seen::Seen;
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{run_at_once, trial};
use brig_tests::system_calls_page;
use libtest_mimic::Trial;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

const HERE: &str = std::env::consts::ARCH;

fn main() -> ExitCode {
    let mut trials = vec![
        trial(
            "every rule has a program that needs it, or a reason why none runs here",
            every_rule_has_a_program,
        ),
        trial(
            "every call whose arguments are filtered is tried",
            every_filtered_call_is_tried,
        ),
        trial(
            "docs/system-calls.md says what the policy says",
            system_calls_page::is_up_to_date,
        ),
    ];
    match (Stage::set_up(), needs::programs()) {
        (Ok(stage), Ok(programs)) => {
            let stage = Arc::new(stage);
            trials.extend(
                programs
                    .into_iter()
                    .map(|program| needs_its_rules(program, &stage)),
            );
            trials.push(an_unknown_rule_is_refused(&stage));
            trials.push(everything_else_is_refused(&stage));
            trials.push(what_passes_every_filter_ends_the_program(&stage));
            trials.extend(
                FILTERED
                    .iter()
                    .filter_map(|filtered| filters_its_arguments(*filtered, &stage)),
            );
        }
        (Err(error), _) | (_, Err(error)) => {
            trials.push(trial("the programs can be staged", move || Err(error)))
        }
    }
    run_at_once(trials, 2)
}

fn every_rule_has_a_program() -> Result<()> {
    let both: Vec<_> = ["x86_64", "aarch64"]
        .into_iter()
        .map(needs::rules)
        .collect::<Result<_>>()?;
    let everywhere: BTreeSet<&str> = both.iter().flatten().map(|rule| rule.name.as_str()).collect();
    let programs = needs::programs()?;
    let elsewhere = needs::elsewhere()?;
    let mut needed = BTreeSet::new();
    for program in &programs {
        for name in &program.needs {
            ensure!(
                everywhere.contains(name.as_str()),
                "{} needs {name}, which is no rule",
                program.name()
            );
            needed.insert(name.as_str());
        }
    }
    for (name, reason) in &elsewhere {
        ensure!(everywhere.contains(name.as_str()), "{name} is no rule");
        ensure!(reason.len() >= 10, "{name}: no reason");
        ensure!(
            !needed.contains(name.as_str()),
            "{name} has a program that needs it"
        );
    }
    let here = needs::rules(HERE)?;
    let unneeded: Vec<&str> = here
        .iter()
        .map(|rule| rule.name.as_str())
        .filter(|name| !needed.contains(name) && !elsewhere.contains_key(*name))
        .collect();
    ensure!(
        unneeded.is_empty(),
        "nothing needs {}: take them off the list",
        unneeded.join(", ")
    );
    Ok(())
}

/// The mode with every layer that this harness can have.
fn mode() -> Mode {
    let with = |privilege| Mode::jail(privilege, Reach::Embedded);
    match with(Privilege::Root).available() {
        Ok(()) => with(Privilege::Root),
        Err(_not_root) => with(Privilege::Bare),
    }
}

fn bench(stage: &Arc<Stage>) -> Result<Bench> {
    if stage.arms.is_none() {
        return Err(Skip::because("no brig with control arms: tests/run builds it").into());
    }
    Bench::set_up(Arc::clone(stage), mode())
}

fn needs_its_rules(program: Program, stage: &Arc<Stage>) -> Trial {
    let stage = Arc::clone(stage);
    trial(format!("{} needs its rules", program.name()), move || {
        let bench = bench(&stage)?;
        let directory = stage.directory(bench.mode)?;
        let (options, what) = program.command(directory.path())?;
        let told = |without: Option<String>| -> Result<Seen> {
            let run = bench
                .run(options.clone(), what.clone())
                .options(&["--timeout", "10s"]);
            // The whole list runs in the control-arms build as well, so that both are the same program.
            run.without_rule(without.as_deref()).start()?.report()
        };
        let whole = told(None)?;
        whole.exited(0)?;
        ensure!(
            whole.report["refused_calls"]
                .as_array()
                .is_some_and(Vec::is_empty),
            "a call is refused under the whole list{}",
            whole.told()
        );
        let again = told(None)?;
        ensure!(
            looks(&whole) == looks(&again),
            "no two runs look the same{}{}",
            whole.told(),
            again.told()
        );
        let here: BTreeSet<String> = needs::rules(HERE)?.into_iter().map(|rule| rule.name).collect();
        let mut idle = Vec::new();
        for name in program.needs.iter().filter(|name| here.contains(*name)) {
            let lacking = told(Some(name.clone()))?;
            let call = name.split('/').next().unwrap_or_default();
            let is_started = lacking.report["failure"].is_null();
            ensure!(
                !is_started || !lacking.refusals_are_reported() || lacking.refused_call(call) > 0,
                "{call} was not called at all{}",
                lacking.told()
            );
            if looks(&whole) == looks(&lacking) {
                idle.push(name.as_str());
            }
        }
        ensure!(idle.is_empty(), "all is the same without {}", idle.join(", "));
        Ok(())
    })
}

/// What somebody who runs the program sees of it.
fn looks(seen: &Seen) -> (i32, &str, &str, &str) {
    (seen.code, seen.kind(), &seen.stdout, &seen.stderr)
}

fn an_unknown_rule_is_refused(stage: &Arc<Stage>) -> Trial {
    let stage = Arc::clone(stage);
    trial("a rule that is not there cannot be taken off", move || {
        let bench = bench(&stage)?;
        for name in ["mount", "ioctl/TIOCSTI", ""] {
            let run = bench.code("print('ran')").without_rule(Some(name)).start()?;
            match run.report() {
                Ok(seen) => bail!("{name}: it ran{}", seen.told()),
                Err(error) => ensure!(
                    format!("{error:#}").contains("there is no rule"),
                    "{name}: {error:#}"
                ),
            }
        }
        Ok(())
    })
}

fn every_filtered_call_is_tried() -> Result<()> {
    let tried: BTreeSet<&str> = FILTERED.iter().map(|filtered| filtered.call).collect();
    for architecture in ["x86_64", "aarch64"] {
        for rule in needs::rules(architecture)? {
            ensure!(
                rule.arguments.is_empty() || tried.contains(rule.call.as_str()),
                "{} is not tried",
                rule.call
            );
        }
        for rule in needs::probed(architecture)? {
            ensure!(
                rule.arguments.is_empty() || tried.contains(rule.call.as_str()),
                "{} is not tried",
                rule.call
            );
        }
    }
    Ok(())
}

/// `uretprobe` and `uprobe` of x86_64: newer kernels let them pass every filter, because their own trampolines make
/// them, and end anybody else who does with SIGILL.
const PAST_EVERY_FILTER: [u32; 2] = [335, 336];

fn what_passes_every_filter_ends_the_program(stage: &Arc<Stage>) -> Trial {
    let stage = Arc::clone(stage);
    trial(
        "a call that the kernel keeps from filters gives a program nothing",
        move || {
            if HERE != "x86_64" {
                return Err(Skip::because("only x86_64 has such calls").into());
            }
            let bench = Bench::set_up(Arc::clone(&stage), mode())?;
            for number in PAST_EVERY_FILTER {
                let run = bench.program("ask_kernel.py");
                let seen = run
                    .stdin(format!("{number} 0 0 0 0 0 0\n").as_bytes())
                    .start()?
                    .report()?;
                let is_ended =
                    seen.kind() == "signalled" && seen.report["verdict"]["signal_name"] == "SIGILL";
                let is_refused =
                    seen.code == 0 && ["EPERM\n", "ENOSYS\n", "ENXIO\n"].contains(&seen.stdout.as_str());
                ensure!(is_ended || is_refused, "call {number}{}", seen.told());
            }
            Ok(())
        },
    )
}

/// Every number that is on neither list, in a cell: the installed filter, not only the compiled one, refuses it.
fn everything_else_is_refused(stage: &Arc<Stage>) -> Trial {
    let stage = Arc::clone(stage);
    trial(
        "every call that is on no list is refused, and probed ones fail as the list says",
        move || {
            let allowed: BTreeSet<String> = needs::rules(HERE)?.into_iter().map(|rule| rule.call).collect();
            let probed: BTreeMap<String, String> = needs::probed(HERE)?
                .into_iter()
                .map(|rule| (rule.call, rule.errno))
                .collect();
            let expected = |number: u32| match brig_jail::policy::call_name(number) {
                _ if HERE == "x86_64" && PAST_EVERY_FILTER.contains(&number) => None,
                None => Some("ENOSYS".to_owned()),
                Some(name) if allowed.contains(name) => None,
                Some(name) => Some(probed.get(name).cloned().unwrap_or_else(|| "EPERM".to_owned())),
            };
            let numbers = (0..=600).chain([1_000, 0x3fff_ffff, 0x8000_0000, u32::MAX]);
            let asked: Vec<(u32, String)> = numbers
                .filter_map(|number| Some((number, expected(number)?)))
                .collect();
            ensure!(asked.len() > 300, "only {} calls are on no list", asked.len());
            let lines: Vec<String> = asked
                .iter()
                .map(|(number, _)| format!("{number} 0 0 0 0 0 0\n"))
                .collect();
            let bench = Bench::set_up(Arc::clone(&stage), mode())?;
            let run = bench.program("ask_kernel.py").stdin(lines.concat().as_bytes());
            let seen = run.start()?.report()?;
            seen.exited(0)?;
            let answers: Vec<&str> = seen.stdout.lines().collect();
            ensure!(answers.len() == asked.len(), "not all was tried{}", seen.told());
            for ((number, expected), found) in asked.iter().zip(answers) {
                let name = brig_jail::policy::call_name(*number).unwrap_or("no call");
                ensure!(
                    found == expected,
                    "{number} ({name}): {found} instead of {expected}"
                );
            }
            ensure!(
                !seen.refusals_are_reported() || seen.flag("refused_calls_truncated") == 1,
                "more calls are refused than are told, and it does not say so{}",
                seen.told()
            );
            Ok(())
        },
    )
}

/// Each attempt as it is, and with bits set above those that the kernel looks at: the answer must be the same, or a
/// filter that compares too much could be passed by them (or would refuse what it should not).
fn filters_its_arguments(filtered: Filtered, stage: &Arc<Stage>) -> Option<Trial> {
    let number = match HERE {
        "x86_64" => filtered.numbers.0,
        _ => filtered.numbers.1?,
    };
    let stage = Arc::clone(stage);
    let title = format!(
        "{} passes what its filter names and refuses the rest",
        filtered.call
    );
    Some(trial(title, move || {
        let bench = Bench::set_up(Arc::clone(&stage), mode())?;
        let mut asked = Vec::new();
        for (title, arguments, answer) in filtered.attempts {
            asked.push((format!("{title}: as it is"), *arguments, *answer));
            for at in filtered.looked_at {
                for (how, upper) in [("a bit", 1 << 32), ("all bits", 0xffff_ffff_0000_0000)] {
                    let mut dirty = *arguments;
                    dirty[*at] |= upper;
                    asked.push((format!("{title}: {how} above argument {at}"), dirty, *answer));
                }
            }
        }
        let lines: Vec<String> = asked
            .iter()
            .map(|(_, arguments, _)| format!("{number} {}\n", arguments.map(|one| one.to_string()).join(" ")))
            .collect();
        let seen = bench
            .program("ask_kernel.py")
            .args(&[filtered.call])
            .stdin(lines.concat().as_bytes())
            .start()?
            .report()?;
        seen.exited(0)?;
        let answers: Vec<&str> = seen.stdout.lines().collect();
        ensure!(answers.len() == asked.len(), "not all was tried{}", seen.told());
        for ((title, _, expected), found) in asked.iter().zip(answers) {
            let is_right = match expected {
                Answer::Passes => found != "EPERM",
                Answer::Refused => found == "EPERM",
                Answer::Fails(error) => found == *error,
            };
            ensure!(is_right, "{title}: {found} instead of {expected:?}");
        }
        let refused = asked
            .iter()
            .filter(|(_, _, answer)| *answer == Answer::Refused)
            .count();
        if seen.refusals_are_reported() {
            let counted = seen.refused_call(filtered.call);
            ensure!(
                counted == u64::try_from(refused)?,
                "{counted} counted, {refused} refused{}",
                seen.told()
            );
        }
        Ok(())
    }))
}
