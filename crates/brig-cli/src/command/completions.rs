//! `brig completions`

use crate::cli::Cli;
use crate::exit_code::Exit;
use crate::terminal::print_bytes;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a script that completes brig's commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brig completions bash > ~/.local/share/bash-completion/completions/brig
  brig completions zsh > ~/.zfunc/_brig
  brig completions fish > ~/.config/fish/completions/brig.fish")]
pub(crate) struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "brig", &mut script);
    print_bytes(&script)?;
    Ok(Exit::Success)
}
