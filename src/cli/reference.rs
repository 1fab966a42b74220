//! The reference of the command line, made from the commands themselves: `docs/reference/cli.md`.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use crate::cli::Cli;

/// What stands above the commands.
const HEAD: &str = "\
# The command line

Made from the program: what is here is what `shipit COMMAND --help` says.

";

/// The whole reference, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = HEAD.to_owned();
    text.push_str("## Of every command\n\n");
    table(
        &mut text,
        root.get_arguments().filter(|arg| arg.is_global_set()),
    );
    for command in root.get_subcommands() {
        section(&mut text, command);
    }
    text
}

fn section(text: &mut String, command: &Command) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }

    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_about().map(ToString::to_string);
    let _ = write!(
        text,
        "\n## {name}\n\n{}\n\n",
        sentence(&about.unwrap_or_default())
    );
    let aliases: Vec<String> = command
        .get_all_aliases()
        .map(|name| format!("`{name}`"))
        .collect();
    if !aliases.is_empty() {
        let _ = write!(text, "Also: {}.\n\n", aliases.join(", "));
    }

    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let _ = write!(text, "```text\n{usage}\n```\n\n");
    let own = |arg: &&Arg| !arg.is_global_set() || command.has_subcommands() && is_of(command, arg);
    table(text, command.get_arguments().filter(own));
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let lines = examples
            .lines()
            .skip(1)
            .map(|line| line.strip_prefix("  ").unwrap_or(line));
        let lines: Vec<&str> = lines.collect();
        let _ = write!(text, "\n```text\n{}\n```\n", lines.join("\n"));
    }
    for below in command.get_subcommands() {
        section(text, below);
    }
}

/// Whether an option that holds for all commands below is this command's own, and not the
/// program's.
fn is_of(command: &Command, arg: &Arg) -> bool {
    let root = Cli::command();
    let is_roots = root
        .get_arguments()
        .any(|other| other.get_id() == arg.get_id());
    !is_roots
        && command
            .get_arguments()
            .any(|other| other.get_id() == arg.get_id())
}

/// The arguments and options, a row each.
fn table<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let is_shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let rows: Vec<String> = args.filter(is_shown).map(row).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str("| | | variable |\n|---|---|---|\n");
    text.push_str(&rows.concat());
}

fn row(arg: &Arg) -> String {
    let variable = arg
        .get_env()
        .map(|name| format!("`{}`", name.to_string_lossy()));
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy());
    let default: Vec<String> = default.map(|value| format!("`{value}`")).collect();
    let default = match default.as_slice() {
        [] => String::new(),
        _ if !arg.get_action().takes_values() => String::new(),
        values => format!(" Without it {}.", values.join(", ")),
    };
    let cells = [
        names(arg),
        format!("{}{default}", sentence(&help)),
        variable.unwrap_or_default(),
    ];
    format!(
        "| {} |\n",
        cells
            .map(|cell| cell.replace('|', "\\|").replace('\n', " "))
            .join(" | ")
    )
}

/// As it is typed: `-o`, `--output FORM`.
fn names(arg: &Arg) -> String {
    let value = if arg.get_action().takes_values() {
        value(arg)
    } else {
        String::new()
    };
    let short = arg.get_short().map(|short| format!("`-{short}`"));
    let long = arg
        .get_long()
        .map(|long| format!("`{}`", format!("--{long} {value}").trim_end()));
    let aliases = arg.get_visible_aliases().unwrap_or_default();
    let aliases = aliases.into_iter().map(|alias| format!("`--{alias}`"));
    let names: Vec<String> = short.into_iter().chain(long).chain(aliases).collect();
    if names.is_empty() {
        return format!("`{value}`");
    }
    names.join(", ")
}

fn value(arg: &Arg) -> String {
    let possible = arg.get_possible_values();
    let possible: Vec<&str> = possible
        .iter()
        .map(clap::builder::PossibleValue::get_name)
        .collect();
    if !possible.is_empty() {
        return possible.join("|");
    }
    let names = arg.get_value_names().unwrap_or_default();
    names.join(" ")
}

fn sentence(text: &str) -> String {
    match text.chars().last() {
        None | Some('.') => text.to_owned(),
        Some(_) => format!("{text}."),
    }
}
