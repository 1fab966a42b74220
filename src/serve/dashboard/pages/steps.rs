//! The steps of a job: on its page, and as they happen.

use jiff::Timestamp;
use maud::{Markup, html};
use serde::Serialize;

use super::super::foreign::line;
use super::parts::length;
use crate::model::job_report::{JobReport, JobStep, StepEnding};

/// A step as it is shown; the script of the page makes the same of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownStep {
    is: &'static str,
    name: String,
    took: String,
    result: String,
}

/// The steps as they are shown. Of a job that is over, what did not end was cut off.
pub fn shown(report: &JobReport, is_open: bool, now: Timestamp) -> Vec<ShownStep> {
    let one = |step: &JobStep| match &step.ended {
        None if is_open => of(step, "running", length(step.began, now), ""),
        None => of(step, "cut", String::new(), "it was cut off"),
        Some((at, StepEnding::Done { result })) => {
            of(step, "done", length(step.began, *at), result)
        }
        Some((at, StepEnding::Failed { reason })) => {
            of(step, "failed", length(step.began, *at), reason)
        }
    };
    report.steps.iter().map(one).collect()
}

fn of(step: &JobStep, is: &'static str, took: String, result: &str) -> ShownStep {
    ShownStep {
        is,
        name: line(&step.name),
        took,
        result: line(result),
    }
}

/// The list.
pub fn list(steps: &[ShownStep]) -> Markup {
    html! {
        ol #steps {
            @for step in steps {
                li.step.(step.is) {
                    span.name { (step.name) }
                    " " span.took { (step.took) }
                    @if !step.result.is_empty() { " " span.result { (step.result) } }
                }
            }
        }
    }
}
