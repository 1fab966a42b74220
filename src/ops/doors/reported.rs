//! What a run's events mean for the report of its job.

use jiff::Timestamp;

use crate::model::event::Event;
use crate::model::job_report::{JobMark, Standing};
use crate::model::journal::Direction;
use crate::model::outcome::Outcome;
use crate::model::plan::StepId;

/// The mark that an event leaves; none where it is for the log alone.
#[must_use]
pub fn mark(event: &Event, now: Timestamp) -> Option<JobMark> {
    match event {
        Event::StepBegan {
            step,
            direction,
            address,
            title,
        } => {
            let name = match direction {
                Direction::Forward => format!("{title} {address}"),
                Direction::Back => format!("going back: {title} {address}"),
            };
            Some(JobMark::began(key(*direction, *step), &name, now))
        }
        Event::StepDone {
            step,
            direction,
            result,
            ..
        } => Some(JobMark::done(key(*direction, *step), result, now)),
        Event::StepFailed {
            step,
            direction,
            reason,
            ..
        } => Some(JobMark::failed(key(*direction, *step), reason, now)),
        Event::Ended { outcome } => Some(JobMark::Standing(standing(outcome))),
        Event::Began { .. }
        | Event::StepSaid { .. }
        | Event::Tested { .. }
        | Event::GoingBack { .. }
        | Event::Probed { .. }
        | Event::Note { .. } => None,
    }
}

fn key(direction: Direction, step: StepId) -> String {
    match direction {
        Direction::Forward => format!("forward {step}"),
        Direction::Back => format!("back {step}"),
    }
}

/// The most addresses of services that are kept.
const MOST_URLS: usize = 20;

fn standing(outcome: &Outcome) -> Standing {
    let live = outcome.traffic.slot();
    // Where a release that waits can be looked at is its own affair.
    let urls = outcome.urls.iter().filter(|url| Some(url.slot) == live);
    Standing {
        release: outcome.release,
        live,
        waiting: outcome.waiting.and(outcome.waiting_release),
        urls: urls
            .map(|url| (url.what(), url.url.clone()))
            .take(MOST_URLS)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Slot;
    use crate::model::job_report::{JobReport, StepEnding};
    use crate::model::outcome::{Ending, Url};
    use crate::model::{Address, LiveTraffic, ReleaseNumber};

    #[test]
    fn a_run_that_goes_back_has_both_directions_as_steps() {
        let now = Timestamp::from_second(1).expect("a time");
        let (step, address) = (StepId(0), Address::Traffic);
        let began = |direction| Event::StepBegan {
            step,
            direction,
            address: address.clone(),
            title: "switch".to_owned(),
        };
        let events = [
            began(Direction::Forward),
            Event::StepFailed {
                step,
                direction: Direction::Forward,
                address: address.clone(),
                reason: "no answer".to_owned(),
                detail: Vec::new(),
            },
            began(Direction::Back),
            Event::StepDone {
                step,
                direction: Direction::Back,
                address: address.clone(),
                result: String::new(),
                millis: 1,
            },
        ];
        let report = JobReport::of(events.iter().filter_map(|event| mark(event, now)));
        let names: Vec<&str> = report.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["switch traffic", "going back: switch traffic"]);
        let is_done = |ended: &Option<(Timestamp, StepEnding)>| {
            matches!(ended, Some((_, StepEnding::Done { .. })))
        };
        assert!(!is_done(&report.steps[0].ended) && is_done(&report.steps[1].ended));
    }

    #[test]
    fn the_end_says_what_is_live_and_what_waits() {
        let url = |slot: Slot, url: &str| Url {
            service: "web".parse().expect("a name"),
            port: None,
            slot,
            url: url.to_owned(),
            trust: Vec::new(),
        };
        let outcome = Outcome {
            ending: Ending::Done,
            release: Some(ReleaseNumber(42)),
            aborted: None,
            traffic: LiveTraffic::All(Slot::Blue),
            waiting: Some(Slot::Green),
            waiting_release: Some(ReleaseNumber(42)),
            urls: vec![url(Slot::Blue, "http://a"), url(Slot::Green, "http://b")],
            probe: None,
            notes: Vec::new(),
        };
        assert_eq!(
            standing(&outcome),
            Standing {
                release: Some(ReleaseNumber(42)),
                live: Some(Slot::Blue),
                waiting: Some(ReleaseNumber(42)),
                urls: vec![("web".to_owned(), "http://a".to_owned())],
            }
        );
    }
}
