//! `JUnit` reports, as test runners write them: suites in suites, cases, and what a failing one says.
//!
//! They are hostile until shown otherwise. A file that declares a document type is refused, so that
//! there is no entity but the five that XML has; what is read is bounded in depth; and counts are
//! of the cases that are there, never of what an attribute says.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use crate::model::test_report::{NAME, TEXT, TestCase, TestReport, TestResult, bounded};

/// How deep elements may be in each other.
const DEPTH: usize = 64;

/// The longest time that a case is said to take, in seconds: a year.
const LONGEST: f64 = 31_536_000.0;

/// Reads a file of this name into a report. What is wrong with it is one of the report's problems;
/// the cases before that place stay.
pub fn read(report: &mut TestReport, file: &str, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return report.problem(format!("{file}: it is no text in UTF-8"));
    };
    let mut reading = Reading {
        report,
        file,
        open: Vec::new(),
        case: None,
        said: String::new(),
    };
    if let Err(reason) = reading.all(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        report.problem(format!("{file}: {reason}"));
    }
}

/// A file that is read.
struct Reading<'a> {
    report: &'a mut TestReport,
    file: &'a str,
    /// The elements that are open, outermost first.
    open: Vec<Open>,
    /// The case that is open.
    case: Option<TestCase>,
    /// What its failure says so far.
    said: String,
}

/// An element that is open.
#[derive(PartialEq, Eq)]
enum Open {
    /// A suite of this name.
    Suite(String),
    Case,
    /// What a failing case says.
    Failure,
    Other,
}

impl Reading<'_> {
    fn all(&mut self, text: &str) -> Result<(), String> {
        let mut reader = Reader::from_str(text);
        loop {
            let place = reader.buffer_position();
            let event = reader.read_event();
            let event = event.map_err(|error| format!("it is no XML at byte {place}: {error}"))?;
            match event {
                Event::Start(element) => self.begin(&element)?,
                Event::Empty(element) => {
                    self.begin(&element)?;
                    self.end();
                }
                Event::End(_) => self.end(),
                Event::Text(text) => self.say(&text.xml10_content()),
                Event::CData(text) => self.say(&text.xml10_content()),
                Event::GeneralRef(entity) => self.say(&resolved(&entity)?),
                Event::DocType(_) => {
                    return Err("it declares a document type, which no report needs".to_owned());
                }
                Event::Eof if !self.open.is_empty() => {
                    return Err("it ends in the middle".to_owned());
                }
                Event::Eof => return Ok(()),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            }
        }
    }

    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        if self.open.len() >= DEPTH {
            return Err(format!("its elements are more than {DEPTH} deep"));
        }
        let name = element.local_name();
        let name: &str = name.as_ref();
        if self.open.is_empty() && !matches!(name, "testsuites" | "testsuite") {
            let name = bounded(name, 40);
            return Err(format!("it is no JUnit report: it begins with <{name}>"));
        }

        let opened = match (name, &mut self.case) {
            ("testsuite", None) => {
                let own = attribute(element, "name")?;
                Open::Suite(own.unwrap_or_else(|| bounded(self.file, NAME)))
            }
            ("testcase", None) => {
                self.case = Some(case(element)?);
                Open::Case
            }
            ("skipped", Some(case)) if case.result == TestResult::Passed => {
                case.result = TestResult::Skipped;
                Open::Other
            }
            // A case has failed once, however often that is said of it.
            ("failure" | "error", Some(case)) if case.result.failure().is_none() => {
                let message = match attribute(element, "message")? {
                    Some(message) => message,
                    None => attribute(element, "type")?.unwrap_or_default(),
                };
                let text = String::new();
                case.result = match name {
                    "failure" => TestResult::Failed { message, text },
                    _ => TestResult::Error { message, text },
                };
                Open::Failure
            }
            _ => Open::Other,
        };
        self.open.push(opened);
        Ok(())
    }

    fn say(&mut self, text: &str) {
        if self.open.last() == Some(&Open::Failure) && self.said.len() < TEXT {
            self.said.push_str(text);
        }
    }

    fn end(&mut self) {
        match self.open.pop() {
            Some(Open::Failure) => {
                let said = std::mem::take(&mut self.said);
                if let Some(case) = &mut self.case {
                    conclude(case, said.trim());
                }
            }
            Some(Open::Case) => {
                let suites = self.open.iter().rev();
                let suite = suites.filter_map(|open| match open {
                    Open::Suite(name) => Some(name.clone()),
                    Open::Case | Open::Failure | Open::Other => None,
                });
                let suite = suite.into_iter().next();
                let suite = suite.unwrap_or_else(|| bounded(self.file, NAME));
                if let Some(case) = self.case.take() {
                    self.report.push(&suite, case);
                }
            }
            Some(Open::Suite(_) | Open::Other) | None => {}
        }
    }
}

/// Puts what a failure says beside its message.
fn conclude(case: &mut TestCase, said: &str) {
    if let TestResult::Failed { message, text } | TestResult::Error { message, text } =
        &mut case.result
    {
        if message.is_empty() {
            *message = bounded(said.lines().next().unwrap_or_default(), NAME);
        }
        *text = bounded(said, TEXT);
    }
}

fn case(element: &BytesStart<'_>) -> Result<TestCase, String> {
    let seconds = attribute(element, "time")?.and_then(|time| time.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| (0.0..LONGEST).contains(seconds));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between nothing and a year"
    )]
    let millis = seconds.map(|seconds| (seconds * 1000.0) as u64);
    Ok(TestCase {
        class: attribute(element, "classname")?.unwrap_or_default(),
        name: attribute(element, "name")?.unwrap_or_default(),
        millis,
        result: TestResult::Passed,
        file: attribute(element, "file")?.filter(|file| !file.is_empty()),
        line: attribute(element, "line")?.and_then(|line| line.parse().ok()),
    })
}

/// The beginning of an attribute's value.
fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("its attribute `{name}`: {error}");
    let found = element.try_get_attribute(name);
    let Some(found) = found.map_err(|error| wrong(&error))? else {
        return Ok(None);
    };
    let value = found.normalized_value(XmlVersion::Implicit1_0);
    let value = value.map_err(|error| wrong(&error))?;
    Ok(Some(bounded(value.trim(), NAME)))
}

/// One of the five entities that XML has, or a character by its number.
fn resolved(entity: &BytesRef<'_>) -> Result<String, String> {
    let number = entity.resolve_char_ref();
    if let Some(letter) = number.map_err(|error| error.to_string())? {
        return Ok(letter.to_string());
    }
    let name = entity.xml10_content();
    let known = resolve_predefined_entity(&name).map(str::to_owned);
    known.ok_or_else(|| format!("it has the entity &{};", bounded(&name, 40)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> TestReport {
        let mut report = TestReport::default();
        read(&mut report, "a.xml", text.as_bytes());
        report
    }

    #[test]
    fn cases_are_of_their_suites_and_counted_as_they_are() {
        let report = report(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites tests="900" failures="0">
              <testsuite name="cart" tests="1">
                <testcase classname="shop.Cart" name="adds &lt;one&gt;" time="0.25"/>
                <testcase classname="shop.Cart" name="removes" file="cart.rb" line="7">
                  <failure message="expected 1" type="Assert">a &amp; b&#10;<![CDATA[<c>]]></failure>
                  <error message="again"/>
                </testcase>
                <testsuite name="inner"><testcase name="i"><skipped/></testcase></testsuite>
                <testcase name="last"><error>gone
            and more</error><system-out>out</system-out></testcase>
              </testsuite>
              <testcase name="bare"/>
            </testsuites>"#,
        );
        assert_eq!(report.problems, [""; 0]);
        assert_eq!((report.total, report.failed, report.skipped), (5, 2, 1));
        let names: Vec<&str> = report.suites.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["cart", "inner", "cart", "a.xml"]);

        let cases = &report.suites[0].cases;
        assert_eq!(cases[0].full_name(), "shop.Cart adds <one>");
        assert_eq!(cases[0].millis, Some(250));
        let failure = cases[1].result.failure();
        assert_eq!(failure, Some(("expected 1", "a & b\n<c>")));
        assert_eq!(
            (cases[1].file.as_deref(), cases[1].line),
            (Some("cart.rb"), Some(7))
        );
        let error = report.suites[2].cases[0]
            .result
            .failure()
            .expect("an error");
        assert_eq!(error.0, "gone");
        assert_eq!(
            report.summary().to_string(),
            "2 of 5 tests failed: shop.Cart removes, last"
        );
    }

    #[test]
    fn what_is_hostile_is_refused_and_what_came_before_it_stays() {
        let bomb = r#"<!DOCTYPE t [<!ENTITY a "x"><!ENTITY b "&a;&a;">]>
            <testsuite><testcase name="&b;"/></testsuite>"#;
        let file = r#"<!DOCTYPE t [<!ENTITY f SYSTEM "file:///etc/passwd">]>
            <testsuite><testcase name="a"><failure>&f;</failure></testcase></testsuite>"#;
        for text in [bomb, file] {
            let read = report(text);
            assert_eq!(read.total, 0);
            assert!(
                read.problems[0].contains("document type"),
                "{:?}",
                read.problems
            );
        }

        let undeclared =
            report(r#"<testsuite><testcase name="a"/><testcase name="b"><failure>&f;</failure>"#);
        assert_eq!(undeclared.total, 1);
        assert_eq!(undeclared.problems, ["a.xml: it has the entity &f;"]);
        let named = report(r#"<testsuite><testcase name="&f;"/></testsuite>"#);
        assert_eq!((named.total, named.problems.len()), (0, 1));

        let deep = format!("<testsuite>{}", "<a>".repeat(100_000));
        assert!(report(&deep).problems[0].contains("64 deep"));
        for (text, reason) in [
            ("<html/>", "it begins with <html>"),
            ("<testsuite>", "it ends in the middle"),
            ("<testsuite></a>", "it is no XML at byte"),
        ] {
            let read = report(text);
            assert!(read.problems[0].contains(reason), "{:?}", read.problems);
        }
        let mut latin = TestReport::default();
        read(&mut latin, "a.xml", b"<testsuite name=\"\xe9\"/>");
        assert_eq!(latin.problems, ["a.xml: it is no text in UTF-8"]);
    }

    #[test]
    fn more_than_is_listed_is_counted() {
        let long = "x".repeat(100_000);
        let failing =
            format!("<testcase name='{long}'><failure message='m'>{long}</failure></testcase>");
        let text = format!(
            "<testsuite name='{long}'>{}</testsuite>",
            failing.repeat(300)
        );
        let report = report(&text);
        assert_eq!((report.total, report.failed), (300, 300));
        let listed = report.failures().count();
        assert!((30..60).contains(&listed), "{listed} are listed");
        let bytes = serde_json::to_vec(&report).expect("JSON").len();
        assert!(bytes < 1 << 20, "{bytes} bytes");
        assert!(report.summary().to_string().ends_with(" and 295 more"));
    }
}
