//! What holds for every command: how much is printed, and in which colours. A flag that is given
//! wins over a variable.

use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, ValueEnum as _};

use crate::output::{Coloring, Verbosity};

/// The variable of `--color`.
const COLOR: &str = "SHIPIT_COLOR";

/// How a command prints.
#[derive(Debug, clap::Args)]
pub struct PrintArgs {
    /// Print results and errors alone: no progress, no notes.
    #[arg(
        short,
        long,
        global = true,
        env = "SHIPIT_QUIET",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    pub quiet: bool,

    /// Print more: what the command works with, and all that its steps say.
    #[arg(
        short,
        long,
        global = true,
        env = "SHIPIT_VERBOSE",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    pub verbose: bool,

    /// When to print colours.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        env = COLOR,
        hide_env_values = true
    )]
    pub color: Coloring,
}

/// How much a command line asks for.
///
/// # Errors
/// It asks for less and for more.
pub(super) fn verbosity(
    matches: &ArgMatches,
    command: &mut Command,
) -> clap::error::Result<Verbosity> {
    let is_typed = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
    let (quiet, verbose) = (is_typed("quiet"), is_typed("verbose"));
    if quiet && verbose {
        let message = "the argument '--quiet' cannot be used with '--verbose'";
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }

    let is_set = |name| matches.get_flag(name);
    Ok(match (quiet, verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ if is_set("quiet") => Verbosity::Quiet,
        _ if is_set("verbose") => Verbosity::Verbose,
        _ => Verbosity::Normal,
    })
}

/// The colours that are asked for, as far as that can be told before the command line is read: its
/// errors and its help have colours, too.
pub(super) fn coloring(words: impl Iterator<Item = String>) -> Coloring {
    let mut words = words.take_while(|word| word != "--");
    let mut named = std::env::var(COLOR).ok();
    while let Some(word) = words.next() {
        if word == "--color" {
            named = words.next();
        } else if let Some(value) = word.strip_prefix("--color=") {
            named = Some(value.to_owned());
        }
    }
    let read = named.and_then(|named| Coloring::from_str(&named, false).ok());
    read.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_known_before_the_command_line_is_read() {
        let read = |line: &str| coloring(line.split(' ').map(str::to_owned));
        assert_eq!(read("shipit --color never plan"), Coloring::Never);
        assert_eq!(read("shipit plan --color=always"), Coloring::Always);
        assert_eq!(read("shipit --color"), Coloring::Auto);
        assert_eq!(read("shipit --color=red plan"), Coloring::Auto);
        assert_eq!(read("shipit exec web -- ls --color=always"), Coloring::Auto);
    }
}
