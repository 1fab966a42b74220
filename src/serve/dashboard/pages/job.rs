//! The page of a job.

use maud::{Markup, html};

use super::super::foreign::{line, log};
use super::parts::{DOT, Tone, ago, changed, commit, kind, length, reference, sign, state, tone};
use super::{Follow, Frame, Section, jobs, steps};
use crate::model::job::{Job, JobEnding, JobState};
use crate::model::job_report::JobReport;
use crate::ops::doors::jobs::JobView;
use crate::ops::doors::lists::LogTail;

/// What is shown of a job.
#[derive(Debug, Clone)]
pub struct JobPage {
    /// The job.
    pub view: JobView,
    /// What it reports.
    pub report: JobReport,
    /// The end of its log.
    pub tail: LogTail,
    /// Whether whoever looks may stop it.
    pub may_cancel: bool,
    /// Whether whoever looks may have it done again.
    pub may_retry: bool,
}

/// The page of a job.
pub fn page(frame: &Frame<'_>, shown: &JobPage) -> Markup {
    let job = &shown.view.job;
    let number = job.number;
    let title = format!("#{number} {}", job.request.lane);
    let path = format!("/jobs/{number}?auto=1");
    let main = html! {
        (head(frame, shown))
        (banner(shown))
        div.columns {
            div.wide {
                (steps_section(frame, shown))
                (log_section(shown))
            }
            aside aria-label="About this job" { (facts(frame, shown)) }
        }
    };
    let follow = if job.is_open() {
        Follow::Again { path, every: 5 }
    } else {
        Follow::No
    };
    frame.page(Section::Jobs, &title, &follow, &main)
}

fn head(frame: &Frame<'_>, shown: &JobPage) -> Markup {
    let job = &shown.view.job;
    let request = &job.request;
    html! {
        div.head {
            p.crumbs {
                a href="/jobs" { "Jobs" } (DOT) a href={ "/p/" (request.lane) } { (request.lane) }
            }
            h1 {
                span.number { "#" (job.number) } " " (kind(request.kind)) " " (request.lane)
                " " (state(job))
            }
            (actions(frame, shown))
        }
    }
}

/// The buttons that there are for whoever looks.
fn actions(frame: &Frame<'_>, shown: &JobPage) -> Markup {
    let job = &shown.view.job;
    let is_told = matches!(
        job.state,
        JobState::Running {
            cancelled_by: Some(_),
            ..
        }
    );
    let number = job.number;
    html! {
        div.actions {
            @if job.is_open() && shown.may_cancel && !is_told {
                details.ask {
                    summary.button.danger { "Cancel…" }
                    form method="post" action={ "/jobs/" (number) "/cancel" } {
                        (frame.hidden())
                        p { (cancelling(job)) }
                        button.danger type="submit" { "Cancel job " (number) }
                    }
                }
            }
            @if !job.is_open() && shown.may_retry {
                form method="post" action={ "/jobs/" (number) "/retry" } {
                    (frame.hidden())
                    button type="submit" { "Run again" }
                }
            }
        }
    }
}

const fn cancelling(job: &Job) -> &'static str {
    match job.state {
        JobState::Running { .. } => {
            "It stops cleanly, as with Ctrl-C: a step that runs is finished or undone, and live \
             traffic stays whole."
        }
        _ => "It was not begun, and will not be.",
    }
}

/// What is to be seen first: why it waits, or why it ended as it did.
fn banner(shown: &JobPage) -> Markup {
    let job = &shown.view.job;
    html! {
        @if let Some(reason) = jobs::reason(&shown.view) {
            p.banner.(tone(job).class()) {
                (sign(tone(job)))
                span { strong { (word(job)) } " " (line(without(&reason, word(job)))) }
            }
        }
    }
}

/// A reason that does not begin with the word that stands before it.
fn without<'a>(reason: &'a str, word: &str) -> &'a str {
    reason.strip_prefix(word).unwrap_or(reason).trim_start()
}

const fn word(job: &Job) -> &'static str {
    match &job.state {
        JobState::Waiting { .. } => "It",
        JobState::Running { .. } => "Stopping:",
        JobState::Ended { ending, .. } => match ending {
            JobEnding::Succeeded => "Done:",
            JobEnding::Failed { .. } => "Failed:",
            JobEnding::Reverted { .. } => "Failed, and traffic was moved back:",
            JobEnding::Locked => "Locked:",
            JobEnding::Stale { .. } => "Stale:",
            JobEnding::Refused { .. } => "Refused:",
            JobEnding::Cancelled { .. } => "Cancelled",
            JobEnding::Superseded { .. } => "Superseded",
            JobEnding::Lost { .. } => "Lost:",
        },
    }
}

fn steps_section(frame: &Frame<'_>, shown: &JobPage) -> Markup {
    let is_open = shown.view.job.is_open();
    let all = steps::shown(&shown.report, is_open, frame.now);
    html! {
        @if is_open || !all.is_empty() {
            section.card.steps aria-labelledby="steps-title" {
                h2 #steps-title { "Steps" }
                (steps::list(&all))
                @if all.is_empty() { p.empty { "None has begun." } }
            }
        }
    }
}

fn log_section(shown: &JobPage) -> Markup {
    let (job, tail) = (&shown.view.job, &shown.tail);
    let events = job.is_open().then(|| {
        let number = job.number;
        format!("/jobs/{number}/events?is={}", job.word())
    });
    html! {
        section.card.log aria-labelledby="log-title" {
            div.bar {
                h2 #log-title { "Log" }
                a href={ "/jobs/" (job.number) "/log" } { "Whole log as text" }
            }
            @if tail.left_out > 0 {
                p.note { "The first " (size(tail.left_out)) " are left out here." }
            }
            // The keyboard can move it.
            pre tabindex="0" data-events=[events] data-from=(tail.next) {
                code #log { (log(&tail.text)) }
            }
            @if tail.text.is_empty() && !job.is_open() { p.empty { "It wrote nothing." } }
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

fn facts(frame: &Frame<'_>, shown: &JobPage) -> Markup {
    let (job, report) = (&shown.view.job, &shown.report);
    let request = &job.request;
    html! {
        dl.card {
            div { dt { "Ref" } dd { (reference(&request.reference)) } }
            @if let Some(of) = &report.commit {
                div {
                    dt { "Commit" }
                    dd {
                        (commit(&of.commit)) " " (line(&of.title))
                        @if !of.author.is_empty() { br; small { "by " (line(&of.author)) } }
                    }
                }
            } @else if let Some(hash) = &request.commit {
                div { dt { "Commit" } dd { (commit(hash)) } }
            }
            div { dt { "By" } dd { (line(&request.by.to_string())) } }
            div { dt { "Asked" } dd { (ago(job.created, frame.now)) } }
            @if !matches!(job.state, JobState::Waiting { .. }) {
                div {
                    dt { (if job.is_open() { "Running" } else { "Over" }) }
                    dd {
                        @if job.is_open() { "for " (length(changed(job), frame.now)) }
                        @else { (ago(changed(job), frame.now)) }
                    }
                }
            }
            @if job.attempt > 1 { div { dt { "Attempt" } dd { (job.attempt) } } }
            @if let Some(first) = request.retry_of {
                div { dt { "Runs again" } dd { a href={ "/jobs/" (first) } { "#" (first) } } }
            }
        }
        (standing(report))
    }
}

/// How the environment stood at the job's end.
pub fn standing(report: &JobReport) -> Markup {
    let Some(standing) = &report.standing else {
        return html! {};
    };
    html! {
        dl.card {
            @if let Some(slot) = standing.live {
                div { dt { "Live slot" } dd { span.slot.(slot.as_str()) { (slot.as_str()) } } }
            }
            @if let Some(release) = standing.release {
                div { dt { "Release" } dd { (release) } }
            }
            @if let Some(release) = standing.waiting {
                div {
                    dt { "Waiting" }
                    dd { (sign(Tone::Warn)) " release " (release) " waits for its promotion" }
                }
            }
            @for (what, url) in &standing.urls {
                div { dt { (line(what)) } dd { (link(url)) } }
            }
        }
    }
}

/// An address of a service. One that is no address of the web is only a text.
fn link(url: &str) -> Markup {
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    html! {
        @if is_web && line(url) == url {
            a href=(url) rel="noreferrer noopener" { (url) }
        } @else { (line(url)) }
    }
}
