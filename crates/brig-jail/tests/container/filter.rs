//! Brig's own filter on what is executed: what an engine does with the profile that Brig gives it.

use super::guest::FILTERED;
use brig_jail::plan::{FilterInstruction, Listener};
use brig_jail::policy;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

pub fn be_filtered_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != FILTERED {
        return None;
    }
    let stack = policy::compile(Listener::None).unwrap().stack;
    install(&stack.foreign_abi);
    for probed in &stack.probed {
        install(probed);
    }
    install(&stack.allow_list);
    let error = Command::new(args.next().unwrap()).args(args).env_clear().exec();
    eprintln!("exec: {error}");
    Some(ExitCode::from(127))
}

fn install(program: &[FilterInstruction]) {
    let program: Vec<_> = program
        .iter()
        .map(|one| seccompiler::sock_filter {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        })
        .collect();
    // The last filter refuses the calls that install one; each is the last that is asked for.
    seccompiler::apply_filter(&program).unwrap();
}
