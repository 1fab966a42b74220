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
use crate::jobs::{Route, route};
use crate::model::ProjectName;
use crate::model::trigger::{Trigger, is_object_id, is_reference};
use crate::port::pause;
use crate::port::queue::JobQuery;

/// The largest file of what was seen, in bytes.
const LARGEST: u64 = 16 << 20;

/// How many of the newest jobs are looked through for one that does the same.
const NEWEST: usize = 1_000;

/// How long a webhook or a hook has to tell of a ref that moved, before it is taken as lost.
const GRACE: Duration = Duration::from_secs(15);

/// What an earlier look saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// When something had moved last.
    moved: Timestamp,
    /// The commit or the tag object that each ref pointed at.
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
    /// What moved until a later look. A ref that is gone deploys nothing.
    fn moved(&self, refs: &BTreeMap<String, String>) -> Vec<Moved> {
        let moved = refs.iter();
        let moved = moved.filter(|(name, object)| self.refs.get(*name) != Some(*object));
        let moved = moved.map(|(name, object)| Moved {
            key: format!("{name} {object} after {}", self.moved),
            pushed: PushedRef {
                name: name.clone(),
                new: object.clone(),
            },
        });
        moved.collect()
    }
}

/// The refs that an environment is deployed on.
fn of_interest(refs: Vec<(String, String)>, routes: &[Route]) -> BTreeMap<String, String> {
    let mut refs: BTreeMap<String, String> = refs.into_iter().collect();
    refs.retain(|name, object| {
        is_reference(name) && is_object_id(object) && is_routed(name, routes)
    });
    refs
}

/// Whether an environment is deployed on a ref.
fn is_routed(name: &str, routes: &[Route]) -> bool {
    let trigger = Trigger::Ref {
        name: name.to_owned(),
        commit: String::new(),
        by: String::new(),
    };
    !route(&trigger, routes).is_empty()
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
    let refs = doors.runner.refs(&configured.source.url).await?;
    let refs = of_interest(refs, &doors.routes(project));
    let file = file(&doors.config.data, project);
    let remember = |refs: BTreeMap<String, String>| {
        let moved = Timestamp::now();
        let seen = serde_json::to_vec(&Seen { moved, refs });
        let written = seen.map_err(io::Error::from);
        let written = written.and_then(|seen| files::replace(&file, &seen));
        written.map_err(failed("writing", &file))
    };

    let Some(seen) = read(&file).map_err(failed("reading", &file))? else {
        remember(refs)?;
        return Ok(0);
    };
    if refs == seen.refs {
        return Ok(0);
    }

    let mut moved = seen.moved(&refs);
    if !moved.is_empty() && !configured.receivers.is_empty() {
        tokio::time::sleep(GRACE).await;
    }
    without_jobs(doors, project, &mut moved).await?;
    // What is stored twice, because this ends in between, is one delivery by its key.
    for one in &moved {
        polled(doors, project, &one.pushed, &one.key).await?;
    }
    remember(refs)?;
    Ok(moved.len())
}

/// Leaves out those that a job is for.
async fn without_jobs(
    doors: &Doors,
    project: &ProjectName,
    moved: &mut Vec<Moved>,
) -> Result<(), DoorError> {
    let newest = JobQuery {
        last: NEWEST,
        ..JobQuery::default()
    };
    let jobs = doors.queue.jobs(newest).await?;
    moved.retain(|one| {
        // Of a ref that goes back and forth the newest job says where it was last.
        let mut of_ref = jobs.iter().filter(|job| {
            job.request.lane.project == *project && job.request.reference == one.pushed.name
        });
        let last = of_ref.find_map(|job| job.request.commit.as_ref());
        last != Some(&one.pushed.new)
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
        let owned = of
            .iter()
            .map(|(name, object)| ((*name).to_owned(), (*object).to_owned()));
        of_interest(owned.collect(), &routes())
    }

    fn seen(second: i64, of: &[(&str, &str)]) -> Seen {
        Seen {
            moved: Timestamp::from_second(second).expect("a time"),
            refs: refs(of),
        }
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
        assert_eq!(first.refs.len(), 2, "{first:?}");

        let now = refs(&[
            ("refs/heads/staging", B),
            ("refs/heads/other", B),
            ("refs/tags/v1", A),
            ("refs/tags/v2", B),
            ("refs/tags/v3", "no object"),
        ]);
        let moved = first.moved(&now);
        let names = moved
            .iter()
            .map(|one| (one.pushed.name.as_str(), one.pushed.new.as_str()));
        let names: Vec<(&str, &str)> = names.collect();
        assert_eq!(names, [("refs/heads/staging", B), ("refs/tags/v2", B)]);
        assert_eq!(
            first.moved(&refs(&[])),
            [],
            "one that is gone deploys nothing"
        );
    }

    #[test]
    fn a_move_is_told_apart_from_the_same_one_before() {
        let key = |second, from, to| {
            let before = seen(second, &[("refs/heads/staging", from)]);
            let moved = before.moved(&refs(&[("refs/heads/staging", to)]));
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
