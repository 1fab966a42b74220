//! How a run ended, for a person.

use std::fmt::Write as _;

use crate::model::outcome::{Ending, Outcome, ProbeReport};
use crate::output::paint::{BOLD, CHANGED, GONE, NEW, paint};

/// The last words of a run.
#[must_use]
pub fn human(outcome: &Outcome) -> String {
    let mut text = String::new();
    let release = outcome
        .release
        .map(|release| format!("release {release}"))
        .unwrap_or_default();
    let active = outcome.active.map_or_else(
        || "nothing is live".to_owned(),
        |slot| format!("{slot} is active"),
    );
    let _ = match &outcome.ending {
        Ending::Done => match (outcome.waiting, &outcome.release) {
            (Some(slot), _) => writeln!(
                text,
                "{} {release} waits in {slot}; {active}.\nNext: `shipit promote {slot}` gives it live traffic, \
                 `shipit abort` gives it up.",
                paint(NEW, "Ready:")
            ),
            (None, Some(_)) => writeln!(text, "{} {release}; {active}.", paint(NEW, "Done:")),
            (None, None) => writeln!(text, "{} {active}.", paint(NEW, "Done:")),
        },
        Ending::NoChanges => writeln!(text, "{}", paint(BOLD, "No changes.")),
        Ending::Failed { reason } => {
            writeln!(
                text,
                "{} {reason}\nLive traffic was not touched; {active}.",
                paint(GONE, "Failed:")
            )
        }
        Ending::Reverted { reason } => {
            writeln!(
                text,
                "{} {reason}\nTraffic was moved back; {active}.",
                paint(GONE, "Reverted:")
            )
        }
        Ending::Stuck { reason, back } => writeln!(
            text,
            "{} {reason}\nThe way back failed too: {back}\nLook at `shipit status`, then run the same command \
             again or `shipit rollback`.",
            paint(GONE, "Stuck:")
        ),
        Ending::Stale { reason } => writeln!(
            text,
            "{} {reason}\nNothing of it was changed; {active}. Look at a new plan with `shipit plan`.",
            paint(GONE, "Stale:")
        ),
        Ending::LockLost => writeln!(
            text,
            "{} another run has the lock now; this one stopped before its next effect.",
            paint(GONE, "Lock lost:")
        ),
        Ending::Killed => {
            writeln!(
                text,
                "{} run the same command again to go on.",
                paint(CHANGED, "Stopped at once:")
            )
        }
        Ending::Interrupted { reverted: true } => {
            writeln!(
                text,
                "{} traffic had moved and was moved back; {active}.",
                paint(CHANGED, "Interrupted:")
            )
        }
        Ending::Interrupted { reverted: false } => writeln!(
            text,
            "{} {active}. What was prepared stays; run the same command again to go on.",
            paint(CHANGED, "Interrupted:")
        ),
    };
    if let Some(probe) = &outcome.probe {
        let _ = writeln!(text, "{}", measured(probe));
    }
    for url in &outcome.urls {
        let _ = writeln!(
            text,
            "  {} {} ({})",
            url.service,
            paint(BOLD, &url.url),
            url.slot
        );
    }
    text
}

/// What the prober measured, in a line.
#[must_use]
pub fn measured(probe: &ProbeReport) -> String {
    let millis = probe.slowest_micros / 1000;
    let tenths = probe.slowest_micros % 1000 / 100;
    let verdict = format!("{} of {} requests failed", probe.failures, probe.requests);
    let style = if probe.failures == 0 { NEW } else { GONE };
    format!(
        "Probed while switching: {}, slowest {millis}.{tenths} ms",
        paint(style, verdict)
    )
}
