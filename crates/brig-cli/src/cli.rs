//! The command line.

use crate::command;
use clap::{Parser, Subcommand};

/// Run code that nobody trusts, in a fresh cell
#[derive(Debug, Parser)]
#[command(
    name = "brig",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "First steps:
  brig run hello.py             run a program in a full jail, without daemon, image or root
  brig run -c 'print(6*7)'      the same for a line of code
  brig doctor                   which protections this machine gives, and how to get the others
  brig serve                    start the daemon

`brig COMMAND --help` has examples for every command."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(command::run::Args),
    Serve(command::serve::Args),
    Submit(command::submit::Args),
    Jobs(command::jobs::Args),
    Show(command::show::Args),
    Logs(command::logs::Args),
    Cancel(command::cancel::Args),
    Image(command::image::Args),
    Doctor(command::doctor::Args),
    Bench(command::bench::Args),
    Completions(command::completions::Args),
    #[command(name = "__daemon", hide = true)]
    Daemon(command::serve::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Examples:"), "{}", command.get_name());
            assert!(
                help.contains(&format!("brig {}", command.get_name())),
                "{}",
                command.get_name()
            );
        }
    }
}
