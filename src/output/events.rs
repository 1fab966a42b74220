//! A run as it happens: a live view at a terminal, plain lines elsewhere, one JSON document a line
//! for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::Address;
use crate::model::event::Event;
use crate::model::journal::Direction;
use crate::model::plan::StepId;
use crate::model::test_report::TestReport;
use crate::output::outcome::measured;
use crate::output::paint::{CHANGED, DIM, GONE, NEW};
use crate::output::{Format, Kind, Line, Page, Screen, Verbosity, paints_messages};

/// Shows events as they come. Human forms go to stderr, documents to stdout.
pub struct View {
    screen: Screen,
    inner: Mutex<Inner>,
}

enum Inner {
    Json,
    Faults,
    Lines,
    Live(Live),
}

/// The steps under way, each with a spinner, and below it what it waits for.
struct Live {
    screen: Screen,
    bars: MultiProgress,
    steps: BTreeMap<(bool, StepId), Step>,
}

/// A step under way.
struct Step {
    bar: ProgressBar,
    name: Line,
    /// What it waits for and how each of them is, a row each.
    rows: BTreeMap<String, ProgressBar>,
}

/// What is said of a thing that is no longer waited for.
const READY: &str = "ready";

/// How many things that a step waits for have a row of their own.
const ROWS: usize = 12;

impl View {
    /// The view that fits the format and the terminal.
    #[must_use]
    pub fn new(format: Format, screen: Screen) -> Self {
        let inner = match format {
            Format::Json => Inner::Json,
            _ if screen.verbosity() == Verbosity::Quiet => Inner::Faults,
            _ if std::io::stderr().is_terminal() => Inner::Live(Live {
                screen: screen.clone(),
                bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
                steps: BTreeMap::new(),
            }),
            _ => Inner::Lines,
        };
        Self {
            screen,
            inner: Mutex::new(inner),
        }
    }

    /// Shows one event.
    pub fn show(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *inner {
            Inner::Json => self.screen.document_line(Kind::Event, event),
            Inner::Faults if is_fault(event) => self.screen.alert(&words(event)),
            Inner::Faults => {}
            Inner::Lines => {
                self.screen.detail(&began(event));
                self.screen.say(&words(event));
            }
            Inner::Live(live) => live.show(event),
        }
    }
}

impl Live {
    fn show(&mut self, event: &Event) {
        match event {
            Event::StepBegan {
                step,
                direction,
                address,
                title,
            } => {
                let name = title_of(*direction, address, title);
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(
                    ProgressStyle::with_template(spinner())
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                bar.set_message(self.screen.live(&name));
                bar.enable_steady_tick(Duration::from_millis(100));
                let step = (*direction == Direction::Back, *step);
                self.steps.insert(
                    step,
                    Step {
                        bar,
                        name,
                        rows: BTreeMap::new(),
                    },
                );
                return;
            }
            Event::StepSaid { step, line } => {
                // A step goes forward or back, and not both at a time.
                let under_way = if self.steps.contains_key(&(true, *step)) {
                    (true, *step)
                } else {
                    (false, *step)
                };
                if let Some(step) = self.steps.get_mut(&under_way) {
                    step.say(&self.bars, &self.screen, line);
                }
                if self.screen.verbosity() != Verbosity::Verbose {
                    return;
                }
            }
            Event::StepDone {
                step, direction, ..
            }
            | Event::StepFailed {
                step, direction, ..
            } => {
                if let Some(step) = self.steps.remove(&(*direction == Direction::Back, *step)) {
                    step.rows.values().for_each(ProgressBar::finish_and_clear);
                    step.bar.finish_and_clear();
                }
            }
            _ => {}
        }

        for line in words(event) {
            let _ = self.bars.println(self.screen.live(&line));
        }
    }
}

/// A row of a step under way.
fn spinner() -> &'static str {
    if paints_messages() {
        "  {spinner} {msg} {elapsed:.dim}"
    } else {
        "  {spinner} {msg} {elapsed}"
    }
}

impl Step {
    /// Shows what a step said: how one of the things is that it waits for, in that thing's row;
    /// anything else beside the step's name.
    fn say(&mut self, bars: &MultiProgress, screen: &Screen, line: &str) {
        let Some((what, how)) = waits_for(line) else {
            let short: String = line.chars().take(80).collect();
            let beside = self.name.clone().text(" ").paint(DIM, short);
            self.bar.set_message(screen.live(&beside));
            return;
        };

        if how == READY {
            if let Some(row) = self.rows.remove(what) {
                row.finish_and_clear();
                bars.remove(&row);
            }
        } else if self.rows.len() < ROWS || self.rows.contains_key(what) {
            let above = self
                .rows
                .range(..what.to_owned())
                .next_back()
                .map_or(&self.bar, |(_, row)| row)
                .clone();
            let row = self.rows.entry(what.to_owned()).or_insert_with(|| {
                let row = bars.insert_after(&above, ProgressBar::new_spinner());
                row.set_style(
                    ProgressStyle::with_template("      {wide_msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                row
            });
            let shown = Line::from(format!("{what:<40} ")).paint(DIM, how);
            row.set_message(screen.live(&shown));
        }
    }
}

/// What a line is about and how that is, when it is about an object that is waited for:
/// `Deployment/web: 1 of 2 pods are ready`.
fn waits_for(line: &str) -> Option<(&str, &str)> {
    let (what, how) = line.split_once(": ")?;
    let is_object = what.contains('/')
        && what.starts_with(char::is_uppercase)
        && !what.contains(char::is_whitespace);
    is_object.then_some((what, how))
}

fn title_of(direction: Direction, address: &Address, title: &str) -> Line {
    let arrow = if direction == Direction::Back {
        "↩ "
    } else {
        ""
    };
    format!("{arrow}{address}: {title}").into()
}

/// Whether it is said even where only errors are.
const fn is_fault(event: &Event) -> bool {
    matches!(event, Event::StepFailed { .. } | Event::GoingBack { .. })
}

/// That a step begins.
fn began(event: &Event) -> Page {
    match event {
        Event::StepBegan {
            direction,
            address,
            title,
            ..
        } => Page::of(Line::from("  ").then(title_of(*direction, address, title))),
        _ => Page::new(),
    }
}

/// An event as plain lines; none for what only a live view shows.
#[must_use]
pub fn words(event: &Event) -> Page {
    match event {
        Event::StepBegan { .. } | Event::Ended { .. } | Event::Began { .. } => Page::new(),
        Event::StepSaid { line, .. } => quoted(line).collect(),
        Event::StepDone {
            direction,
            address,
            result,
            millis,
            ..
        } => {
            let sign = if *direction == Direction::Back {
                "↩"
            } else {
                "✓"
            };
            let line = Line::from("  ").paint(NEW, sign);
            let line = line.text(format!(" {address:<24} {result} "));
            Page::of(line.paint(DIM, format!("({})", seconds(*millis))))
        }
        Event::StepFailed {
            address,
            reason,
            detail,
            ..
        } => {
            let line = Line::from("  ").paint(GONE, "✗");
            let mut page = Page::of(line.text(format!(" {address:<24} {reason}")));
            page.extend(detail.iter().flat_map(|text| quoted(text)));
            page
        }
        Event::Tested { report, .. } => tested(report),
        Event::GoingBack { reason } => Page::of(
            Line::from("  ")
                .paint(CHANGED, "↩")
                .text(format!(" rolling back: {reason}")),
        ),
        Event::Probed { report } => Page::of(Line::from("    ").then(measured(report))),
        Event::Note { text } => Page::of(
            Line::from("  ")
                .paint(CHANGED, "note:")
                .text(" ")
                .text(text),
        ),
    }
}

/// What the tests of a task say, and what of them could not be read.
fn tested(report: &TestReport) -> Page {
    let style = if report.failed == 0 { NEW } else { GONE };
    let summary = report.summary().to_string();
    let line = Line::from("    ").paint(style, "tests:").text(" ");
    let mut page = Page::of(line.quote(summary));
    page.extend(report.problems.iter().flat_map(|text| quoted(text)));
    page
}

/// What somebody else wrote, each line behind a mark.
fn quoted(text: &str) -> impl Iterator<Item = Line> {
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    lines.map(|line| Line::from("      ").paint(DIM, "│").text(" ").quote(line))
}

fn seconds(millis: u64) -> String {
    if millis < 1000 {
        format!("{millis} ms")
    } else {
        format!("{}.{} s", millis / 1000, millis % 1000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_says_stands_behind_a_mark() {
        let said = Event::StepSaid {
            step: StepId(3),
            line: "Done: release 9; blue is active.\nforged".to_owned(),
        };
        let expected = "      │ Done: release 9; blue is active.\n      │ forged\n";
        assert_eq!(words(&said).plain(), expected);
    }

    #[test]
    fn what_a_step_waits_for_has_a_row_until_it_is_ready() {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut live = Live {
            screen: Screen::default(),
            bars,
            steps: BTreeMap::new(),
        };
        let (step, address, direction) = (StepId(3), Address::Traffic, Direction::Forward);
        let title = "wait".to_owned();
        live.show(&Event::StepBegan {
            step,
            direction,
            address: address.clone(),
            title,
        });
        let rows = |live: &mut Live, line: &str| -> Vec<String> {
            live.show(&Event::StepSaid {
                step,
                line: line.to_owned(),
            });
            live.steps[&(false, step)]
                .rows
                .values()
                .map(ProgressBar::message)
                .collect()
        };
        let lines = [
            ("Deployment/web: 0 of 2 pods are ready", vec!["0 of 2"]),
            (
                "Deployment/api: is not there yet",
                vec!["is not there", "0 of 2"],
            ),
            (
                "Deployment/web: 1 of 2 pods are ready",
                vec!["is not there", "1 of 2"],
            ),
            ("note: no object", vec!["is not there", "1 of 2"]),
            ("Deployment/api: ready", vec!["1 of 2"]),
        ];
        for (line, wanted) in lines {
            let shown = rows(&mut live, line);
            assert_eq!(shown.len(), wanted.len(), "after `{line}`: {shown:?}");
            assert!(
                shown
                    .iter()
                    .zip(&wanted)
                    .all(|(row, part)| row.contains(part)),
                "{shown:?}"
            );
        }
        let row = live.steps[&(false, step)].rows["Deployment/web"].clone();
        live.show(&Event::StepDone {
            step,
            direction,
            address,
            result: "ready".to_owned(),
            millis: 1,
        });
        assert!(
            row.is_finished() && live.steps.is_empty(),
            "the rows go with their step"
        );
    }
}
