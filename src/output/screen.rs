//! The way out: everything that is printed goes through here, and nothing else in the program
//! writes to stdout or stderr. What it prints has no value of a secret in it that the program has
//! read, and no control characters.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};

use crate::output::page::{Line, Page};
use crate::output::{Failure, Format, Kind, document, report, visible};
use crate::redact::Redactor;

/// How much is printed besides results and errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing.
    Quiet,
    /// Progress and notes.
    #[default]
    Normal,
    /// Also what a command works with, and every line that a step says.
    Verbose,
}

/// When colours are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Coloring {
    /// At a terminal. `NO_COLOR` turns them off, `CLICOLOR_FORCE` on.
    #[default]
    Auto,
    /// Wherever the output goes.
    Always,
    /// Nowhere.
    Never,
}

impl Coloring {
    /// Holds for the whole process from now on.
    pub fn apply(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Whether messages have colours.
#[must_use]
pub fn paints_messages() -> bool {
    color_of(&io::stderr()) != ColorChoice::Never
}

/// stdout and stderr. All clones know the same secrets.
#[derive(Debug, Clone, Default)]
pub struct Screen {
    /// Whether a result was not taken.
    is_over: Arc<AtomicBool>,
    verbosity: Verbosity,
    format: Format,
    redactor: Redactor,
    /// Why stdout did not take a result.
    trouble: Arc<Mutex<Option<io::Error>>>,
}

impl Screen {
    /// One that prints this much, and errors in this form.
    #[must_use]
    pub fn new(verbosity: Verbosity, format: Format) -> Self {
        Self {
            verbosity,
            format,
            ..Self::default()
        }
    }

    /// How much it prints.
    #[must_use]
    pub const fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// What knows the values that are not shown.
    #[must_use]
    pub const fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Prints a result.
    pub fn show(&self, page: &Page) {
        let text = self.text(page, color_of(&io::stdout()));
        self.result(&text);
    }

    /// Prints a result for a program: one document.
    pub fn document(&self, kind: Kind, body: &impl serde::Serialize) {
        self.json(document::enveloped(kind, body));
    }

    /// Prints one document of several, on a line of its own.
    pub fn document_line(&self, kind: Kind, body: &impl serde::Serialize) {
        let document = document::enveloped(kind, body);
        let text = self.redactor.json(document).to_string();
        self.result(&format!("{}\n", visible::json(&text)));
    }

    /// Prints a result that is JSON by itself.
    pub fn json(&self, value: serde_json::Value) {
        let value = self.redactor.json(value);
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.result(&format!("{}\n", visible::json(&text)));
    }

    /// Clears the terminal and prints a result at its top.
    pub fn show_anew(&self, page: &Page) {
        self.result("\u{1b}[2J\u{1b}[H");
        self.show(page);
    }

    /// Prints a message, unless only results and errors are wanted.
    pub fn say(&self, page: &Page) {
        if self.verbosity != Verbosity::Quiet {
            self.alert(page);
        }
    }

    /// Prints a message that only who asked for more wants to read.
    pub fn detail(&self, page: &Page) {
        if self.verbosity == Verbosity::Verbose {
            self.alert(page);
        }
    }

    /// Prints a message that is about an error.
    pub fn alert(&self, page: &Page) {
        let text = self.text(page, color_of(&io::stderr()));
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Prints a note as a message, if there is one.
    pub fn note(&self, note: Option<&str>) {
        if let Some(note) = note {
            self.say(&Page::of(Line::note(note)));
        }
    }

    /// Prints why the program ends as it does. For a program that is a result: the last line, where
    /// there are several.
    pub fn fail(&self, failure: &Failure) {
        if self.format == Format::Json {
            let document = report::document(failure, &self.redactor);
            self.document_line(Kind::Error, &document);
            if self.trouble().is_none() {
                return;
            }
        }
        let text = report::text(&failure.report, &self.redactor);
        let mut stderr = anstream::stderr();
        let _ = writeln!(stderr, "{text}");
    }

    /// Prints bytes of a program as they come, which are free of secrets already.
    pub fn pass(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        self.note_trouble(written);
    }

    /// The same for its messages.
    pub fn pass_error(&self, bytes: &[u8]) {
        let _ = io::stderr().lock().write_all(bytes);
    }

    /// A line for a live view on stderr.
    #[must_use]
    pub fn live(&self, line: &Line) -> String {
        let shown = self.lines(std::slice::from_ref(line), color_of(&io::stderr()));
        shown.concat()
    }

    /// Whether nobody takes results any more: the reader went away, or there is no room. What goes
    /// on for ever ends then.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Why a result was not taken, if that is so. A reader that went away is no reason to fail.
    #[must_use]
    pub fn trouble(&self) -> Option<io::Error> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.take()
    }

    fn result(&self, text: &str) {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.note_trouble(written);
    }

    fn note_trouble(&self, written: io::Result<()>) {
        let Err(error) = written else {
            return;
        };
        self.is_over.store(true, Ordering::Relaxed);
        if error.kind() != ErrorKind::BrokenPipe {
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            trouble.get_or_insert(error);
        }
    }

    fn text(&self, page: &Page, colors: ColorChoice) -> String {
        let lines = self.lines(page.lines(), colors).into_iter();
        lines.flat_map(|line| [line, "\n".to_owned()]).collect()
    }

    /// A line that had a value in it has no colours any more.
    fn lines(&self, lines: &[Line], colors: ColorChoice) -> Vec<String> {
        let raw: Vec<String> = lines.iter().map(Line::raw).collect();
        let clean = self.redactor.lines(raw.clone());
        lines
            .iter()
            .zip(raw.iter().zip(clean))
            .map(|(line, (raw, clean))| match colors {
                _ if *raw != clean => Line::new().quote(clean).plain(),
                ColorChoice::Never => line.plain(),
                _ => line.ansi(),
            })
            .collect()
    }
}

/// Whether colours can be seen there and are wanted.
fn color_of(stream: &impl anstream::stream::RawStream) -> ColorChoice {
    AutoStream::choice(stream)
}
