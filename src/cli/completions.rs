//! `bedplate completions`: how a shell completes the words of this program.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::print;

const EXAMPLES: &str = "\
Examples:
  bedplate completions bash > ~/.local/share/bash-completion/completions/bedplate
  bedplate completions zsh > ~/.zfunc/_bedplate          # a folder of $fpath
  bedplate completions fish > ~/.config/fish/completions/bedplate.fish

The Debian package brings those of bash, zsh and fish along.";

/// Print the script with which a shell completes these commands.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// Whose.
    shell: Shell,
}

/// Prints how `args.shell` completes `words`, all that this program knows.
pub(super) fn run(args: CompletionsArgs, mut words: Command) {
    let name = words.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut words, name, &mut script);
    print::line(String::from_utf8_lossy(&script).trim_end());
}
