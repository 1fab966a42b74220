//! What faults in a plan would come to, as a person reads it.

use crate::model::outcome::Ending;
use crate::model::rehearsal::{
    Compared, EndState, Leftover, RehearsalReport, RehearsedFault, RehearsedStep,
};
use crate::output::paint::{BOLD, CHANGED, DIM, GONE, NEW};
use crate::output::{Exit, Line, Page};

/// How many things that are left are named.
const NAMED: usize = 6;

/// What each fault would come to, for a person.
#[must_use]
pub fn human(report: &RehearsalReport) -> Page {
    let mut page = Page::of(
        Line::default()
            .paint(BOLD, format!("{} → {}", report.project, report.environment))
            .text(format!(" · `shipit {}`, in memory", report.command)),
    );
    page.blank();
    page.line(
        Line::from("  without a fault  ")
            .then(came(&report.undisturbed))
            .text(live(&report.undisturbed)),
    );
    for step in &report.steps {
        page.blank();
        page.extend(of_step(step, &report.command));
    }

    page.blank();
    page.extend(broken(report));
    for note in &report.notes {
        page.line(Line::note(note));
    }
    page.line(summary(report));
    page
}

/// The same for a comment: what comes from outside is in a fence.
#[must_use]
pub fn markdown(report: &RehearsalReport) -> Page {
    let mut page = Page::of(format!(
        "### Rehearsal: {} → {}",
        report.project, report.environment
    ));
    page.blank();
    page.line(summary(report));
    page.blank();
    page.extend(human(report).fenced());
    page
}

fn summary(report: &RehearsalReport) -> String {
    let faults: usize = report.steps.iter().map(|step| step.faults.len()).sum();
    let broken = report.broken().count();
    let faults = match faults {
        1 => "1 fault".to_owned(),
        count => format!("{count} faults"),
    };
    match broken {
        0 => format!("Rehearsed {faults}: no rule is broken. Nothing real was touched."),
        1 => format!("Rehearsed {faults}: 1 rule is broken. Nothing real was touched."),
        count => format!("Rehearsed {faults}: {count} rules are broken. Nothing real was touched."),
    }
}

fn broken(report: &RehearsalReport) -> Page {
    let mut all: Vec<&String> = report.broken().collect();
    all.sort_unstable();
    all.dedup();
    let lines = all.into_iter();
    lines
        .map(|what| Line::from("  ").paint(GONE, "broken: ").text(what))
        .collect()
}

fn of_step(step: &RehearsedStep, command: &str) -> Page {
    let title = format!("  {} {}", step.step, step.address);
    let mut page = Page::of(
        Line::default()
            .paint(BOLD, title)
            .paint(DIM, format!("  {}", step.action)),
    );
    for fault in &step.faults {
        page.extend(of_fault(fault, command));
    }
    page
}

fn of_fault(fault: &RehearsedFault, command: &str) -> Page {
    let first = Line::from(format!("    {:<11}", fault.kind.as_str()))
        .then(came(&fault.end))
        .text(live(&fault.end));
    let mut page = Page::of(first);
    let indent = " ".repeat(15);
    if fault.next.is_some() && !fault.end.left.is_empty() {
        page.line(format!("{indent}left: {}", left(&fault.end.left)));
    }
    if let Some(next) = &fault.next {
        let does = match next.steps {
            0 => "finds nothing to do".to_owned(),
            1 => "takes 1 step".to_owned(),
            count => format!("takes {count} steps"),
        };
        page.line(
            Line::from(format!("{indent}next: `shipit {command}` {does}: "))
                .then(came(&next.end))
                .text(live(&next.end)),
        );
    }
    page
}

/// How it ended, and with which exit code.
fn came(end: &EndState) -> Line {
    let Some(ending) = &end.ending else {
        return Line::default().paint(CHANGED, "killed");
    };
    let word = match ending {
        Ending::Done => "done",
        Ending::NoChanges => "no changes",
        Ending::Failed { .. } => "failed",
        Ending::Refused { .. } => "refused",
        Ending::Reverted { .. } => "reverted",
        Ending::RollbackFailed { .. } => "rollback failed",
        Ending::Stale { .. } => "stale",
        Ending::LockLost => "lock lost",
        Ending::Killed => "stopped at once",
        Ending::Interrupted { .. } => "interrupted",
    };
    let exit = Exit::of(ending);
    let style = if exit == Exit::Done { NEW } else { CHANGED };
    Line::default()
        .paint(style, word)
        .text(format!(", exit {}", exit.code()))
}

fn live(end: &EndState) -> String {
    end.live.map_or_else(
        || " · nothing is live".to_owned(),
        |live| format!(" · release {} is live in {}", live.release, live.slot),
    )
}

/// What is not as it was, the first of it by name.
fn left(all: &[Leftover]) -> String {
    let one = |left: &Leftover| {
        let sign = match left.is {
            Compared::Added => '+',
            Compared::Changed => '~',
            Compared::Gone => '-',
        };
        format!("{sign} {}", left.address)
    };
    let mut named: Vec<String> = all.iter().take(NAMED).map(one).collect();
    if all.len() > NAMED {
        named.push(format!("{} more", all.len() - NAMED));
    }
    named.join(", ")
}
