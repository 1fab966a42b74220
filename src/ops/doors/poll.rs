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
use semver::Version;
use serde::{Deserialize, Serialize};

use super::intake::{PushedRef, polled};
use super::{DoorError, Doors};
use crate::files;
use crate::jobs::{Route, route};
use crate::model::trigger::{Trigger, is_object_id, is_reference};
use crate::model::{EnvironmentName, ProjectName};
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
    /// When something had moved last.
    moved: Timestamp,
    /// The commit or the tag object that each ref pointed at when it was last there: one that goes
    /// and comes back is no push.
    refs: BTreeMap<String, String>,
}

/// A ref that points elsewhere than it did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moved {
    pushed: PushedRef,
    /// What tells this move apart from one back and forth.
    key: String,
}

impl Seen {
    /// What an environment is deployed on and moved until a later look. A ref that is gone deploys
    /// nothing. Of several tags that are new for the same environments the newest version counts:
    /// nobody would want those before it deployed on top.
    fn moved(&self, refs: &BTreeMap<String, String>, routes: &[Route]) -> Vec<Moved> {
        let mut newest: BTreeMap<Vec<EnvironmentName>, &String> = BTreeMap::new();
        let mut moved = Vec::new();
        let changed = refs.iter();
        for (name, object) in changed.filter(|(name, object)| self.refs.get(*name) != Some(*object))
        {
            let environments = environments(name, routes);
            if environments.is_empty() {
                continue;
            }
            if is_tag(name) {
                let best = newest.entry(environments).or_insert(name);
                if is_newer(name, best) {
                    *best = name;
                }
            } else {
                moved.push(self.moved_to(name, object));
            }
        }
        let tags = newest
            .values()
            .map(|name| self.moved_to(name, &refs[*name]));
        moved.extend(tags);
        moved.truncate(MOST);
        moved
    }

    fn moved_to(&self, name: &str, object: &str) -> Moved {
        Moved {
            key: format!("{name} {object} after {}", self.moved),
            pushed: PushedRef {
                name: name.to_owned(),
                new: object.to_owned(),
            },
        }
    }
}

fn is_tag(name: &str) -> bool {
    name.starts_with("refs/tags/")
}

/// Whether a tag is of a newer version than another one: by semver where both are one, else by
/// their numbers and words, so that `v10` is newer than `v9`.
fn is_newer(one: &str, other: &str) -> bool {
    let version = |name: &str| {
        let tag = name.trim_start_matches("refs/tags/");
        Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
    };
    match (version(one), version(other)) {
        (Some(one), Some(other)) => one > other,
        _ => parts(one) > parts(other),
    }
}

/// A name as words and numbers, in turns.
fn parts(name: &str) -> Vec<(String, u64)> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut rest = name;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(is_digit).unwrap_or(rest.len()));
        let end = after.find(|c| !is_digit(c)).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        // One too long for a number is newer than all that are none.
        let number = if number.is_empty() {
            0
        } else {
            number.parse().unwrap_or(u64::MAX)
        };
        parts.push((word.to_owned(), number));
        rest = after;
    }
    parts
}

/// The refs that can be deployed at all.
fn of_interest(refs: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut refs: BTreeMap<String, String> = refs.into_iter().collect();
    refs.retain(|name, object| is_reference(name) && is_object_id(object));
    refs
}

/// The environments that are deployed on a ref.
fn environments(name: &str, routes: &[Route]) -> Vec<EnvironmentName> {
    let trigger = Trigger::Ref {
        name: name.to_owned(),
        commit: String::new(),
        by: String::new(),
    };
    let jobs = route(&trigger, routes).into_iter();
    jobs.map(|job| job.environment).collect()
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
    let refs = of_interest(refs);
    let file = file(&doors.config.data, project);
    let remember = |refs: BTreeMap<String, String>| {
        let (url, moved) = (configured.source.url.clone(), Timestamp::now());
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
    if all == seen.refs {
        return Ok(0);
    }

    let mut moved = seen.moved(&refs, &doors.routes(project));
    if !moved.is_empty() && !configured.receivers.is_empty() {
        tokio::time::sleep(GRACE).await;
    }
    without_jobs(doors, project, &mut moved, (seen.moved, began)).await?;
    // What is stored twice, because this ends in between, is one delivery by its key.
    for one in &moved {
        polled(doors, project, &one.pushed, &one.key).await?;
    }
    remember(all)?;
    Ok(moved.len())
}

/// Leaves out those that a job is for: one for the same commit since something had moved last, the
/// newest one of the ref for it, or any of the ref since this look began, which fetches it anyway.
async fn without_jobs(
    doors: &Doors,
    project: &ProjectName,
    moved: &mut Vec<Moved>,
    (before, began): (Timestamp, Timestamp),
) -> Result<(), DoorError> {
    let newest = JobQuery {
        last: NEWEST,
        ..JobQuery::default()
    };
    let jobs = doors.queue.jobs(newest).await?;
    moved.retain(|one| {
        let of_ref = jobs.iter().filter(|job| {
            job.request.lane.project == *project && job.request.reference == one.pushed.name
        });
        let mut is_newest = true;
        for job in of_ref {
            if job.created >= began {
                return false;
            }
            let Some(commit) = &job.request.commit else {
                continue;
            };
            if *commit == one.pushed.new && (is_newest || job.created >= before) {
                return false;
            }
            is_newest = false;
        }
        true
    });
    Ok(())
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
    use crate::model::job::JobKind;

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
        let moved = first.moved(&now, &routes());
        assert_eq!(
            names(&moved),
            [("refs/heads/staging", B), ("refs/tags/v2", B)]
        );
        let gone = first.moved(&refs(&[]), &routes());
        assert_eq!(gone, [], "one that is gone deploys nothing");
    }

    #[test]
    fn what_was_there_before_a_rule_is_nobodys_push() {
        let there = [("refs/heads/staging", A), ("refs/tags/v1", A)];
        let before = seen(1, &there);
        assert_eq!(before.moved(&refs(&there), &routes()), []);
        assert_eq!(before.moved(&refs(&there), &[]), []);
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
            let moved = seen(1, &[]).moved(&refs(&there), &routes());
            let newest = format!("refs/tags/{newest}");
            assert_eq!(names(&moved), [(newest.as_str(), B)]);
        }
    }

    #[test]
    fn a_move_is_told_apart_from_the_same_one_before() {
        let key = |second, from, to| {
            let before = seen(second, &[("refs/heads/staging", from)]);
            let moved = before.moved(&refs(&[("refs/heads/staging", to)]), &routes());
            moved.into_iter().next().map(|moved| moved.key)
        };
        assert_ne!(key(1, A, B), key(3, A, B), "it went back in between");
        assert_eq!(
            key(1, A, B),
            key(1, A, B),
            "one who was interrupted comes to the same"
        );
    }
}
