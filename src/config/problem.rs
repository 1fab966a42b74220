//! What is wrong with a configuration: all of it at once, each with its place, its line and what to
//! do.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, SourceSpan};

use crate::model::ContentHash;

/// The longest line that is shown with a fault in it.
const LONGEST_LINE: usize = 2_000;

/// A place in a file. The file is a number into the list of files that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    pub file: usize,
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub at: Position,
    pub message: String,
    pub help: Option<String>,
    /// Where in the configuration, as far as that is known.
    pub path: Vec<String>,
    /// The line and the column in a text that stands there, counted from 1; none: the text itself.
    pub inside: Option<(usize, usize)>,
    /// What stands there and is not to be shown.
    pub hidden: Option<String>,
}

impl Problem {
    pub fn new(at: Position, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            help: None,
            path: Vec::new(),
            inside: None,
            hidden: None,
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its path, relative to the project's folder.
    pub name: String,
    pub text: String,
}

impl File {
    /// The place of a line and a column of a text that begins somewhere: in quotes, behind `|`, or
    /// right there.
    fn inside(&self, at: Position, (line, column): (usize, usize)) -> Position {
        let row = |number: usize| self.text.lines().nth(number.saturating_sub(1));
        let first = row(at.line).and_then(|row| row.chars().nth(at.column.saturating_sub(1)));
        match first {
            Some('\'' | '"') if line == 1 => Position {
                column: at.column + column,
                ..at
            },
            Some('|' | '>') => {
                let here = at.line + line;
                let indent = row(here).map_or(0, |row| row.len() - row.trim_start().len());
                Position {
                    line: here,
                    column: indent + column,
                    ..at
                }
            }
            _ => Position {
                line: at.line + line - 1,
                column: at.column + column - 1,
                ..at
            },
        }
    }

    /// Its name, and what it says.
    pub fn named(&self) -> (String, String) {
        (self.name.clone(), self.text.clone())
    }

    /// Its name, and the hash of what it says.
    pub fn hash(&self) -> (String, ContentHash) {
        (self.name.clone(), ContentHash::of(self.text.as_bytes()))
    }
}

/// One fault, on its own: what a program reads.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConfigProblem {
    /// The file, relative to the project's folder.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    #[serde(skip)]
    source: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

impl std::error::Error for ConfigProblem {}

impl ConfigProblem {
    /// One of a file, at a line and a column, with the file's text or none.
    pub(super) fn new(
        (file, line, column): (String, usize, usize),
        text: &str,
        message: &str,
        help: &str,
    ) -> Self {
        let is_short = |line: &str| line.len() <= LONGEST_LINE;
        let shown = text
            .lines()
            .nth(line.saturating_sub(1))
            .is_some_and(is_short);
        Self {
            file,
            line,
            column,
            message: without_logins(message),
            help: Some(without_logins(help)),
            source: if shown {
                without_logins(text)
            } else {
                String::new()
            },
        }
    }

    fn span(&self) -> SourceSpan {
        let before: usize = self
            .source
            .split_inclusive('\n')
            .take(self.line - 1)
            .map(str::len)
            .sum();
        let line = self.source.lines().nth(self.line - 1).unwrap_or_default();
        let start: usize = line.chars().take(self.column - 1).map(char::len_utf8).sum();
        let word = line[start..]
            .split([':', ' ', ',', '}', ']'])
            .next()
            .map_or(0, str::len);
        (
            before + start,
            word.max(1).min(line.len().saturating_sub(start).max(1)),
        )
            .into()
    }
}

impl Diagnostic for ConfigProblem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.source.is_empty() {
            return None;
        }
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(
            Some("here".to_owned()),
            self.span(),
        ))))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        (!self.source.is_empty()).then_some(self as &dyn miette::SourceCode)
    }
}

impl miette::SourceCode for ConfigProblem {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let inner = self.source.read_span(span, before.min(1), after.min(1))?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.file.clone(),
            inner.data(),
            *inner.span(),
            inner.line(),
            inner.column(),
            inner.line_count(),
        )))
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of their places.
    pub faults: Vec<ConfigProblem>,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<Problem>, files: &[File]) -> Self {
        for problem in &mut problems {
            let file = files.get(problem.at.file);
            if let (Some(inside), Some(file)) = (problem.inside.take(), file) {
                problem.at = file.inside(problem.at, inside);
            }
        }
        problems.sort_by_key(|problem| problem.at);
        problems.dedup();
        let shown = shown(&problems, files);
        let fault = |problem: Problem| {
            let file = files.get(problem.at.file);
            let line =
                file.and_then(|file| file.text.lines().nth(problem.at.line.saturating_sub(1)));
            ConfigProblem {
                file: file.map_or_else(String::new, |file| file.name.clone()),
                line: problem.at.line,
                column: problem.at.column,
                message: without_logins(&problem.message),
                help: problem.help.as_deref().map(without_logins),
                // Nobody reads a line of a megabyte, and it takes its time to be drawn.
                source: match (shown.get(problem.at.file), line) {
                    (Some(text), Some(line)) if line.len() <= LONGEST_LINE => text.clone(),
                    _ => String::new(),
                },
            }
        };

        Self {
            faults: problems.into_iter().map(fault).collect(),
        }
    }

    /// The same, where a sparse checkout has left these files of the configuration out.
    #[must_use]
    pub fn and_left_out(mut self, files: &[String]) -> Self {
        for file in files {
            let message =
                format!("{file} is in the commit, and the checkout is sparse and leaves it out");
            let help =
                "`git sparse-checkout add` with its folder, or `git sparse-checkout disable`";
            self.faults.extend(Self::absent(file, message, help).faults);
        }
        self
    }

    /// A configuration that is not there at all.
    pub(super) fn absent(file: &str, message: String, help: &str) -> Self {
        let fault = ConfigProblem {
            file: file.to_owned(),
            line: 1,
            column: 1,
            message,
            help: Some(help.to_owned()),
            source: String::new(),
        };
        Self {
            faults: vec![fault],
        }
    }
}

/// The files' texts as people may see them: a fault beside it would show what is hidden, too.
fn shown(problems: &[Problem], files: &[File]) -> Vec<String> {
    let mut shown: Vec<String> = files
        .iter()
        .map(|file| without_logins(&file.text))
        .collect();
    for problem in problems {
        let (Some(hidden), Some(text)) = (&problem.hidden, shown.get_mut(problem.at.file)) else {
            continue;
        };
        *text = if text.contains(hidden) {
            text.replace(hidden, &"*".repeat(hidden.chars().count()))
        } else {
            // Its quotes have it stand there in other words.
            String::new()
        };
    }
    shown
}

/// A text with stars in the place of logins in addresses, `https://kim:password@host`, whichever
/// fault it is shown for. It stays as long as it was.
fn without_logins(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | '}' | ']');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        shown.push_str(before);
        let whole = &address[..address.find(is_end).unwrap_or(address.len())];
        let login = whole.rfind('@').unwrap_or(0);
        shown.extend(whole[..login].chars().map(|_| '*'));
        shown.push_str(&whole[login..]);
        rest = &address[whole.len()..];
    }
    shown.push_str(rest);
    shown
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [one] => write!(f, "{one}"),
            many => write!(f, "the configuration has {} faults", many.len()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.faults.as_slice() {
            [one] => one.help(),
            _ => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match self.faults.as_slice() {
            [one] => one.labels(),
            _ => None,
        }
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        match self.faults.as_slice() {
            [one] => one.source_code(),
            _ => None,
        }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (self.faults.len() > 1).then(|| {
            Box::new(self.faults.iter().map(|fault| fault as &dyn Diagnostic))
                as Box<dyn Iterator<Item = _>>
        })
    }
}
