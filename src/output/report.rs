//! An error as it is printed: its texts without secrets and control characters, its source with the
//! place that it is about.

use std::error::Error;
use std::fmt;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, Report, Severity, SourceCode,
    SourceSpan, SpanContents,
};

use crate::output::{Failure, visible};
use crate::redact::Redactor;

/// The report as it is printed.
pub(super) fn text(report: &Report, redactor: &Redactor) -> String {
    format!("{:?}", shown(report, redactor))
}

/// A copy of the report that has nothing in it that must not be shown.
pub(super) fn shown(report: &Report, redactor: &Redactor) -> Report {
    Report::new(Cleaner(redactor).diagnostic(report.as_ref(), None))
}

/// Why a command failed, for a program.
#[derive(Debug, serde::Serialize)]
pub(super) struct ErrorDocument {
    /// How the program ends, in a word.
    code: &'static str,
    /// The exit code.
    exit: u8,
    #[serde(flatten)]
    problem: ProblemDocument,
    /// What is wrong one by one, where there are several things.
    problems: Vec<ProblemDocument>,
}

/// One thing that is wrong.
#[derive(Debug, serde::Serialize)]
struct ProblemDocument {
    message: String,
    /// What it comes from, nearest first.
    causes: Vec<String>,
    /// What to do.
    help: Option<String>,
    /// Where in a file.
    place: Option<PlaceDocument>,
}

/// A place in a file.
#[derive(Debug, serde::Serialize)]
struct PlaceDocument {
    file: Option<String>,
    /// Counted from 1.
    line: usize,
    /// Counted from 1.
    column: usize,
}

/// The report as a document.
pub(super) fn document(failure: &Failure, redactor: &Redactor) -> ErrorDocument {
    let shown = Cleaner(redactor).diagnostic(failure.report.as_ref(), None);
    ErrorDocument {
        code: failure.exit.word(),
        exit: failure.exit.code(),
        problems: problems(&shown),
        problem: shown.document(),
    }
}

/// Each thing that is wrong with a file; where it is one thing alone, that.
fn problems(shown: &Shown) -> Vec<ProblemDocument> {
    if shown.related.is_empty() && shown.snippet.is_some() {
        return vec![shown.document()];
    }
    shown.related.iter().map(Shown::document).collect()
}

impl Shown {
    fn document(&self) -> ProblemDocument {
        let first = self.cause.as_deref();
        let causes = std::iter::successors(first, |cause| cause.cause.as_deref());
        ProblemDocument {
            message: self.message.clone(),
            causes: causes.map(|cause| cause.message.clone()).collect(),
            help: self.help.clone(),
            place: self.snippet.as_ref().map(Snippet::place),
        }
    }
}

/// Makes a copy of a diagnostic that has nothing in it that must not be shown.
struct Cleaner<'a>(&'a Redactor);

impl Cleaner<'_> {
    fn text(&self, text: &str) -> String {
        let text = self.0.text(&text.replace("\r\n", "\n"));
        visible::block(&text).into_owned()
    }

    fn diagnostic(&self, from: &dyn Diagnostic, parent: Option<&dyn SourceCode>) -> Shown {
        let source = from.source_code().or(parent);
        let label = from.labels().and_then(|mut labels| labels.next());
        let snippet = source
            .zip(label)
            .and_then(|(source, label)| self.snippet(source, &label));
        let related = from.related().into_iter().flatten();
        Shown {
            message: self.text(&from.to_string()),
            help: from.help().map(|help| self.text(&help.to_string())),
            code: from.code().map(|code| self.text(&code.to_string())),
            severity: from.severity(),
            snippet,
            related: related.map(|one| self.diagnostic(one, source)).collect(),
            cause: from.source().map(|cause| Box::new(self.cause(cause))),
        }
    }

    fn cause(&self, from: &dyn Error) -> Cause {
        Cause {
            message: self.text(&from.to_string()),
            cause: from.source().map(|cause| Box::new(self.cause(cause))),
        }
    }

    /// The lines around a label, and the label at its place in them.
    fn snippet(&self, source: &dyn SourceCode, label: &LabeledSpan) -> Option<Snippet> {
        let contents = source.read_span(label.inner(), 1, 1).ok()?;
        let text = std::str::from_utf8(contents.data()).ok()?;
        let at = label.offset().checked_sub(contents.span().offset())?;
        let before = text.get(..at)?;
        let word = text.get(at..at + label.len())?;
        let after = text.get(at + label.len()..)?;

        let [before, word, after] = [before, word, after].map(|part| self.text(part));
        Some(Snippet {
            label: LabeledSpan::new(
                label.label().map(|label| self.text(label)),
                before.len(),
                word.len(),
            ),
            name: contents.name().map(|name| self.text(name)),
            line: contents.line(),
            text: [before, word, after].concat(),
        })
    }
}

#[derive(Debug)]
struct Shown {
    message: String,
    help: Option<String>,
    code: Option<String>,
    severity: Option<Severity>,
    snippet: Option<Snippet>,
    related: Vec<Shown>,
    cause: Option<Box<Cause>>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Shown {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &dyn Error)
    }
}

impl Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        boxed(self.code.as_ref())
    }

    fn severity(&self) -> Option<Severity> {
        self.severity
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        boxed(self.help.as_ref())
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.snippet
            .as_ref()
            .map(|snippet| snippet as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let snippet = self.snippet.as_ref()?;
        Some(Box::new(std::iter::once(snippet.label.clone())))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let related = self.related.iter().map(|one| one as &dyn Diagnostic);
        (!self.related.is_empty()).then(|| Box::new(related) as Box<dyn Iterator<Item = _>>)
    }
}

fn boxed(text: Option<&String>) -> Option<Box<dyn fmt::Display + '_>> {
    text.map(|text| Box::new(text) as Box<dyn fmt::Display>)
}

#[derive(Debug)]
struct Cause {
    message: String,
    cause: Option<Box<Cause>>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &dyn Error)
    }
}

/// A few lines of a file.
#[derive(Debug)]
struct Snippet {
    label: LabeledSpan,
    name: Option<String>,
    /// Which of the file's lines the first is, from 0.
    line: usize,
    text: String,
}

impl Snippet {
    fn place(&self) -> PlaceDocument {
        let before = self.text.get(..self.label.offset()).unwrap_or_default();
        let last = before.rsplit('\n').next().unwrap_or_default();
        PlaceDocument {
            file: self.name.clone(),
            line: self.line + before.matches('\n').count() + 1,
            column: last.chars().count() + 1,
        }
    }
}

impl SourceCode for Snippet {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, before, after)?;
        let (line, column) = (self.line + inner.line(), inner.column());
        let (data, span, count) = (inner.data(), *inner.span(), inner.line_count());
        Ok(Box::new(match &self.name {
            Some(name) => {
                MietteSpanContents::new_named(name.clone(), data, span, line, column, count)
            }
            None => MietteSpanContents::new(data, span, line, column, count),
        }))
    }
}
