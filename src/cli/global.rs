//! What holds for every command: how much is printed, and in which colours. A flag that is given
//! wins over a variable.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, ValueEnum as _};

use crate::output::{Coloring, Format, Verbosity};

/// The variable of `--color`.
const COLOR: &str = "SHIPIT_COLOR";
/// The variable of `--output`.
const OUTPUT: &str = "SHIPIT_OUTPUT";

/// How a command prints.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct PrintArgs {
    /// In which form the result is printed, the events of a run, and errors.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        default_value_t,
        env = OUTPUT,
        hide_env_values = true
    )]
    pub output: Format,

    /// Print results and errors alone: no progress, no notes.
    #[arg(
        short,
        long,
        global = true,
        env = "SHIPIT_QUIET",
        hide_env_values = true,
        value_parser = switch
    )]
    pub quiet: bool,

    /// Print more: what the command works with, and all that its steps say.
    #[arg(
        short,
        long,
        global = true,
        env = "SHIPIT_VERBOSE",
        hide_env_values = true,
        value_parser = switch
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

/// Whether an argument is in this command line, and not in a variable for all of them.
pub(super) fn is_typed(matches: &ArgMatches, argument: &str) -> bool {
    matches.value_source(argument) == Some(ValueSource::CommandLine)
}

/// The words of this process' command line, as far as they are text.
pub(super) fn words() -> impl Iterator<Item = String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned())
}

/// The colours that are asked for, as far as that can be told before the command line is read: its
/// errors and its help have colours, too.
pub(super) fn coloring(words: impl Iterator<Item = String>) -> Coloring {
    let named = value(words, &["--color"]).or_else(|| std::env::var(COLOR).ok());
    let read = named.and_then(|named| Coloring::from_str(&named, false).ok());
    read.unwrap_or_default()
}

/// The form that is asked for, where the command line as a whole cannot be read.
pub(super) fn form(words: impl Iterator<Item = String>) -> Format {
    let named = value(words, &["--output", "-o"]).or_else(|| std::env::var(OUTPUT).ok());
    let read = named.and_then(|named| Format::from_str(&named, false).ok());
    read.unwrap_or_default()
}

/// The last value that a flag is given.
fn value(words: impl Iterator<Item = String>, flags: &[&str]) -> Option<String> {
    let mut words = words.take_while(|word| word != "--");
    let mut named = None;
    while let Some(word) = words.next() {
        if flags.contains(&word.as_str()) {
            named = words.next();
            continue;
        }
        let joined = flags.iter().find_map(|flag| {
            let rest = word.strip_prefix(flag)?;
            let is_short = !flag.starts_with("--");
            rest.strip_prefix('=').or_else(|| is_short.then_some(rest))
        });
        named = joined.map(str::to_owned).or(named);
    }
    named
}

/// A variable that stands for a switch. An empty one is as none.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "" | "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => Err("write `true` or `false`".to_owned()),
    }
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

    #[test]
    fn the_form_is_known_where_the_rest_is_not_understood() {
        let read = |line: &str| form(line.split(' ').map(str::to_owned));
        for line in [
            "shipit nope -o json",
            "shipit plan --nope --output=json",
            "shipit --output json plan extra",
            "shipit plan -ojson --nope",
            "shipit plan -o=json --nope",
        ] {
            assert_eq!(read(line), Format::Json, "{line}");
        }
        for line in [
            "shipit plan --out json",
            "shipit -o yaml",
            "shipit -o",
            "shipit x -- -o json",
        ] {
            assert_eq!(read(line), Format::Human, "{line}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off_and_nothing_else_is_taken_for_either() {
        for (text, is_on) in [("1", true), ("Yes", true), ("off", false), ("", false)] {
            assert_eq!(switch(text), Ok(is_on), "{text}");
        }
        assert!(switch("maybe").is_err());
    }
}
