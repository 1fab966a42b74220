//! Refs that moved although nobody told of it: a webhook may be lost, and a forge may not reach the
//! server at all. The repository is asked where its refs point every now and then.
//!
//! ```text
//! DATA/polled/PROJECT.json   where each ref pointed that an environment is deployed on
//! ```
//!
//! The first look only remembers: what was there before is nobody's push. Start with [`look`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::intake::{PushedRef, polled};
use super::{DoorError, Doors};
use crate::files;
use crate::jobs::{Route, Routed, deployed, is_tag, route_together};
use crate::model::ProjectName;
use crate::model::job::{Job, JobEnding, JobState};
use crate::model::trigger::{Trigger, is_object_id, is_reference};
use crate::port::pause;
use crate::port::queue::JobQuery;

/// The largest file of what was seen, in bytes: more than a repository may say of its refs.
const LARGEST: u64 = 64 << 20;

/// The most refs that are taken of one look, as of one push.
const MOST: usize = 1_000;

/// How many of the newest jobs are looked through for one that does the same.
const NEWEST: usize = 1_000;

/// How long a webhook or a hook has to tell of a ref that moved, before it is taken as lost.
const GRACE: Duration = Duration::from_secs(15);

/// What an earlier look saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// Of which repository.
    url: String,
    /// When the last look began that saw something move.
    moved: Timestamp,
    /// The commit or the tag object that each ref pointed at when it was last there: one that goes
    /// and comes back is no push.
    refs: BTreeMap<String, String>,
}

/// A ref that points elsewhere than was known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moved {
    pushed: PushedRef,
    /// What tells this move apart from one back and forth.
    key: String,
    /// What it means.
    jobs: Vec<Routed>,
}

impl Seen {
    /// What an environment is deployed on and points elsewhere than was known: by this look, or by
    /// the jobs that somebody has asked for since. A ref that is gone deploys nothing. Of several
    /// tags that are new for an environment the newest version counts. The jobs are those of the
    /// project, the newest first.
    fn moved(&self, refs: &BTreeMap<String, String>, routes: &[Route], jobs: &[Job]) -> Vec<Moved> {
        let told = self.told_since(jobs);
        let is_elsewhere = |name: &String, object: &String| {
            let is_told = |known: &&str| *known != object.as_str();
            self.refs.get(name) != Some(object) || told.get(name.as_str()).is_some_and(is_told)
        };
        let elsewhere = refs.iter();
        let elsewhere = elsewhere.filter(|(name, object)| is_elsewhere(name, object));
        let triggers: Vec<Trigger> = elsewhere
            .map(|(name, object)| Trigger::Ref {
                name: name.clone(),
                commit: object.clone(),
                by: String::new(),
            })
            .collect();

        let each = route_together(&triggers, routes).into_iter();
        let moved = each.filter_map(|jobs| {
            let (name, object) = (jobs.first()?.reference.clone(), jobs[0].commit.clone()?);
            Some(Moved {
                key: format!("{name} {object} after {}", self.moved),
                pushed: PushedRef { name, new: object },
                jobs,
            })
        });
        moved.take(MOST).collect()
    }

    /// Where branches pointed by the jobs that were under way since the last look: one that moves
    /// and comes back between two looks was deployed elsewhere meanwhile. A sender may name the
    /// commit of a tag and not its object, so tags are not compared.
    fn told_since<'a>(&self, jobs: &'a [Job]) -> BTreeMap<&'a str, &'a str> {
        let is_since = |job: &&Job| match &job.state {
            JobState::Ended { at, .. } => *at >= self.moved,
            JobState::Waiting { .. } | JobState::Running { .. } => true,
        };
        let mut told = BTreeMap::new();
        let of_branches = jobs.iter().filter(|job| !is_tag(&job.request.reference));
        for job in of_branches.filter(is_since) {
            if let Some(commit) = deployed(job) {
                told.entry(job.request.reference.as_str()).or_insert(commit);
            }
        }
        told
    }
}

/// The refs that can be deployed at all.
fn of_interest(refs: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut refs: BTreeMap<String, String> = refs.into_iter().collect();
    refs.retain(|name, object| is_reference(name) && is_object_id(object));
    refs
}

/// How long to wait until the next look of one that is about as often as this.
#[must_use]
pub fn pause(every: Duration) -> Duration {
    pause::between(every * 9 / 10, every * 11 / 10)
}

/// Asks a project's repository where its refs point, and takes what moved and nobody told of. How
/// many refs those were.
///
/// # Errors
/// The repository cannot be asked, what was seen not be read or written, or the queue not store it.
pub async fn look(doors: &Doors, project: &ProjectName) -> Result<usize, DoorError> {
    let Some(configured) = doors.config.projects.get(project) else {
        return Ok(0);
    };
    let began = Timestamp::now();
    let refs = doors.runner.refs(&configured.source.url).await?;
    let answered = Timestamp::now();
    let refs = of_interest(refs);
    let file = file(&doors.config.data, project);
    let remember = |refs: BTreeMap<String, String>| {
        let (url, moved) = (configured.source.url.clone(), began);
        let seen = serde_json::to_vec(&Seen { url, moved, refs });
        let written = seen.map_err(io::Error::from);
        let written = written.and_then(|seen| files::replace(&file, &seen));
        written.map_err(failed("writing", &file))
    };

    let seen = read(&file).map_err(failed("reading", &file))?;
    let Some(seen) = seen.filter(|seen| seen.url == configured.source.url) else {
        remember(refs)?;
        return Ok(0);
    };
    let mut all = seen.refs.clone();
    all.extend(refs.clone());
    let known = newest(doors, project).await?;
    let mut moved = seen.moved(&refs, &doors.routes(project), &known);
    if moved.is_empty() && all == seen.refs {
        return Ok(0);
    }

    if !moved.is_empty() && !configured.receivers.is_empty() {
        tokio::time::sleep(GRACE).await;
    }
    without_jobs(&mut moved, &newest(doors, project).await?, answered);
    // What is stored twice, because this ends in between, is one delivery by its key.
    for one in &moved {
        polled(doors, project, (&one.pushed, &one.key), &one.jobs).await?;
    }
    remember(all)?;
    Ok(moved.len())
}

/// The newest jobs of a project, the newest first.
async fn newest(doors: &Doors, project: &ProjectName) -> Result<Vec<Job>, DoorError> {
    let newest = JobQuery {
        last: NEWEST,
        ..JobQuery::default()
    };
    let mut jobs = doors.queue.jobs(newest).await?;
    jobs.retain(|job| job.request.lane.project == *project);
    Ok(jobs)
}

/// Leaves out what a job is for already: the newest one of the ref in its environment, or any that
/// was asked for since the repository has answered, which fetches the ref anyway.
fn without_jobs(moved: &mut Vec<Moved>, jobs: &[Job], answered: Timestamp) {
    for one in moved.iter_mut() {
        one.jobs.retain(|routed| !has_job(routed, jobs, answered));
    }
    moved.retain(|one| !one.jobs.is_empty());
}

fn has_job(routed: &Routed, jobs: &[Job], answered: Timestamp) -> bool {
    let is_of_ref = |job: &&Job| {
        job.request.lane.environment == routed.environment
            && job.request.reference == routed.reference
    };
    // An older tag that was pushed later has taken its place: nobody has deployed the newest.
    let is_replaced = |job: &&Job| is_tag(&job.request.reference) && is_superseded(job);
    let mut of_ref = jobs
        .iter()
        .filter(is_of_ref)
        .filter(|job| !is_replaced(job));
    let tells = |job: &&Job| job.created >= answered || deployed(job).is_some();
    of_ref
        .find(tells)
        .is_some_and(|job| job.created >= answered || deployed(job) == routed.commit.as_deref())
}

const fn is_superseded(job: &Job) -> bool {
    matches!(
        job.state,
        JobState::Ended {
            ending: JobEnding::Superseded { .. },
            ..
        }
    )
}

fn file(data: &Path, project: &ProjectName) -> PathBuf {
    data.join("polled").join(format!("{project}.json"))
}

/// What an earlier look saw; none when there was none. One that cannot be understood is none, too:
/// what was there before is then remembered anew.
fn read(file: &Path) -> io::Result<Option<Seen>> {
    match files::read(file, LARGEST) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::warn!(file = %file.display(), %error, "what was seen of the refs is not \
                    understood; they are remembered anew");
            })
            .ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(doing: &str, file: &Path) -> impl Fn(io::Error) -> DoorError {
    let what = format!("{doing} {}", file.display());
    move |error| DoorError::Setup {
        what: what.clone(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::{JobKind, JobNumber, JobRequest, Lane, Requester, Via};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn routes() -> Vec<Route> {
        let route = |name: &str, branch: Option<&str>, tag: Option<&str>| Route {
            environment: name.parse().expect("a name"),
            branch: branch.map(ToOwned::to_owned),
            tag: tag.map(ToOwned::to_owned),
            image: None,
            then: JobKind::Apply,
        };
        vec![
            route("staging", Some("staging"), None),
            route("production", None, Some("v*")),
        ]
    }

    fn refs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = of.iter();
        let owned = owned.map(|(name, object)| ((*name).to_owned(), (*object).to_owned()));
        of_interest(owned.collect())
    }

    fn seen(second: i64, of: &[(&str, &str)]) -> Seen {
        Seen {
            url: "ssh://git.test/shop.git".to_owned(),
            moved: Timestamp::from_second(second).expect("a time"),
            refs: refs(of),
        }
    }

    fn names(moved: &[Moved]) -> Vec<(&str, &str)> {
        let names = moved.iter();
        let names = names.map(|one| (one.pushed.name.as_str(), one.pushed.new.as_str()));
        names.collect()
    }

    #[test]
    fn what_an_environment_is_deployed_on_is_taken_when_it_moves() {
        let first = seen(
            1,
            &[
                ("refs/heads/staging", A),
                ("refs/heads/other", A),
                ("refs/tags/v1", A),
            ],
        );
        let now = refs(&[
            ("refs/heads/staging", B),
            ("refs/heads/other", B),
            ("refs/tags/v1", A),
            ("refs/tags/v2", B),
            ("refs/tags/v3", "no object"),
        ]);
        let moved = first.moved(&now, &routes(), &[]);
        assert_eq!(
            names(&moved),
            [("refs/heads/staging", B), ("refs/tags/v2", B)]
        );
        let gone = first.moved(&refs(&[]), &routes(), &[]);
        assert_eq!(gone, [], "one that is gone deploys nothing");
    }

    #[test]
    fn what_was_there_before_a_rule_is_nobodys_push() {
        let there = [("refs/heads/staging", A), ("refs/tags/v1", A)];
        let before = seen(1, &there);
        assert_eq!(before.moved(&refs(&there), &routes(), &[]), []);
        assert_eq!(before.moved(&refs(&there), &[], &[]), []);
    }

    #[test]
    fn of_several_new_tags_the_newest_version_is_deployed() {
        for (tags, newest) in [
            (&["v9", "v10", "v2"][..], "v10"),
            (&["v1.0.0", "v1.0.0-rc.1"], "v1.0.0"),
            (&["v1.9.0", "v1.10.0"], "v1.10.0"),
            (&["v2026-11", "v2026-9"], "v2026-11"),
        ] {
            let named: Vec<String> = tags.iter().map(|tag| format!("refs/tags/{tag}")).collect();
            let there: Vec<(&str, &str)> = named.iter().map(|name| (name.as_str(), B)).collect();
            let moved = seen(1, &[]).moved(&refs(&there), &routes(), &[]);
            let newest = format!("refs/tags/{newest}");
            assert_eq!(names(&moved), [(newest.as_str(), B)]);
        }
    }

    #[test]
    fn a_move_is_told_apart_from_the_same_one_before() {
        let key = |second, from, to| {
            let before = seen(second, &[("refs/heads/staging", from)]);
            let moved = before.moved(&refs(&[("refs/heads/staging", to)]), &routes(), &[]);
            moved.into_iter().next().map(|moved| moved.key)
        };
        assert_ne!(key(1, A, B), key(3, A, B), "it went back in between");
        assert_eq!(
            key(1, A, B),
            key(1, A, B),
            "one who was interrupted comes to the same"
        );
    }

    /// An ended job of an environment, the first number the first.
    fn job(number: u32, (environment, reference): (&str, &str), commit: &str) -> Job {
        let at = Timestamp::from_second(i64::from(number)).expect("a time");
        Job {
            number: JobNumber(u64::from(number)),
            request: JobRequest {
                lane: Lane {
                    project: "shop".parse().expect("a name"),
                    environment: environment.parse().expect("a name"),
                },
                kind: JobKind::Apply,
                reference: reference.to_owned(),
                commit: Some(commit.to_owned()),
                by: Requester {
                    name: String::new(),
                    via: Via::GitHook,
                },
                retry_of: None,
            },
            created: at,
            attempt: 1,
            fence: 1,
            checked_out: None,
            state: JobState::Ended {
                at,
                ending: JobEnding::Succeeded,
            },
        }
    }

    const STAGING: (&str, &str) = ("staging", "refs/heads/staging");

    #[test]
    fn a_branch_that_came_back_between_two_looks_is_deployed_again() {
        let there = [("refs/heads/staging", B)];
        let before = seen(5, &there);
        let moved = |jobs: &[Job]| {
            let mut moved = before.moved(&refs(&there), &routes(), jobs);
            without_jobs(
                &mut moved,
                jobs,
                Timestamp::from_second(100).expect("a time"),
            );
            moved.len()
        };
        let (first, second) = (job(1, STAGING, B), job(7, STAGING, A));
        assert_eq!(moved(std::slice::from_ref(&first)), 0);
        assert_eq!(moved(&[second.clone(), first.clone()]), 1);
        // One that was asked for before, and for B, has found A.
        let mut found = job(7, STAGING, B);
        found.checked_out = Some(A.to_owned());
        assert_eq!(moved(&[found, first.clone()]), 1);
        // What was known at the last look deploys nothing, as ever.
        assert_eq!(moved(&[job(4, STAGING, A), first.clone()]), 0);
        // Somebody has told of it.
        assert_eq!(moved(&[job(8, STAGING, B), second, first]), 0);
    }

    #[test]
    fn what_has_a_job_is_not_done_again_unless_it_was_only_for_another_time() {
        let before = seen(5, &[("refs/heads/staging", A)]);
        let now = refs(&[("refs/heads/staging", B)]);
        let answered = Timestamp::from_second(50).expect("a time");
        let left = |jobs: &[Job]| {
            let mut moved = before.moved(&now, &routes(), jobs);
            without_jobs(&mut moved, jobs, answered);
            moved.len()
        };
        assert_eq!(left(&[]), 1);
        assert_eq!(left(&[job(6, STAGING, B)]), 0);
        let back = [job(7, STAGING, A), job(6, STAGING, B)];
        assert_eq!(left(&back), 1, "the newest one is for what it was before");
        assert_eq!(
            left(&[job(51, STAGING, A)]),
            0,
            "it fetches the ref by itself"
        );
        let elsewhere = ("production", "refs/heads/staging");
        assert_eq!(left(&[job(6, elsewhere, B)]), 1);
    }

    #[test]
    fn a_newer_tag_that_an_older_one_has_superseded_is_deployed() {
        let now = refs(&[("refs/tags/v1.9.0", A), ("refs/tags/v1.10.0", B)]);
        let mut newer = job(6, ("production", "refs/tags/v1.10.0"), B);
        let older = job(7, ("production", "refs/tags/v1.9.0"), A);
        let left = |newer: &Job| {
            let jobs = [older.clone(), newer.clone()];
            let mut moved = seen(5, &[]).moved(&now, &routes(), &jobs);
            without_jobs(
                &mut moved,
                &jobs,
                Timestamp::from_second(50).expect("a time"),
            );
            let left = moved.into_iter().map(|one| one.pushed.name);
            left.collect::<Vec<_>>()
        };
        assert!(left(&newer).is_empty());
        newer.state = JobState::Ended {
            at: newer.created,
            ending: JobEnding::Superseded { by: JobNumber(7) },
        };
        assert_eq!(left(&newer), ["refs/tags/v1.10.0"]);
    }
}
