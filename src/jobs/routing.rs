//! Which environments a trigger is for.

use std::collections::BTreeMap;

use super::versions::is_newer;
use crate::model::EnvironmentName;
use crate::model::glob::stands_for;
use crate::model::job::JobKind;
use crate::model::trigger::Trigger;

/// What an environment of a project is deployed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The environment.
    pub environment: EnvironmentName,
    /// The branch, or a glob of branches.
    pub branch: Option<String>,
    /// A glob of tags.
    pub tag: Option<String>,
    /// Images: the repository, and a glob of tags.
    pub image: Option<(String, String)>,
    /// What is done.
    pub then: JobKind,
}

/// A job that a trigger means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// For which environment.
    pub environment: EnvironmentName,
    /// What is done.
    pub kind: JobKind,
    /// The ref.
    pub reference: String,
    /// The commit that was named; none for an image.
    pub commit: Option<String>,
}

/// The jobs that a trigger means; empty where none of the environments is deployed on it.
#[must_use]
pub fn route(trigger: &Trigger, routes: &[Route]) -> Vec<Routed> {
    routes
        .iter()
        .filter_map(|one| routed(trigger, one))
        .collect()
}

/// What the triggers of one push, or of one look at a repository, mean: the jobs of each. Of
/// several tags for the same environment the newest version alone is deployed there: nobody would
/// want those before it on top.
#[must_use]
pub fn route_together(triggers: &[Trigger], routes: &[Route]) -> Vec<Vec<Routed>> {
    let jobs = triggers.iter().map(|trigger| route(trigger, routes));
    let mut jobs: Vec<Vec<Routed>> = jobs.collect();

    let mut newest: BTreeMap<EnvironmentName, String> = BTreeMap::new();
    for job in jobs.iter().flatten().filter(|job| is_tag(&job.reference)) {
        let best = newest.entry(job.environment.clone());
        let best = best.or_insert_with(|| job.reference.clone());
        if is_newer(&job.reference, best) {
            best.clone_from(&job.reference);
        }
    }

    let is_newest = |job: &Routed| newest.get(&job.environment) == Some(&job.reference);
    for one in &mut jobs {
        one.retain(|job| !is_tag(&job.reference) || is_newest(job));
    }
    jobs
}

/// Whether a ref is a tag, by its full name.
#[must_use]
pub fn is_tag(reference: &str) -> bool {
    reference.starts_with("refs/tags/")
}

fn routed(trigger: &Trigger, route: &Route) -> Option<Routed> {
    let (reference, commit) = match trigger {
        Trigger::Ref { name, commit, .. } => {
            let branch = name
                .strip_prefix("refs/heads/")
                .zip(route.branch.as_deref());
            let tag = name.strip_prefix("refs/tags/").zip(route.tag.as_deref());
            let (name_of, glob) = branch.or(tag)?;
            if !stands_for(glob, name_of) {
                return None;
            }
            (name.clone(), Some(commit.clone()))
        }
        Trigger::Image {
            repository, tag, ..
        } => {
            let (wanted, tags) = route.image.as_ref()?;
            if repository != wanted || !stands_for(tags, tag.as_deref()?) {
                return None;
            }
            // A glob names no one branch whose files say how the image runs.
            let branch = route.branch.as_ref().filter(|branch| !is_glob(branch))?;
            (format!("refs/heads/{branch}"), None)
        }
    };
    Some(Routed {
        environment: route.environment.clone(),
        kind: route.then,
        reference,
        commit,
    })
}

/// Whether a text stands for several names.
#[must_use]
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}
