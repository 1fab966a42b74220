//! Faults in words: of a text that is no YAML, and of a tree that has another form than is needed.

use serde_saphyr::budget::BudgetBreach;

use crate::config::de::{Error, Kind};
use crate::config::node::Node;
use crate::config::problem::{Position, Problem};
use crate::config::suggest::suggest;

/// What some keyboards and word processors type for a blank.
const NO_BREAK: char = '\u{a0}';

/// A text that is no YAML, with what is most likely wrong with it.
pub(super) fn unreadable(error: &serde_saphyr::Error, text: &str, file: usize) -> Problem {
    let at = |line, column| Position { file, line, column };
    if let Some(line) = text.lines().position(|line| line.starts_with("<<<<<<< ")) {
        let message = "here begins a conflict of a merge that nobody has settled";
        return Problem::new(at(line + 1, 1), message).help(
            "keep one of the two sides, and take out the lines `<<<<<<<`, `=======`, `>>>>>>>`",
        );
    }

    let place = error.location().map_or(at(1, 1), |location| {
        at(
            usize::try_from(location.line()).unwrap_or(1),
            usize::try_from(location.column()).unwrap_or(1),
        )
    });
    if let Some((message, help)) = in_own_words(error.without_snippet()) {
        return Problem::new(place, message).help(help);
    }

    let message = error.to_string();
    let message = message
        .lines()
        .next()
        .unwrap_or("this is not YAML")
        .to_owned();
    let line = text
        .lines()
        .nth(place.line.saturating_sub(1))
        .unwrap_or_default();
    let problem = Problem::new(place, message);
    if line.starts_with('\t') {
        return problem.help("YAML is indented with blanks, never with tabs");
    }
    if line.contains(NO_BREAK) {
        return problem.help(
            "a no-break space is in this line, which is no blank for YAML: type it as a blank",
        );
    }
    problem.help("look at the indentation: entries of one map start in the same column")
}

/// What is wrong and what to do about it, where it is known and is no matter of the indentation.
fn in_own_words(error: &serde_saphyr::Error) -> Option<(String, String)> {
    let (message, help) = match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => (
            format!("the key `{key}` is in this map already"),
            "take one of the two out",
        ),
        serde_saphyr::Error::UnsupportedTag { tag, .. } => (
            format!("the tag `{tag}` has no meaning here"),
            "take it out; a text that begins with `!` is quoted, and a secret is named in \
             `secrets`",
        ),
        serde_saphyr::Error::MultipleDocuments { .. }
        | serde_saphyr::Error::Budget {
            breach: BudgetBreach::Documents { .. },
            ..
        } => (
            "a second document begins here, and a file has one".to_owned(),
            "take out the line `---`, or keep one document; an environment has a file of its own",
        ),
        serde_saphyr::Error::NullIntoString { .. } => (
            "a key is empty".to_owned(),
            "write the key before the colon; one that is called `null` or `~` is quoted",
        ),
        _ => return None,
    };
    Some((message, help.to_owned()))
}

/// A tree that has another form than is needed.
pub(super) fn describe(error: &Error, tree: &Node) -> Problem {
    let path = error.path();
    let at: Position = match (&error.kind, path.split_last()) {
        // An unknown key is shown at the key, a missing one at the key of the map that lacks it.
        (Kind::UnknownField { .. }, Some(_)) => key_at(tree, &path),
        _ => tree.find(&path),
    };

    let place = if path.is_empty() {
        String::new()
    } else {
        format!("{}: ", path.join("."))
    };

    let problem = Problem::new(at, format!("{place}{error}"));
    match &error.kind {
        Kind::UnknownField { field, expected } => problem.help(suggest(field, expected, "keys")),
        Kind::UnknownVariant { variant, expected } => {
            problem.help(suggest(variant, expected, "values"))
        }
        Kind::MissingField(_) => {
            problem.help("add it, or look at the indentation: it may stand under another key")
        }
        Kind::WrongType { expected, .. } if expected == "a text" => problem.help(
            "durations and sizes carry a unit, as `30s` and `10MiB`; a text that looks like a \
             number is quoted",
        ),
        Kind::WrongType { found, expected }
            if found == "a list"
                && expected == "a map"
                && path.last().is_some_and(|key| key == "env") =>
        {
            problem.help("write each variable as an entry of a map: `env: {NAME: value}`")
        }
        Kind::Forms { given, .. } if given.len() > 1 => problem.help("keep one of them"),
        Kind::WrongType { .. } | Kind::Forms { .. } | Kind::Other(_) => problem,
    }
}

/// Where the key stands that a path ends with.
pub(super) fn key_at(tree: &Node, path: &[String]) -> Position {
    let Some((last, parents)) = path.split_last() else {
        return tree.at;
    };
    let mut node = tree;
    for name in parents {
        match node.step(name) {
            Some(next) => node = next,
            None => return tree.find(parents),
        }
    }
    node.get(last).map_or(node.at, |(key, _)| key.at)
}
