//! What a person reads: lines, with colours where shipit put them. A text in them is only ever
//! text: what it has of control characters and line ends is shown and does nothing, so that nobody
//! can forget to clean one.

use anstyle::Style;
use comfy_table::{Table, presets};

use crate::output::paint::DIM;
use crate::output::visible;

/// Lines for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page(Vec<Line>);

/// One line, whatever its texts have in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<Span>);

/// A text of one colour, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    style: Style,
    text: String,
    tabs: Tabs,
}

/// What is done with tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tabs {
    Shown,
    Kept,
}

impl Line {
    /// An empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What the reader should know besides.
    #[must_use]
    pub fn note(text: impl std::fmt::Display) -> Self {
        Self::new().paint(DIM, "note:").text(" ").text(text)
    }

    /// With this text at its end.
    #[must_use]
    pub fn text(self, text: impl std::fmt::Display) -> Self {
        self.paint(Style::new(), text)
    }

    /// With this text in this colour at its end.
    #[must_use]
    pub fn paint(self, style: Style, text: impl std::fmt::Display) -> Self {
        self.span(style, text.to_string(), Tabs::Shown)
    }

    /// With what somebody wrote at its end; its tabs stay.
    #[must_use]
    pub fn quote(self, text: impl std::fmt::Display) -> Self {
        self.span(Style::new(), text.to_string(), Tabs::Kept)
    }

    /// With another line at its end.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn span(mut self, style: Style, text: String, tabs: Tabs) -> Self {
        self.0.push(Span { style, text, tabs });
        self
    }

    /// The texts as they came.
    pub(super) fn raw(&self) -> String {
        self.0.iter().map(|span| span.text.as_str()).collect()
    }

    /// As it is shown, without colours.
    #[must_use]
    pub fn plain(&self) -> String {
        self.0.iter().map(|span| span.shown()).collect()
    }

    /// As it is shown, with ANSI codes.
    #[must_use]
    pub fn ansi(&self) -> String {
        let painted = |span: &Span| format!("{0}{1}{0:#}", span.style, span.shown());
        self.0.iter().map(painted).collect()
    }
}

impl Span {
    fn shown(&self) -> std::borrow::Cow<'_, str> {
        match self.tabs {
            Tabs::Shown => visible::line(&self.text),
            Tabs::Kept => visible::quote(&self.text),
        }
    }
}

impl<T: std::fmt::Display> From<T> for Line {
    fn from(text: T) -> Self {
        Self::new().text(text)
    }
}

impl Page {
    /// No line at all.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A single line.
    #[must_use]
    pub fn of(line: impl Into<Line>) -> Self {
        Self(vec![line.into()])
    }

    /// A text of many lines that is shown as it is: YAML, a diff, a script.
    #[must_use]
    pub fn document(text: &str) -> Self {
        text.lines().map(|line| Line::new().quote(line)).collect()
    }

    /// A table, its columns as wide as they must be.
    #[must_use]
    pub fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header);
        for row in rows {
            table.add_row(row.map(|cell| visible::line(&cell).into_owned()));
        }
        table
            .lines()
            .map(|line| Line::from(line.trim_end()))
            .collect()
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl Into<Line>) {
        self.0.push(line.into());
    }

    /// Adds an empty line.
    pub fn blank(&mut self) {
        self.0.push(Line::new());
    }

    /// Its lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.0
    }

    /// Whether it has no line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it is shown, without colours.
    #[must_use]
    pub fn plain(&self) -> String {
        self.0
            .iter()
            .flat_map(|line| [line.plain(), "\n".to_owned()])
            .collect()
    }

    /// For a comment on a change request: as it stands, in a fence that no text in it can end.
    #[must_use]
    pub fn fenced(&self) -> Self {
        let longest = self.0.iter().map(|line| backticks(&line.plain())).max();
        let fence = "`".repeat(longest.unwrap_or(0).max(2) + 1);

        let mut page = Self::of(format!("{fence}text"));
        page.extend(self.0.iter().map(|line| Line::new().quote(line.plain())));
        page.line(fence);
        page
    }
}

/// The longest run of backticks.
fn backticks(text: &str) -> usize {
    let runs = text.split(|sign| sign != '`').map(str::len);
    runs.max().unwrap_or(0)
}

impl Extend<Line> for Page {
    fn extend<T: IntoIterator<Item = Line>>(&mut self, lines: T) {
        self.0.extend(lines);
    }
}

impl FromIterator<Line> for Page {
    fn from_iter<T: IntoIterator<Item = Line>>(lines: T) -> Self {
        Self(lines.into_iter().collect())
    }
}

impl IntoIterator for Page {
    type Item = Line;
    type IntoIter = std::vec::IntoIter<Line>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::paint::NEW;

    #[test]
    fn a_text_makes_no_line_and_no_colour() {
        let line = Line::from("a\nb").paint(NEW, "\u{1b}[2J\r").quote("\tc\n");
        assert_eq!(line.plain(), "a\\nb\\u{1b}[2J\\r\tc\\n");
        assert_eq!(
            line.ansi().matches('\u{1b}').count(),
            2,
            "the colour and its end"
        );
    }

    #[test]
    fn a_cell_of_a_table_is_one_line() {
        let row = ["main\nforged".to_owned(), "x\u{202e}".to_owned()];
        let table = Page::table(["BRANCH", "BY"], vec![row]);
        assert_eq!(
            table.plain(),
            " BRANCH        BY\n main\\nforged  x\\u{202e}\n"
        );
    }

    #[test]
    fn a_fence_is_longer_than_anything_in_it() {
        let mut page = Page::of("x ````\n```\n</details> @team ![x](y)");
        page.line("`````");
        let fenced = page.fenced().plain();
        assert_eq!(
            fenced,
            "``````text\nx ````\\n```\\n</details> @team ![x](y)\n`````\n``````\n"
        );
        assert_eq!(Page::of("x").fenced().plain(), "```text\nx\n```\n");
    }
}
