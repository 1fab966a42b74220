//! How a run ended, for a person.

use crate::model::outcome::{Ending, Outcome, ProbeReport};
use crate::output::paint::{BOLD, CHANGED, GONE, NEW};
use crate::output::{Line, Page};

/// The last words of a run.
#[must_use]
pub fn human(outcome: &Outcome) -> Page {
    let mut page = ending(outcome);
    page.extend(outcome.probe.as_ref().map(measured));
    page.extend(outcome.notes.iter().map(Line::note));
    page.extend(outcome.urls.iter().map(|url| {
        Line::from(format!("  {} ", url.what()))
            .paint(BOLD, &url.url)
            .text(format!(" ({})", url.slot))
    }));
    page
}

fn ending(outcome: &Outcome) -> Page {
    let active = outcome.traffic.slot().map_or_else(
        || "nothing is live".to_owned(),
        |slot| format!("{slot} is active"),
    );
    let bad = |word: &str| Line::new().paint(GONE, word).text(" ");
    let odd = |word: &str| Line::new().paint(CHANGED, word).text(" ");
    let lines = match &outcome.ending {
        Ending::Done => return done(outcome, &active),
        Ending::NoChanges => vec![Line::new().paint(BOLD, "No changes.")],
        Ending::Failed { reason } => vec![
            bad("Failed:").text(reason),
            format!("Live traffic was not touched; {active}.").into(),
        ],
        Ending::Refused { reason } => vec![
            bad("Refused:").text(reason),
            format!("Live traffic was not touched; {active}.").into(),
            "Run the command again when it may be; a saved plan is made, and approved, anew."
                .into(),
        ],
        Ending::Reverted { reason } => vec![
            bad("Reverted:").text(reason),
            format!("Traffic was moved back; {active}.").into(),
        ],
        Ending::RollbackFailed { reason, back } => vec![
            bad("Failed:").text(reason),
            bad("Rollback failed:").text(back),
            "Look at `shipit status`, then run the same command again or `shipit rollback`.".into(),
        ],
        Ending::Stale { reason } => vec![
            bad("Stale:").text(reason),
            format!("It was left as it is; {active}. Look at a new plan with `shipit plan`.")
                .into(),
        ],
        Ending::LockLost => vec![bad("Lock lost:").text(
            "another run has the lock now, or it could not be renewed in time; this one \
                       stopped before its next effect.",
        )],
        Ending::Killed => {
            vec![odd("Stopped at once:").text("run the same command again to go on.")]
        }
        Ending::Interrupted { reverted: true } => vec![
            odd("Interrupted:").text(format!("traffic had moved and was moved back; {active}.")),
        ],
        Ending::Interrupted { reverted: false } => vec![odd("Interrupted:").text(format!(
            "{active}. What was prepared stays; run the same command again to go on."
        ))],
    };
    lines.into_iter().collect()
}

fn done(outcome: &Outcome, active: &str) -> Page {
    let release = outcome
        .release
        .map(|release| format!("release {release}"))
        .unwrap_or_default();
    let done = Line::new().paint(NEW, "Done:");
    if let Some(aborted) = outcome.aborted {
        let live = outcome.release.map_or_else(
            || active.to_owned(),
            |live| format!("release {live} is live, {active}"),
        );
        return Page::of(done.text(format!(" release {aborted} is given up; {live}.")));
    }
    let is_own = outcome.release == outcome.waiting_release;
    let mut page = match (outcome.waiting, outcome.release) {
        (Some(slot), Some(_)) if is_own => {
            let ready = Line::new().paint(NEW, "Ready:");
            Page::of(ready.text(format!(" {release} waits in {slot}; {active}.")))
        }
        (_, Some(_)) => Page::of(done.text(format!(" {release}; {active}."))),
        (_, None) => Page::of(done.text(format!(" {active}."))),
    };

    if let Some((slot, waiting)) = outcome.waiting.zip(outcome.waiting_release) {
        let which = if is_own {
            String::new()
        } else {
            format!("release {waiting} waits in {slot}: ")
        };
        page.line(format!(
            "Next: {which}`shipit promote {slot}` gives it live traffic, `shipit abort` gives it \
             up."
        ));
    }

    page
}

/// What the prober measured, in a line.
#[must_use]
pub fn measured(probe: &ProbeReport) -> Line {
    let millis = probe.slowest_micros / 1000;
    let tenths = probe.slowest_micros % 1000 / 100;
    let verdict = format!("{} of {} requests failed", probe.failures, probe.requests);
    let style = if probe.failures == 0 { NEW } else { GONE };
    let mut line = Line::from("Probed while switching: ")
        .paint(style, verdict)
        .text(format!(", slowest {millis}.{tenths} ms"));
    if probe.sent_again > 0 {
        line = line.text(format!(
            "; {} sent again: a kept connection was closed meanwhile",
            probe.sent_again
        ));
    }
    match probe.uncounted {
        0 => line,
        count => line.text(format!(
            "; {count} more are not counted: the connection to the other machine was lost meanwhile"
        )),
    }
}
