//! A run as it happens: a live view at a terminal, plain lines elsewhere, one JSON document a line for programs.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::Address;
use crate::model::event::Event;
use crate::model::journal::Direction;
use crate::model::plan::StepId;
use crate::output::Format;
use crate::output::outcome::measured;
use crate::output::paint::{CHANGED, DIM, GONE, NEW, paint};

/// Shows events as they come. Human forms go to stderr, documents to stdout.
pub struct View {
    inner: Mutex<Inner>,
}

enum Inner {
    Json,
    Lines,
    Live(Live),
}

/// The steps under way, each with a spinner.
struct Live {
    bars: MultiProgress,
    steps: BTreeMap<(bool, StepId), (ProgressBar, String)>,
}

impl View {
    /// The view that fits the format and the terminal.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let inner = match format {
            Format::Json => Inner::Json,
            _ if std::io::stderr().is_terminal() => Inner::Live(Live {
                bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
                steps: BTreeMap::new(),
            }),
            _ => Inner::Lines,
        };
        Self { inner: Mutex::new(inner) }
    }

    /// Shows one event.
    pub fn show(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *inner {
            Inner::Json => {
                let line = serde_json::to_string(event).unwrap_or_default();
                // A reader that went away does not stop a run.
                let _ = writeln!(std::io::stdout(), "{line}");
            }
            Inner::Lines => {
                for line in words(event) {
                    let _ = writeln!(anstream::stderr(), "{line}");
                }
            }
            Inner::Live(live) => live.show(event),
        }
    }
}

impl Live {
    fn show(&mut self, event: &Event) {
        match event {
            Event::StepBegan { step, direction, address, title } => {
                let name = title_of(*direction, address, title);
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(
                    ProgressStyle::with_template("  {spinner} {msg} {elapsed:.dim}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                bar.set_message(name.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                self.steps.insert((*direction == Direction::Back, *step), (bar, name));
                return;
            }
            Event::StepSaid { step, line } => {
                if let Some((bar, name)) =
                    self.steps.get(&(false, *step)).or_else(|| self.steps.get(&(true, *step)))
                {
                    let short: String = line.chars().take(80).collect();
                    bar.set_message(format!("{name} {}", paint(DIM, short)));
                }
                return;
            }
            Event::StepDone { step, direction, .. } | Event::StepFailed { step, direction, .. } => {
                if let Some((bar, _)) = self.steps.remove(&(*direction == Direction::Back, *step)) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        for line in words(event) {
            let _ = self.bars.println(line);
        }
    }
}

fn title_of(direction: Direction, address: &Address, title: &str) -> String {
    let arrow = if direction == Direction::Back { "↩ " } else { "" };
    format!("{arrow}{address}: {title}")
}

/// An event as plain lines; none for what only a live view shows.
fn words(event: &Event) -> Vec<String> {
    match event {
        Event::StepBegan { .. } | Event::Ended { .. } | Event::Began { .. } => Vec::new(),
        Event::StepSaid { line, .. } => vec![format!("      {}", paint(DIM, line))],
        Event::StepDone { direction, address, result, millis, .. } => {
            let sign = if *direction == Direction::Back { "↩" } else { "✓" };
            let took = paint(DIM, format!("({})", seconds(*millis)));
            vec![format!("  {} {address:<24} {result} {took}", paint(NEW, sign))]
        }
        Event::StepFailed { address, reason, detail, .. } => {
            let mut lines = vec![format!("  {} {address:<24} {reason}", paint(GONE, "✗"))];
            lines.extend(detail.iter().map(|line| format!("      {} {line}", paint(DIM, "│"))));
            lines
        }
        Event::GoingBack { reason } => vec![format!("  {} going back: {reason}", paint(CHANGED, "↩"))],
        Event::Probed { report } => vec![format!("    {}", measured(report))],
        Event::Note { text } => vec![format!("  {} {text}", paint(CHANGED, "note:"))],
    }
}

fn seconds(millis: u64) -> String {
    if millis < 1000 {
        format!("{millis} ms")
    } else {
        format!("{}.{} s", millis / 1000, millis % 1000 / 100)
    }
}
