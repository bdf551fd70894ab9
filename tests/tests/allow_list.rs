//! The allow-list of system calls earns its keep: every rule has a program that needs it, and what the list says is
//! what the filter does.
//!
//! A program needs a rule when it prints something else, says something else on standard error or ends otherwise
//! without it. It must run without a refused call under the whole list. The control-arms build takes the rules off.
//!
//! `BRIG_WRITE_DOCS=1 cargo test -p brig-tests --test allow_list -- docs` writes docs/system-calls.md anew.

use anyhow::{Result, bail, ensure};
use brig_tests::cell::Bench;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::needs::{self, Program};
use brig_tests::seen::Seen;
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use brig_tests::system_calls_page;
use libtest_mimic::Trial;
use std::collections::BTreeSet;
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
        }
        (Err(error), _) | (_, Err(error)) => {
            trials.push(trial("the programs can be staged", move || Err(error)))
        }
    }
    run(trials)
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
    let with = |privilege| Mode {
        privilege,
        reach: Reach::Embedded,
    };
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
