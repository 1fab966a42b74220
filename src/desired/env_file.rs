//! Files of variables, in the format that Docker Compose reads: `KEY=value` lines, comments,
//! quotes, `export`, and `$NAME` for a variable that was set before.
//!
//! Two things are stricter, so that the same files are the same release on every machine: a
//! variable of the machine that makes the plan is never read, and one that nobody has set is an
//! error instead of nothing (`docs/decisions/0025`).

mod interpolate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use interpolate::interpolate;

/// The variables of a service, by name.
pub(super) type Variables = BTreeMap<String, String>;

/// The longest `NAME=value` that the kernel starts a program with, its end included.
const LONGEST: usize = 128 << 10;

/// How much of a name is repeated in an error.
const SHOWN: usize = 60;

/// Whether a word is a name as variables have them: anything else may be a value.
fn is_name(word: &str) -> bool {
    let is_usual = |sign: char| sign.is_ascii_uppercase() || sign.is_ascii_digit() || sign == '_';
    word.len() <= SHOWN && word.chars().all(is_usual)
}

/// What is wrong with a file. It repeats no value: some have secrets in them all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvFileFault {
    /// The line, from 1.
    pub line: usize,
    /// What.
    pub reason: String,
    /// What to do about it.
    pub help: &'static str,
}

/// What is wrong, before it is known where.
type Wrong = (String, &'static str);

fn wrong<T>(reason: impl Into<String>, help: &'static str) -> Result<T, Wrong> {
    Err((reason.into(), help))
}

/// The variables of a file. Its values may name those of the files before it.
pub(super) fn parse(text: &str, before: &Variables) -> Result<Variables, EnvFileFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let mut file = EnvFile {
        rest: &text,
        line: 1,
        before,
        found: Variables::new(),
        lines: BTreeMap::new(),
    };

    while file.skip_to_statement() {
        let line = file.line;
        file.statement()
            .map_err(|(reason, help)| EnvFileFault { line, reason, help })?;
    }
    Ok(file.found)
}

/// A file that is being read.
struct EnvFile<'a> {
    rest: &'a str,
    line: usize,
    before: &'a Variables,
    found: Variables,
    /// Where each variable was set.
    lines: BTreeMap<String, usize>,
}

impl<'a> EnvFile<'a> {
    /// Passes over empty lines and comments; whether anything is left.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            let text = self.rest.trim_start();
            self.take(self.rest.len() - text.len());
            if !text.starts_with('#') {
                return !text.is_empty();
            }
            self.take(end_of_line(text));
        }
    }

    /// The next bytes.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn statement(&mut self) -> Result<(), Wrong> {
        let line = self.line;
        let name = self.name()?;
        let value = self.value()?;

        if name.len() + value.len() + 2 > LONGEST {
            let reason = format!("{} has more than 128 KiB", shown(&name));
            return wrong(
                reason,
                "no program is started with it: make it a file of the service",
            );
        }
        if let Some(first) = self.lines.insert(name.clone(), line) {
            let reason = format!("{} was set in line {first} already", shown(&name));
            return wrong(reason, "keep one of them; a later file may set it again");
        }
        self.found.insert(name, value);
        Ok(())
    }

    /// A name, with what divides it from its value.
    fn name(&mut self) -> Result<String, Wrong> {
        let line = &self.rest[..end_of_line(self.rest)];
        let exported = line.strip_prefix("export").and_then(|rest| {
            let name = rest.trim_start_matches(is_blank);
            (name.len() < rest.len()).then_some(name)
        });
        let statement = exported.unwrap_or(line);
        let before = line.len() - statement.len();

        let Some(end) = statement.find(['=', ':']) else {
            let reason = match statement.split_whitespace().next() {
                Some(word) if is_name(word) => format!("{} has no value", shown(word)),
                _ => "a line has no `=`".to_owned(),
            };
            let help = "write `NAME=value`; variables of the machine are not read, for the same \
                        files are the same release everywhere";
            return wrong(reason, help);
        };
        let name = statement[..end].trim();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        if name.is_empty() || !name.chars().all(is_plain) {
            let reason = "what is before the `=` is no name of a variable".to_owned();
            return wrong(
                reason,
                "use letters, digits, `_`, `.` and `-`: `NAME=value`",
            );
        }

        self.take(before + end + 1);
        Ok(name.to_owned())
    }

    fn value(&mut self) -> Result<String, Wrong> {
        let blank = self.rest.len() - self.rest.trim_start_matches(is_blank).len();
        let quote = self.rest[blank..].chars().next();
        let value = if let Some(quote @ ('\'' | '"')) = quote {
            self.take(blank + 1);
            self.quoted(quote)?
        } else {
            let line = self.take(end_of_line(self.rest));
            interpolate(without_comment(line).trim(), self.before, &self.found)?
        };
        if value.contains('\0') {
            return wrong(
                "there is a zero byte in it",
                "no variable has one: take it out",
            );
        }
        Ok(value)
    }

    /// A value in quotes, which may have line ends in it. Nothing but a comment follows it.
    fn quoted(&mut self, quote: char) -> Result<String, Wrong> {
        let Some(end) = closing(self.rest, quote) else {
            let reason = format!("the value that begins with `{quote}` has no end");
            return wrong(
                reason,
                "close it with the same quote, or put the other one around it",
            );
        };
        let inside = self.take(end);
        self.take(1);
        let after = self.take(end_of_line(self.rest));
        if !after.trim().is_empty() && !after.trim_start().starts_with('#') {
            let reason = format!("something follows the closing `{quote}`");
            return wrong(
                reason,
                r#"write `\"` for a quote inside the value, and `#` before a comment"#,
            );
        }

        if quote == '\'' {
            return Ok(inside.replace("\\'", "'"));
        }
        interpolate::with_escapes(inside, self.before, &self.found)
    }
}

/// Where a value in quotes ends: at the first quote that no `\` stands before.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        if letter == quote && !is_escaped {
            return Some(at);
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    None
}

/// A value without quotes, up to a `#` that stands after a space.
fn without_comment(line: &str) -> &str {
    let mut signs = line.match_indices('#').map(|(at, _)| at);
    let comment = signs.find(|at| line[..*at].ends_with(is_blank));
    comment.map_or(line, |at| &line[..at])
}

fn end_of_line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

const fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r')
}

/// A name in an error.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(SHOWN).collect();
    let more = if short.len() < name.len() { "…" } else { "" };
    format!("`{}{more}`", short.escape_debug())
}
