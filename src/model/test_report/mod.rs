//! What a task's tests say: suites of cases, read from the reports that it has written.
//!
//! All of it is somebody else's text. What is kept is bounded: each text, how many cases are listed,
//! and how much there is in all.

pub mod junit;

use std::fmt;

/// The most cases that are listed; the others are counted.
pub const MOST_CASES: usize = 5_000;

/// The most bytes of a name.
const NAME: usize = 512;

/// The most bytes of what a failure says.
const TEXT: usize = 8 << 10;

/// The most bytes of all names and texts of a report: it goes through one message, and each of them
/// may take six as JSON.
const ALL: usize = 384 << 10;

/// How many failing cases are named in one line.
const NAMED: usize = 5;

/// The most bytes of each of them there.
const SHORT: usize = 160;

/// What the reports of one task say.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TestReport {
    /// The suites, in the order of their files.
    pub suites: Vec<TestSuite>,
    /// All cases, listed or not.
    pub total: u64,
    /// Those that failed, or ended in an error.
    pub failed: u64,
    /// Those that were not run.
    pub skipped: u64,
    /// What could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// How many more bytes may be kept.
    #[serde(skip, default = "all")]
    room: Room,
}

/// How many more bytes may be kept. It is no part of what a report says.
#[derive(Debug, Clone, Copy)]
struct Room(usize);

const fn all() -> Room {
    Room(ALL)
}

impl Default for Room {
    fn default() -> Self {
        all()
    }
}

impl PartialEq for Room {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Room {}

/// Cases that belong together.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TestSuite {
    /// Its name; the file's where it has none.
    pub name: String,
    /// Its cases.
    pub cases: Vec<TestCase>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TestCase {
    /// The class, module or file that it is of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Its name.
    pub name: String,
    /// How long it took, in milliseconds; none where that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
    /// How it ended.
    pub result: TestResult,
    /// The file of the project that it is written in, as the report has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum TestResult {
    /// It holds.
    Passed,
    /// It was not run.
    Skipped,
    /// What it expects does not hold.
    Failed {
        /// Why, in one line.
        message: String,
        /// All that is said of it.
        text: String,
    },
    /// It did not come to its end.
    Error {
        /// Why, in one line.
        message: String,
        /// All that is said of it.
        text: String,
    },
}

impl TestResult {
    /// Why it failed, in one line and in full; none where it did not.
    #[must_use]
    pub fn failure(&self) -> Option<(&str, &str)> {
        match self {
            Self::Passed | Self::Skipped => None,
            Self::Failed { message, text } | Self::Error { message, text } => Some((message, text)),
        }
    }
}

impl TestCase {
    /// Its class and its name.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.class.is_empty() {
            return self.name.clone();
        }
        format!("{} {}", self.class, self.name)
    }
}

impl TestReport {
    /// The cases that failed and are listed.
    pub fn failures(&self) -> impl Iterator<Item = &TestCase> {
        let cases = self.suites.iter().flat_map(|suite| &suite.cases);
        cases.filter(|case| case.result.failure().is_some())
    }

    /// How many there were, and which failed.
    #[must_use]
    pub fn summary(&self) -> TestSummary {
        let failing = self.failures().take(NAMED);
        let failing = failing.map(|case| bounded(&case.full_name(), SHORT));
        TestSummary {
            total: self.total,
            failed: self.failed,
            skipped: self.skipped,
            failing: failing.collect(),
        }
    }

    /// Notes what could not be read.
    pub fn problem(&mut self, what: impl AsRef<str>) {
        if self.problems.len() < NAMED {
            self.problems.push(bounded(what.as_ref(), NAME));
        }
    }

    /// Adds a case to the last suite; it is counted, and listed while there is room.
    fn push(&mut self, suite: &str, case: TestCase) {
        self.total += 1;
        let has_failed = case.result.failure().is_some();
        self.failed += u64::from(has_failed);
        self.skipped += u64::from(case.result == TestResult::Skipped);

        let bytes = case.class.len() + case.name.len() + case.file.as_ref().map_or(0, String::len);
        let said = case.result.failure();
        let bytes = bytes + said.map_or(0, |(message, text)| message.len() + text.len());
        let listed: usize = self.suites.iter().map(|suite| suite.cases.len()).sum();
        let is_open = self.suites.last().is_some_and(|last| last.name == suite);
        let bytes = bytes + if is_open { 0 } else { suite.len() };
        if bytes > self.room.0 || listed >= MOST_CASES {
            return;
        }
        self.room.0 -= bytes;
        match self.suites.last_mut() {
            Some(last) if is_open => last.cases.push(case),
            _ => self.suites.push(TestSuite {
                name: suite.to_owned(),
                cases: vec![case],
            }),
        }
    }

    /// The same with each text changed.
    #[must_use]
    pub fn map(self, change: &dyn Fn(&str) -> String) -> Self {
        let suites = self.suites.into_iter().map(|suite| TestSuite {
            name: change(&suite.name),
            cases: suite.cases.into_iter().map(|it| it.map(change)).collect(),
        });
        Self {
            suites: suites.collect(),
            problems: self.problems.iter().map(|text| change(text)).collect(),
            ..self
        }
    }
}

impl TestCase {
    fn map(self, change: &dyn Fn(&str) -> String) -> Self {
        let result = match &self.result {
            TestResult::Passed | TestResult::Skipped => self.result.clone(),
            TestResult::Failed { message, text } => TestResult::Failed {
                message: change(message),
                text: change(text),
            },
            TestResult::Error { message, text } => TestResult::Error {
                message: change(message),
                text: change(text),
            },
        };
        Self {
            class: change(&self.class),
            name: change(&self.name),
            file: self.file.as_deref().map(change),
            result,
            ..self
        }
    }
}

/// How many cases there were, and which failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TestSummary {
    /// All cases.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were not run.
    pub skipped: u64,
    /// The names of the first ones that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
}

impl TestSummary {
    /// How many there were and failed, without their names.
    #[must_use]
    pub fn counts(&self) -> String {
        match (self.total, self.failed) {
            (1, 0) => "1 test, which did not fail".to_owned(),
            (total, 0) => format!("{total} tests, none failed"),
            (total, failed) => format!("{failed} of {total} tests failed"),
        }
    }
}

impl fmt::Display for TestSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed;
        f.write_str(&self.counts())?;
        if !self.failing.is_empty() {
            write!(f, ": {}", self.failing.join(", "))?;
        }
        let named = u64::try_from(self.failing.len()).unwrap_or(u64::MAX);
        match failed.saturating_sub(named) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The beginning of a text.
fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}
