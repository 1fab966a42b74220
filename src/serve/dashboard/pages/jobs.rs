//! The list of jobs.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::foreign::line;
use super::parts::{DOT, ago, changed, kind, older, state, what};
use super::{Follow, Frame, Section};
use crate::model::job::{JobState, Lane};
use crate::ops::doors::jobs::JobView;
use crate::ops::doors::lists::JobsPage;

/// The page of jobs, all of them or those of an environment.
pub fn page(frame: &Frame<'_>, lane: Option<&Lane>, jobs: &JobsPage, stamp: &str) -> Markup {
    let query = lane.map(|lane| format!("lane={lane}&"));
    let query = query.unwrap_or_default();
    let next = jobs
        .older
        .map(|number| format!("/jobs?{query}before={number}"));
    let main = html! {
        div.head {
            h1 { "Jobs" }
            @if let Some(lane) = lane {
                p.filter { "of " a href={ "/p/" (lane) } { (lane) } (DOT) a href="/jobs" { "show all" } }
            }
        }
        @if jobs.jobs.is_empty() {
            p.empty { "There are no jobs here. A push, a webhook or " code { "shipit trigger" }
                " makes one." }
        } @else {
            div data-events="/events" data-from=(stamp) { (list(&jobs.jobs, frame.now)) }
        }
        (older(next.as_deref()))
    };
    let path = match lane {
        Some(lane) => format!("/jobs?lane={lane}&auto=1"),
        None => "/jobs?auto=1".to_owned(),
    };
    let follow = Follow::Again { path, every: 15 };
    frame.page(Section::Jobs, "Jobs", &follow, &main)
}

/// Jobs, one under the other.
pub fn list(jobs: &[JobView], now: Timestamp) -> Markup {
    html! {
        ul.rows { @for job in jobs { li { (row(job, now)) } } }
    }
}

fn row(view: &JobView, now: Timestamp) -> Markup {
    let job = &view.job;
    html! {
        a.row href={ "/jobs/" (job.number) } {
            span.title {
                span.number { "#" (job.number) }
                " " (kind(job.request.kind)) " "
                strong { (job.request.lane) }
            }
            (state(job))
            span.facts {
                (what(&job.request)) (DOT) (line(&job.request.by.to_string())) (DOT)
                (ago(changed(job), now))
            }
            @if let Some(reason) = reason(view) { span.reason { (line(&reason)) } }
        }
    }
}

/// Why a job waits, or why it ended as it did; none where there is nothing to say.
pub fn reason(view: &JobView) -> Option<String> {
    match &view.job.state {
        JobState::Waiting { .. } => view.waits_for.as_ref().map(|why| format!("waits {why}")),
        JobState::Running { cancelled_by, .. } => {
            let by = cancelled_by.as_ref();
            by.map(|by| format!("{by} has asked it to stop"))
        }
        JobState::Ended { ending, .. } => Some(ending.reason()).filter(|why| !why.is_empty()),
    }
}
