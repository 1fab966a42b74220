//! The texts of what is told and recorded, without the values that are in them. Names, numbers and
//! addresses stay as they are: they come from the configuration, and what is read back must be what
//! was written.

use crate::model::event::Event;
use crate::model::journal::{JournalEntry, What};
use crate::model::notice::{Delivery, Notice, OutboxEntry};
use crate::model::outcome::{Ending, Outcome, ProbeReport};
use crate::model::release::{Release, ReleaseStatus};
use crate::model::state::State;
use crate::model::task::TaskRecord;
use crate::model::test_report::TestSummary;
use crate::redact::Redactor;

impl Redactor {
    /// What happened, without any value.
    #[must_use]
    pub fn event(&self, event: Event) -> Event {
        match event {
            Event::Began { .. } => event,
            Event::StepBegan {
                step,
                direction,
                address,
                title,
            } => Event::StepBegan {
                step,
                direction,
                address,
                title: self.text(&title),
            },
            Event::StepSaid { step, line } => Event::StepSaid {
                step,
                line: self.text(&line),
            },
            Event::StepDone {
                step,
                direction,
                address,
                result,
                millis,
            } => Event::StepDone {
                step,
                direction,
                address,
                result: self.text(&result),
                millis,
            },
            Event::StepFailed {
                step,
                direction,
                address,
                reason,
                detail,
            } => Event::StepFailed {
                step,
                direction,
                address,
                reason: self.text(&reason),
                detail: self.lines(detail),
            },
            Event::Tested {
                step,
                address,
                report,
            } => Event::Tested {
                step,
                address,
                report: Box::new(report.map(&|text| self.text(text))),
            },
            Event::GoingBack { reason } => Event::GoingBack {
                reason: self.text(&reason),
            },
            Event::Probed { report } => Event::Probed {
                report: self.report(report),
            },
            Event::Note { text } => Event::Note {
                text: self.text(&text),
            },
            Event::Ended { outcome } => Event::Ended {
                outcome: self.outcome(outcome),
            },
        }
    }

    /// How a run ended, without any value.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        Outcome {
            ending: self.ending(outcome.ending),
            probe: outcome.probe.map(|report| self.report(report)),
            notes: self.lines(outcome.notes),
            ..outcome
        }
    }

    /// A line of the journal, without any value. A plan has none: it is made before one is read.
    #[must_use]
    pub fn entry(&self, entry: JournalEntry) -> JournalEntry {
        let what = match entry.what {
            What::Failed { step, back, reason } => What::Failed {
                step,
                back,
                reason: self.text(&reason),
            },
            What::Ended { ending, release } => What::Ended {
                ending: self.ending(ending),
                release,
            },
            What::Began {
                actor,
                plan,
                hash,
                approval,
                outside_window,
                fence,
            } => What::Began {
                actor,
                plan,
                hash,
                approval,
                outside_window: outside_window.map(|reason| self.text(&reason)),
                fence,
            },
            What::Task {
                step,
                record,
                output,
            } => What::Task {
                step,
                record: Box::new(self.task(*record)),
                output: self.lines(output),
            },
            What::Hook { name, failed } => What::Hook {
                name,
                failed: failed.map(|reason| self.text(&reason)),
            },
            other @ (What::Intent { .. } | What::Done { .. }) => other,
        };
        JournalEntry { what, ..entry }
    }

    /// What is to be reported, without any value.
    #[must_use]
    pub fn notice(&self, entry: OutboxEntry) -> OutboxEntry {
        let notice = entry.notice;
        let optional = |text: Option<String>| text.map(|text| self.text(&text));
        let notice = Notice {
            command: self.text(&notice.command),
            summary: self.text(&notice.summary),
            commit: optional(notice.commit),
            branch: optional(notice.branch),
            actor: self.text(&notice.actor),
            page: optional(notice.page),
            reason: optional(notice.reason),
            notes: self.lines(notice.notes),
            ..notice
        };
        let deliveries = entry.deliveries.into_iter().map(|(name, delivery)| {
            let reason = optional(delivery.reason);
            (name, Delivery { reason, ..delivery })
        });
        OutboxEntry {
            notice,
            deliveries: deliveries.collect(),
        }
    }

    /// The state, without any value.
    #[must_use]
    pub fn state(&self, state: State) -> State {
        let releases = state.releases.into_iter();
        State {
            releases: releases.map(|release| self.release(release)).collect(),
            ..state
        }
    }

    fn release(&self, release: Release) -> Release {
        let status = match release.status {
            ReleaseStatus::Failed { reason } => ReleaseStatus::Failed {
                reason: self.text(&reason),
            },
            ReleaseStatus::Reverted { reason } => ReleaseStatus::Reverted {
                reason: self.text(&reason),
            },
            other @ (ReleaseStatus::Waiting
            | ReleaseStatus::Live
            | ReleaseStatus::Superseded
            | ReleaseStatus::Aborted) => other,
        };
        Release {
            status,
            probe: release.probe.map(|report| self.report(report)),
            outside_window: release.outside_window.map(|reason| self.text(&reason)),
            tasks: release.tasks.into_iter().map(|it| self.task(it)).collect(),
            ..release
        }
    }

    fn task(&self, record: TaskRecord) -> TaskRecord {
        TaskRecord {
            log: self.lines(record.log),
            tests: record.tests.map(|tests| TestSummary {
                failing: self.lines(tests.failing),
                ..tests
            }),
            ..record
        }
    }

    fn ending(&self, ending: Ending) -> Ending {
        match ending {
            Ending::Failed { reason } => Ending::Failed {
                reason: self.text(&reason),
            },
            Ending::Refused { reason } => Ending::Refused {
                reason: self.text(&reason),
            },
            Ending::Reverted { reason } => Ending::Reverted {
                reason: self.text(&reason),
            },
            Ending::RollbackFailed { reason, back } => Ending::RollbackFailed {
                reason: self.text(&reason),
                back: self.text(&back),
            },
            Ending::Stale { reason } => Ending::Stale {
                reason: self.text(&reason),
            },
            Ending::Done
            | Ending::NoChanges
            | Ending::LockLost
            | Ending::Killed
            | Ending::Interrupted { .. } => ending,
        }
    }

    fn report(&self, report: ProbeReport) -> ProbeReport {
        ProbeReport {
            examples: self.lines(report.examples),
            ..report
        }
    }
}
