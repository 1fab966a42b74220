//! What several pages have: how a job stands, times, refs, who asked.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use super::super::foreign::line;
use crate::model::job::{Job, JobEnding, JobKind, JobRequest, JobState};

/// How something stands, for the eye: each has its colour and its sign, and a word beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It failed.
    Bad,
    /// It was not done, and somebody may want to know why.
    Warn,
    /// It is under way.
    Busy,
    /// Nothing happens.
    Idle,
}

impl Tone {
    /// As the style calls it.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Busy => "busy",
            Self::Idle => "idle",
        }
    }

    /// The lines of its sign.
    const fn sign(self) -> &'static str {
        match self {
            Self::Good => "m4.5 8.3 2.4 2.4 4.8-5",
            Self::Bad => "m5.3 5.3 5.4 5.4m0-5.4-5.4 5.4",
            Self::Warn => "M8 4.4v4.4M8 11.2v.4",
            Self::Busy => "M8 4.2V8l2.6 1.7",
            Self::Idle => "M5.2 8h5.6",
        }
    }
}

/// The sign of how something stands.
pub fn sign(tone: Tone) -> Markup {
    html! {
        svg.sign.(tone.class()) viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {
            circle cx="8" cy="8" r="7" {}
            path d=(tone.sign()) {}
        }
    }
}

/// How something stands, in a word.
pub fn chip(tone: Tone, word: &str) -> Markup {
    html! { span.chip.(tone.class()) { (sign(tone)) (line(word)) } }
}

/// How a job stands, for the eye.
pub const fn tone(job: &Job) -> Tone {
    match &job.state {
        JobState::Waiting { .. } => Tone::Idle,
        JobState::Running { .. } => Tone::Busy,
        JobState::Ended { ending, .. } => match ending {
            JobEnding::Succeeded => Tone::Good,
            JobEnding::Failed { .. } | JobEnding::Reverted { .. } | JobEnding::Lost { .. } => {
                Tone::Bad
            }
            JobEnding::Refused { .. } | JobEnding::Stale { .. } | JobEnding::Locked => Tone::Warn,
            JobEnding::Cancelled { .. } | JobEnding::Superseded { .. } => Tone::Idle,
        },
    }
}

/// How a job stands, in a word.
pub fn state(job: &Job) -> Markup {
    let word = match &job.state {
        JobState::Running {
            cancelled_by: Some(_),
            ..
        } => "stopping",
        _ => job.word(),
    };
    chip(tone(job), word)
}

/// What a job does.
pub const fn kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Apply => "Deploy",
        JobKind::Plan => "Plan",
    }
}

/// When a job last changed.
pub const fn changed(job: &Job) -> Timestamp {
    match &job.state {
        JobState::Waiting { .. } => job.created,
        JobState::Running { since, .. } => *since,
        JobState::Ended { at, .. } => *at,
    }
}

/// A time, as how long ago it is; the time itself is its title.
pub fn ago(at: Timestamp, now: Timestamp) -> Markup {
    let whole = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let title = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(whole) title=(title) { (since(at, now)) } }
}

fn since(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match seconds {
        ..-60 => at.strftime("%Y-%m-%d %H:%M").to_string(),
        -60..10 => "just now".to_owned(),
        10..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{minutes} min ago"),
        3_600..86_400 => format!("{hours} h ago"),
        86_400..172_800 => "yesterday".to_owned(),
        172_800..2_592_000 => format!("{} days ago", hours / 24),
        _ => at.strftime("%Y-%m-%d").to_string(),
    }
}

/// How long something took.
pub fn length(from: Timestamp, to: Timestamp) -> String {
    let duration = Duration::try_from(to.duration_since(from)).unwrap_or_default();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// The lines of the sign of a branch.
const BRANCH: &str = "M4.5 4.6v6.8M4.5 9.6c0-2.8 7-1 7-4.4M6.1 3a1.6 1.6 0 1 1-3.2 0 1.6 1.6 0 0 1 3.2 \
                      0zM6.1 13a1.6 1.6 0 1 1-3.2 0 1.6 1.6 0 0 1 3.2 0zM13.1 3.6a1.6 1.6 0 1 1-3.2 0 \
                      1.6 1.6 0 0 1 3.2 0z";

/// A ref by its short name, with the sign of a branch or a tag.
pub fn reference(name: &str) -> Markup {
    let (lines, kind, short) = match name.strip_prefix("refs/tags/") {
        Some(tag) => ("M2.5 2.5h5l6 6-5 5-6-6zM5.3 5.3v.1", "tag", tag),
        None => (
            BRANCH,
            "branch",
            name.strip_prefix("refs/heads/").unwrap_or(name),
        ),
    };
    html! {
        span.ref title=(line(name)) {
            svg.mark viewBox="0 0 16 16" width="14" height="14" role="img" aria-label=(kind) {
                path d=(lines) {}
            }
            (line(short))
        }
    }
}

/// A commit, short.
pub fn commit(hash: &str) -> Markup {
    let short: String = hash.chars().take(8).collect();
    html! { code.commit title=(line(hash)) { (line(&short)) } }
}

/// The ref and the commit that a job is for.
pub fn what(request: &JobRequest) -> Markup {
    html! {
        (reference(&request.reference))
        @if let Some(hash) = &request.commit { " " (commit(hash)) }
    }
}

/// A link to older ones; nothing where there are none.
pub fn older(path: Option<&str>) -> Markup {
    html! {
        @if let Some(path) = path {
            nav.pages aria-label="Pages" { a.button rel="next" href=(path) { "Older" } }
        }
    }
}

/// A blank between two parts of a line.
pub const DOT: PreEscaped<&str> = PreEscaped(r#" <span class="dot" aria-hidden="true">·</span> "#);
