//! The overview of projects and environments, and the page of one environment.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::foreign::line;
use super::job::standing;
use super::parts::{DOT, Tone, ago, changed, chip, commit, kind, reference, state, what};
use super::{Follow, Frame, Section, jobs};
use crate::model::ProjectName;
use crate::model::job::JobKind;
use crate::ops::doors::lanes::{Deployed, LaneView};
use crate::ops::doors::lists::JobsPage;

/// The overview.
pub fn overview(frame: &Frame<'_>, lanes: &[LaneView], recent: &JobsPage, stamp: &str) -> Markup {
    let mut projects: BTreeMap<&ProjectName, Vec<&LaneView>> = BTreeMap::new();
    for lane in lanes {
        projects.entry(&lane.lane.project).or_default().push(lane);
    }
    let main = html! {
        div data-events="/events" data-from=(stamp) {
            h1 { "Environments" }
            @if lanes.is_empty() {
                p.empty { "There is no environment that this token may look at." }
            }
            @for (project, lanes) in projects {
                section aria-labelledby={ "project-" (project) } {
                    h2 id={ "project-" (project) } { (project) }
                    ul.cards { @for lane in lanes { li { (card(frame, lane)) } } }
                }
            }
            @if !recent.jobs.is_empty() {
                section aria-labelledby="recent" {
                    div.bar { h2 #recent { "Newest jobs" } a href="/jobs" { "All jobs" } }
                    (jobs::list(&recent.jobs, frame.now))
                }
            }
        }
    };
    let follow = Follow::Again {
        path: "/?auto=1".to_owned(),
        every: 15,
    };
    frame.page(Section::Environments, "Environments", &follow, &main)
}

fn card(frame: &Frame<'_>, view: &LaneView) -> Markup {
    let lane = &view.lane;
    html! {
        article.card.environment {
            div.bar {
                h3 { a.whole href={ "/p/" (lane) } { (lane.environment) } }
                @match &view.latest {
                    Some(latest) => (state(&latest.job)),
                    None => (chip(Tone::Idle, "no job yet")),
                }
            }
            (deployed(frame, view))
            p.facts {
                "on " @for (index, on) in view.on.iter().enumerate() {
                    @if index > 0 { ", " }
                    span.on { (line(on)) }
                }
                @if view.then == JobKind::Plan { " · plans only" }
            }
            @if let Some(latest) = &view.latest {
                p.facts {
                    a href={ "/jobs/" (latest.job.number) } { "Job #" (latest.job.number) }
                    " " (latest.job.word()) " " (ago(changed(&latest.job), frame.now))
                }
                @if let Some(reason) = jobs::reason(latest) { p.reason { (line(&reason)) } }
            }
        }
    }
}

/// What was deployed last.
fn deployed(frame: &Frame<'_>, view: &LaneView) -> Markup {
    html! {
        @match &view.deployed {
            Some(deployed) => div.live {
                p.release { (release(deployed)) " " (slot(deployed)) }
                p.what { (commit_line(deployed)) }
                p.facts {
                    (reference(&deployed.job.request.reference)) (DOT) "deployed "
                    (ago(deployed.at, frame.now))
                }
            },
            None => p.live.empty {
                @if view.then == JobKind::Plan { "It is planned for, and deployed by hand." }
                @else { "Nothing was deployed yet." }
            },
        }
    }
}

fn release(deployed: &Deployed) -> String {
    let standing = deployed.report.standing.as_ref();
    match standing.and_then(|standing| standing.release) {
        Some(release) => format!("Release {release}"),
        None => "Deployed".to_owned(),
    }
}

fn slot(deployed: &Deployed) -> Markup {
    let standing = deployed.report.standing.as_ref();
    html! {
        @if let Some(standing) = standing {
            @match (standing.waiting, standing.live) {
                (Some(_), _) => (chip(Tone::Warn, "waits for promotion")),
                (None, Some(live)) => span.slot.(live.as_str()) { (live.as_str()) },
                (None, None) => {},
            }
        }
    }
}

fn commit_line(deployed: &Deployed) -> Markup {
    html! {
        @match &deployed.report.commit {
            Some(of) => { (commit(&of.commit)) " " (line(&of.title)) },
            None => (what(&deployed.job.request)),
        }
    }
}

/// What is shown of one environment.
#[derive(Debug, Clone)]
pub struct LanePage {
    /// The environment.
    pub view: LaneView,
    /// Its newest jobs.
    pub jobs: JobsPage,
    /// Whether whoever looks may have it deployed.
    pub may_deploy: bool,
}

/// The page of one environment.
pub fn lane(frame: &Frame<'_>, shown: &LanePage, stamp: &str) -> Markup {
    let view = &shown.view;
    let lane = &view.lane;
    let older = format!("/jobs?lane={lane}");
    let main = html! {
        div.head {
            p.crumbs { a href="/" { "Environments" } (DOT) (lane.project) }
            h1 {
                (lane.environment)
                @if let Some(latest) = &view.latest { " " (state(&latest.job)) }
            }
            @if shown.may_deploy { (deploy(frame, view)) }
        }
        div.columns.lane data-events="/events" data-from=(stamp) {
            section.wide aria-labelledby="jobs" {
                div.bar { h2 #jobs { "Jobs" } a href=(older) { "All of them" } }
                @if shown.jobs.jobs.is_empty() { p.empty { "There was none yet." } }
                (jobs::list(&shown.jobs.jobs, frame.now))
            }
            aside aria-label="What is live" {
                h2 { "Last deployed" }
                div.card { (deployed(frame, view)) }
                @if let Some(deployed) = &view.deployed {
                    (standing(&deployed.report))
                    p.facts { "by " a href={ "/jobs/" (deployed.job.number) } {
                        "job #" (deployed.job.number) } }
                }
                h2 { "Deployed on" }
                ul.card.plain { @for on in &view.on { li { (line(on)) } } }
            }
        }
    };
    let path = format!("/p/{lane}?auto=1");
    let follow = Follow::Again { path, every: 15 };
    frame.page(Section::Environments, &lane.to_string(), &follow, &main)
}

/// The form that has it deployed by hand.
fn deploy(frame: &Frame<'_>, view: &LaneView) -> Markup {
    let lane = &view.lane;
    let (verb, branch) = (kind(view.then), view.branch.as_deref().map(line));
    html! {
        div.actions {
            details.ask {
                summary.button.primary { (verb) "…" }
                form method="post" action={ "/p/" (lane) "/deploy" } {
                    (frame.hidden())
                    label for="ref" { "Branch, or " code { "refs/tags/…" } }
                    input #ref name="ref" type="text" autocomplete="off" spellcheck="false"
                        maxlength="300" value=[&branch] required[branch.is_none()];
                    p { "Only what " code { "server.yaml" } " lets into " strong { (lane) }
                        " is taken: " (line(&view.on.join(", "))) "." }
                    button.primary type="submit" { (verb) " " (lane) }
                }
            }
        }
    }
}
