//! `brig`: everything that a person types. Composition only: one file per command, the work is in the crates.
//!
//! ```text
//!  brig run ──▶ keeper (child, has the power) ◀──▶ engine in this process ◀── typed client, in memory
//!  brig serve ▶ keeper (this process) ──▶ daemon (child, has none) ◀── gRPC ── brig submit, jobs, show, …
//!                          └───────────▶ broker (child, where there is an engine: alone opens its socket)
//! ```
//!
//! The keeper must be single-threaded, so what becomes a keeper or starts one is decided before any runtime exists.
#![forbid(unsafe_code)]

mod abandoned;
mod broker_process;
mod cli;
mod command;
mod connect;
mod engine;
mod engine_check;
mod exit_code;
mod follow;
mod helper;
mod inputs;
mod jail_init;
mod job_options;
mod keeper_config;
mod out_dir;
mod parts;
mod process;
mod quantity;
mod remote;
mod report;
mod saving;
mod signal_name;
mod tell;
mod terminal;

use clap::Parser;
use cli::{Cli, Command};
use engine::Engine;
use exit_code::Exit;
use std::process::ExitCode;
use terminal::say;

fn main() -> ExitCode {
    // Before the command line is parsed: a keeper is started for every embedded run, and parsing costs time.
    if let Some(code) = helper::become_if_told() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; mistakes are not. The writing itself has nobody left to tell.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() {
                Exit::Usage.status()
            } else {
                0
            });
        }
    };
    dispatch(cli.command).unwrap_or_else(|error| report(&error))
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let exit = match command {
        Command::Serve(args) => return Ok(command::serve::run(&args)),
        Command::Daemon(args) => return Ok(command::serve::run_daemon(&args)),
        Command::Run(args) => {
            let job = args.local_job()?;
            let engine = Engine::prepare(&args.place()?, Some(&job.draft))?;
            runtime()?.block_on(command::run::run(&args, job, engine))
        }
        Command::Doctor(args) => {
            let engine = Engine::prepare(&args.place()?, None)?;
            runtime()?.block_on(command::doctor::run(&args, engine))
        }
        Command::Submit(args) => runtime()?.block_on(command::submit::run(&args)),
        Command::Jobs(args) => runtime()?.block_on(command::jobs::run(&args)),
        Command::Show(args) => runtime()?.block_on(command::show::run(&args)),
        Command::Logs(args) => runtime()?.block_on(command::logs::run(&args)),
        Command::Cancel(args) => runtime()?.block_on(command::cancel::run(&args)),
        Command::Bench(args) => runtime()?.block_on(command::bench::run(&args)),
        Command::Image(args) => runtime()?.block_on(command::image::run(&args)),
        Command::Completions(args) => command::completions::run(&args),
    };
    exit.map(ExitCode::from)
}

/// Two workers: the engine must go on while this thread waits for a slow terminal.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// Tells what went wrong, and which kind of wrong it was.
fn report(error: &anyhow::Error) -> ExitCode {
    say(format!("{error:#}"));
    let usage = error.downcast_ref::<job_options::UsageError>().is_some();
    ExitCode::from(if usage { Exit::Usage } else { Exit::Failed })
}
