//! The tasks that run by themselves: when next, and what became of the last time.

use jiff::Timestamp;

use crate::model::schedule::{ScheduleFacts, ScheduledRun};
use crate::output::Page;
use crate::output::status::{StatusView, ago};

/// A table of them; nothing where there are none.
pub(super) fn table(status: &StatusView, now: Timestamp) -> Page {
    let mut page = Page::default();
    if status.schedules.is_empty() {
        return page;
    }
    let header = ["TASK", "SERVICE", "SCHEDULE", "NEXT", "LAST"];
    let rows = status.schedules.iter().map(|it| {
        [
            it.task.to_string(),
            it.service.to_string(),
            it.schedule.to_string(),
            next(it, now),
            it.runs
                .first()
                .map_or_else(|| "-".to_owned(), |run| last(run, now)),
        ]
    });
    page.blank();
    page.extend(Page::table(header, rows.collect()));
    page
}

fn next(it: &ScheduleFacts, now: Timestamp) -> String {
    it.next.map_or_else(
        || "never: it is suspended".to_owned(),
        |next| format!("in {} ({next:.0})", ago(now, next)),
    )
}

fn last(run: &ScheduledRun, now: Timestamp) -> String {
    let when = format!("{} ago", ago(run.due, now));
    match (&run.outcome, run.began, run.ended) {
        (None, ..) => format!("runs, since {when}"),
        (Some(outcome), Some(began), Some(ended)) => {
            format!("{outcome}, {when}, took {}", ago(began, ended))
        }
        (Some(outcome), ..) => format!("{outcome}, {when}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schedule::{ScheduledOutcome, SkipReason};
    use crate::model::task::TaskExit;

    #[test]
    fn the_last_time_is_told_with_its_end() {
        let time = |text: &str| -> Timestamp { text.parse().expect("a time") };
        let now = time("2026-03-01T12:00:00Z");
        let mut run = ScheduledRun {
            due: time("2026-03-01T03:00:00Z"),
            slot: crate::model::Slot::Blue,
            release: None,
            began: Some(time("2026-03-01T03:00:00Z")),
            ended: None,
            outcome: None,
            log: Vec::new(),
        };
        assert_eq!(last(&run, now), "runs, since 9h ago");
        run.ended = Some(time("2026-03-01T03:02:00Z"));
        run.outcome = Some(ScheduledOutcome::Ended(TaskExit::Code(0)));
        assert_eq!(last(&run, now), "done, 9h ago, took 2m");
        run.outcome = Some(ScheduledOutcome::Ended(TaskExit::TimedOut));
        let said = last(&run, now);
        assert_eq!(
            said,
            "failed: it took longer than its timeout, 9h ago, took 2m"
        );
        run.began = None;
        run.outcome = Some(ScheduledOutcome::Skipped(SkipReason::Missed));
        let said = last(&run, now);
        assert_eq!(said, "missed: nobody could begin it at its time, 9h ago");
    }
}
