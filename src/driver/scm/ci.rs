//! What build servers say of a checkout: a pure function from their variables to facts.
//!
//! If anything says "change request", there is a change and no branch. Several servers name the
//! branch that a request is to be merged into by the variable that otherwise names the branch that
//! is built (Woodpecker's `CI_COMMIT_BRANCH`, GitHub's `GITHUB_REF_NAME` in `pull_request_target`):
//! whoever believed them would take a stranger's code for the branch's own. The variables of the
//! source are only shown, since a fork may call its branch what it likes.

use std::path::Path;

use crate::files;
use crate::model::source::Change;

/// What a build server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CiFacts {
    /// The change request that is built.
    pub change: Option<Change>,
    /// The branch that is built: as a whole ref, or with a remote's name before it where the server
    /// writes it so. None in a change request, and where a tag is built.
    pub branch: Option<String>,
    /// The tag that is built.
    pub tag: Option<String>,
    /// The commit that the server says this about, where it names one. Of another commit nothing is
    /// said: a pipeline may have checked something else out, a stranger's commit for one.
    pub commit: Option<String>,
}

/// A variable's value, if it has one.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is said by these variables.
#[must_use]
pub fn facts(variables: Variables<'_>) -> CiFacts {
    let said = |name: &str| variables(name).filter(|value| !value.trim().is_empty());
    let change = change(&said);
    let tag = tag(&said);
    let (branch, commit) = if change.is_some() || tag.is_some() {
        (None, None)
    } else {
        branch(&said).unzip()
    };
    CiFacts {
        change,
        branch,
        tag,
        commit: commit.flatten(),
    }
}

/// The first server that says so is believed. Some name the two sides as branches, some as refs.
fn change(said: Variables<'_>) -> Option<Change> {
    let change = said_by(said)?;
    let short = |side: String| match side.strip_prefix("refs/heads/") {
        Some(branch) => branch.to_owned(),
        None => side,
    };
    Some(Change {
        from: change.from.map(short),
        into: change.into.map(short),
        ..change
    })
}

fn said_by(said: Variables<'_>) -> Option<Change> {
    jenkins(said)
        .or_else(|| gitlab(said))
        .or_else(|| github(said))
        .or_else(|| drone(said))
        .or_else(|| woodpecker(said))
        .or_else(|| bitbucket(said))
        .or_else(|| azure(said))
        .or_else(|| gerrit(said))
        .or_else(|| of_reference(said))
}

/// Jenkins: a multibranch pipeline, and what its pull request builder plugins set.
fn jenkins(said: Variables<'_>) -> Option<Change> {
    let branch = said("BRANCH_NAME");
    let of_name = || {
        let digits = branch.as_deref()?.strip_prefix("PR-")?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && !digits.is_empty()).then(|| digits.to_owned())
    };
    let target = said("CHANGE_TARGET")
        .or_else(|| said("ghprbTargetBranch"))
        .or_else(|| said("gitlabMergeRequestIid").and_then(|_| said("gitlabTargetBranch")));
    let number = said("CHANGE_ID")
        .or_else(|| said("ghprbPullId"))
        .or_else(|| said("gitlabMergeRequestIid"))
        .or_else(of_name)
        .or_else(|| target.as_ref().map(|_| "?".to_owned()))?;

    Some(Change {
        number,
        from: said("CHANGE_BRANCH").or_else(|| said("ghprbSourceBranch")),
        into: target,
        is_fork: said("CHANGE_ID").map(|_| said("CHANGE_FORK").is_some()),
    })
}

fn gitlab(said: Variables<'_>) -> Option<Change> {
    let is_request = || said("CI_PIPELINE_SOURCE").as_deref() == Some("merge_request_event");
    let number = said("CI_MERGE_REQUEST_IID")
        .or_else(|| said("CI_EXTERNAL_PULL_REQUEST_IID"))
        .or_else(|| said("CI_MERGE_REQUEST_ID"))
        .or_else(|| is_request().then(|| "?".to_owned()))?;
    let projects = said("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
        .zip(said("CI_MERGE_REQUEST_PROJECT_ID").or_else(|| said("CI_PROJECT_ID")));
    Some(Change {
        number,
        from: said("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
            .or_else(|| said("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME")),
        into: said("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
            .or_else(|| said("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME")),
        is_fork: projects.map(|(source, target)| source != target),
    })
}

/// GitHub, and those who speak like it: Gitea, Forgejo.
fn github(said: Variables<'_>) -> Option<Change> {
    let prefixes = ["GITHUB", "GITEA", "FORGEJO"];
    prefixes.iter().find_map(|prefix| {
        let own = |name: &str| said(&format!("{prefix}_{name}"));
        let event = own("EVENT_NAME").unwrap_or_default();
        let reference = own("REF").unwrap_or_default();
        let of_reference = reference.strip_prefix("refs/pull/");
        let (head, base) = (own("HEAD_REF"), own("BASE_REF"));
        let is_request = event.starts_with("pull_request")
            || event == "merge_group"
            || of_reference.is_some()
            || head.is_some()
            || base.is_some();
        let of_name = || {
            let name = own("REF_NAME")?;
            let (number, end) = name.split_once('/')?;
            ["merge", "head"].contains(&end).then(|| number.to_owned())
        };
        let (queued_into, queued) = of_queue(&reference).unzip();
        is_request.then(|| Change {
            number: of_reference
                .and_then(|rest| rest.split('/').next().map(str::to_owned))
                .or_else(of_name)
                .or(queued)
                .unwrap_or_else(|| "?".to_owned()),
            from: head,
            into: base.or(queued_into),
            is_fork: None,
        })
    })
}

fn drone(said: Variables<'_>) -> Option<Change> {
    let is_request = || said("DRONE_BUILD_EVENT").is_some_and(|event| event == "pull_request");
    let number = said("DRONE_PULL_REQUEST").or_else(|| is_request().then(|| "?".to_owned()))?;
    Some(Change {
        number,
        from: said("DRONE_SOURCE_BRANCH"),
        into: said("DRONE_TARGET_BRANCH"),
        is_fork: None,
    })
}

fn woodpecker(said: Variables<'_>) -> Option<Change> {
    let event = said("CI_PIPELINE_EVENT").or_else(|| said("CI_BUILD_EVENT"));
    let is_request = || event.is_some_and(|event| event.starts_with("pull_request"));
    let number = said("CI_COMMIT_PULL_REQUEST").or_else(|| is_request().then(|| "?".to_owned()))?;
    Some(Change {
        number,
        from: said("CI_COMMIT_SOURCE_BRANCH"),
        into: said("CI_COMMIT_TARGET_BRANCH"),
        is_fork: None,
    })
}

fn bitbucket(said: Variables<'_>) -> Option<Change> {
    let target = said("BITBUCKET_PR_DESTINATION_BRANCH");
    let number = said("BITBUCKET_PR_ID").or_else(|| target.as_ref().map(|_| "?".to_owned()))?;
    Some(Change {
        number,
        from: said("BITBUCKET_BRANCH"),
        into: target,
        is_fork: None,
    })
}

fn azure(said: Variables<'_>) -> Option<Change> {
    let target = said("SYSTEM_PULLREQUEST_TARGETBRANCH");
    let number = said("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER")
        .or_else(|| said("SYSTEM_PULLREQUEST_PULLREQUESTID"))
        .or_else(|| target.as_ref().map(|_| "?".to_owned()))?;
    Some(Change {
        number,
        from: said("SYSTEM_PULLREQUEST_SOURCEBRANCH"),
        into: target,
        is_fork: said("SYSTEM_PULLREQUEST_ISFORK").map(|fork| fork.eq_ignore_ascii_case("true")),
    })
}

fn gerrit(said: Variables<'_>) -> Option<Change> {
    // A change that was merged is an event of its branch.
    let is_merged = said("GERRIT_EVENT_TYPE")
        .is_some_and(|event| event == "change-merged" || event == "ref-updated");
    let number = said("GERRIT_CHANGE_NUMBER").filter(|_| !is_merged)?;
    Some(Change {
        number,
        from: None,
        into: said("GERRIT_BRANCH"),
        is_fork: None,
    })
}

/// A ref that only change requests have, whatever else a server says.
fn of_reference(said: Variables<'_>) -> Option<Change> {
    let names = [
        "CI_COMMIT_REF",
        "DRONE_COMMIT_REF",
        "GIT_BRANCH",
        "GERRIT_REFSPEC",
    ];
    let prefixes = ["pull/", "merge-requests/", "changes/", "pull-requests/"];
    let number = names.iter().find_map(|name| {
        let reference = said(name)?;
        let reference = reference.strip_prefix("refs/").unwrap_or(&reference);
        let rest = prefixes
            .iter()
            .find_map(|prefix| reference.strip_prefix(prefix))?;
        rest.split('/').next().map(str::to_owned)
    })?;

    Some(Change {
        number,
        from: None,
        into: None,
        is_fork: None,
    })
}

fn tag(said: Variables<'_>) -> Option<String> {
    let of_type = |kind: &str, name: &str| {
        let is_tag = said(kind).is_some_and(|kind| kind == "tag");
        is_tag.then(|| said(name)).flatten()
    };
    let of_reference = ["GITHUB_REF", "GIT_BRANCH", "BUILD_SOURCEBRANCH"]
        .iter()
        .find_map(|name| said(name)?.strip_prefix("refs/tags/").map(str::to_owned));
    ["TAG_NAME", "CI_COMMIT_TAG", "DRONE_TAG", "BITBUCKET_TAG"]
        .iter()
        .find_map(|name| said(name))
        .or_else(|| of_type("GITHUB_REF_TYPE", "GITHUB_REF_NAME"))
        .or(of_reference)
}

/// The branch, and the commit that the same server says is built.
fn branch(said: Variables<'_>) -> Option<(String, Option<String>)> {
    [
        ("BRANCH_NAME", "GIT_COMMIT"),
        ("GIT_BRANCH", "GIT_COMMIT"),
        ("CI_COMMIT_BRANCH", "CI_COMMIT_SHA"),
        ("GITHUB_REF_NAME", "GITHUB_SHA"),
        ("DRONE_BRANCH", "DRONE_COMMIT_SHA"),
        ("BITBUCKET_BRANCH", "BITBUCKET_COMMIT"),
        ("BUILD_SOURCEBRANCH", "BUILD_SOURCEVERSION"),
    ]
    .iter()
    .find_map(|(variable, commit)| {
        let branch = said(variable)?;
        // Only Jenkins' plugin for Git puts a remote's name before the branch. Whoever may push may
        // call a branch `origin/main`.
        let is_plain = *variable != "GIT_BRANCH" && !branch.starts_with("refs/");
        let branch = if is_plain {
            format!("refs/heads/{branch}")
        } else {
            branch
        };
        Some((branch, said(commit)))
    })
}

/// The largest event file that is read.
const EVENT: u64 = 16 << 20;

/// What is said by this process' own variables, and by the event file that they name.
pub(super) fn said() -> CiFacts {
    let mut facts = facts(&|name| std::env::var(name).ok());
    if let Some(change) = &mut facts.change
        && change.is_fork.is_none()
    {
        let names = [
            "GITHUB_EVENT_PATH",
            "GITEA_EVENT_PATH",
            "FORGEJO_EVENT_PATH",
        ];
        let path = names.iter().find_map(std::env::var_os);
        let text = path.and_then(|path| files::read_text(Path::new(&path), EVENT).ok());
        change.is_fork = text.and_then(|text| fork_of_event(&text));
    }
    facts
}

/// Whether the event of a pull request says that it comes from another repository.
fn fork_of_event(text: &str) -> Option<bool> {
    let event: serde_json::Value = serde_json::from_str(text).ok()?;
    let request = event.get("pull_request")?;
    let name = |side: &str| request.get(side)?.get("repo")?.get("full_name")?.as_str();
    // The repository of a fork may be gone.
    let Some(head) = name("head") else {
        return Some(true);
    };
    Some(head != name("base")?)
}

/// A branch's short name: without `refs/heads/`, and without the name of a remote before it.
#[must_use]
pub fn short(branch: &str, remotes: &[String]) -> String {
    if let Some(short) = branch.strip_prefix("refs/heads/") {
        return short.to_owned();
    }
    let remote = branch
        .strip_prefix("refs/")
        .unwrap_or(branch)
        .strip_prefix("remotes/");
    let rest = remote.unwrap_or(branch);
    let of_remote = remotes
        .iter()
        .map(String::as_str)
        .chain(["origin"])
        .find_map(|remote| rest.strip_prefix(remote)?.strip_prefix('/'));
    of_remote.unwrap_or(rest).to_owned()
}

/// The branch and the number of a request in a merge queue, which has a ref of its own:
/// `refs/heads/gh-readonly-queue/main/pr-104-COMMIT`.
fn of_queue(reference: &str) -> Option<(String, String)> {
    let rest = reference.strip_prefix("refs/heads/gh-readonly-queue/")?;
    let (base, request) = rest.rsplit_once('/')?;
    let (number, _) = request.strip_prefix("pr-")?.split_once('-')?;
    Some((base.to_owned(), number.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> CiFacts {
        facts(&|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn change(number: &str, from: &str, into: &str, is_fork: Option<bool>) -> CiFacts {
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        CiFacts {
            change: Some(Change {
                number: number.to_owned(),
                from: some(from),
                into: some(into),
                is_fork,
            }),
            ..CiFacts::default()
        }
    }

    /// `branch` as a whole ref.
    fn on(branch: &str) -> CiFacts {
        CiFacts {
            branch: Some(branch.to_owned()),
            ..CiFacts::default()
        }
    }

    fn at(tag: &str) -> CiFacts {
        CiFacts {
            tag: Some(tag.to_owned()),
            ..CiFacts::default()
        }
    }

    #[test]
    #[allow(clippy::too_many_lines)] // one table
    fn a_change_request_is_no_branch_on_any_build_server() {
        let cases: &[(&[(&str, &str)], CiFacts)] = &[
            (
                &[
                    ("BRANCH_NAME", "PR-12"),
                    ("CHANGE_ID", "12"),
                    ("CHANGE_BRANCH", "cart"),
                    ("CHANGE_TARGET", "staging"),
                    ("CHANGE_FORK", "kim"),
                    ("GIT_BRANCH", "PR-12"),
                ],
                change("12", "cart", "staging", Some(true)),
            ),
            (&[("BRANCH_NAME", "PR-7")], change("7", "", "", None)),
            (
                &[
                    ("GIT_BRANCH", "origin/pr/9/merge"),
                    ("ghprbPullId", "9"),
                    ("ghprbTargetBranch", "master"),
                    ("ghprbSourceBranch", "cart"),
                ],
                change("9", "cart", "master", None),
            ),
            (
                &[
                    ("CI_MERGE_REQUEST_IID", "3"),
                    ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "cart"),
                    ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "develop"),
                    ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "8"),
                    ("CI_PROJECT_ID", "4"),
                    ("CI_COMMIT_REF_NAME", "cart"),
                ],
                change("3", "cart", "develop", Some(true)),
            ),
            (
                &[
                    ("CI_PIPELINE_SOURCE", "merge_request_event"),
                    ("CI_COMMIT_BRANCH", "develop"),
                ],
                change("?", "", "", None),
            ),
            (
                &[
                    ("GITHUB_EVENT_NAME", "pull_request"),
                    ("GITHUB_REF", "refs/pull/12/merge"),
                    ("GITHUB_REF_NAME", "12/merge"),
                    ("GITHUB_HEAD_REF", "cart"),
                    ("GITHUB_BASE_REF", "develop"),
                ],
                change("12", "cart", "develop", None),
            ),
            (
                // The base branch's own variables, with the head checked out.
                &[
                    ("GITHUB_EVENT_NAME", "pull_request_target"),
                    ("GITHUB_REF", "refs/heads/develop"),
                    ("GITHUB_REF_NAME", "develop"),
                    ("GITHUB_HEAD_REF", "cart"),
                    ("GITHUB_BASE_REF", "develop"),
                ],
                change("?", "cart", "develop", None),
            ),
            (
                &[
                    ("GITHUB_EVENT_NAME", "merge_group"),
                    (
                        "GITHUB_REF",
                        "refs/heads/gh-readonly-queue/release/1/pr-104-0a1b2c",
                    ),
                    (
                        "GITHUB_REF_NAME",
                        "gh-readonly-queue/release/1/pr-104-0a1b2c",
                    ),
                ],
                change("104", "", "release/1", None),
            ),
            (
                &[
                    ("GITEA_EVENT_NAME", "pull_request"),
                    ("GITEA_REF", "refs/pull/5/head"),
                    ("GITHUB_REF_NAME", "develop"),
                ],
                change("5", "", "", None),
            ),
            (
                &[
                    ("CI_PIPELINE_EVENT", "pull_request"),
                    ("CI_COMMIT_PULL_REQUEST", "4"),
                    ("CI_COMMIT_BRANCH", "develop"),
                    ("CI_COMMIT_SOURCE_BRANCH", "cart"),
                    ("CI_COMMIT_TARGET_BRANCH", "develop"),
                ],
                change("4", "cart", "develop", None),
            ),
            (
                &[
                    ("CI_PIPELINE_EVENT", "pull_request_closed"),
                    ("CI_COMMIT_BRANCH", "develop"),
                ],
                change("?", "", "", None),
            ),
            (
                &[
                    ("DRONE_PULL_REQUEST", "2"),
                    ("DRONE_BRANCH", "develop"),
                    ("DRONE_SOURCE_BRANCH", "cart"),
                    ("DRONE_TARGET_BRANCH", "develop"),
                ],
                change("2", "cart", "develop", None),
            ),
            (
                &[
                    ("BITBUCKET_PR_ID", "6"),
                    ("BITBUCKET_BRANCH", "cart"),
                    ("BITBUCKET_PR_DESTINATION_BRANCH", "develop"),
                ],
                change("6", "cart", "develop", None),
            ),
            (
                &[
                    ("SYSTEM_PULLREQUEST_PULLREQUESTID", "31"),
                    ("SYSTEM_PULLREQUEST_TARGETBRANCH", "refs/heads/develop"),
                    ("SYSTEM_PULLREQUEST_ISFORK", "False"),
                    ("BUILD_SOURCEBRANCH", "refs/pull/31/merge"),
                ],
                change("31", "", "develop", Some(false)),
            ),
            (
                &[
                    ("GERRIT_CHANGE_NUMBER", "5"),
                    ("GERRIT_BRANCH", "develop"),
                    ("GERRIT_REFSPEC", "refs/changes/05/5/1"),
                    ("GIT_BRANCH", "develop"),
                ],
                change("5", "", "develop", None),
            ),
            (
                &[
                    ("gitlabMergeRequestIid", "3"),
                    ("gitlabTargetBranch", "develop"),
                    ("GIT_BRANCH", "kim/develop"),
                ],
                change("3", "", "develop", None),
            ),
            (
                &[
                    ("DRONE_BUILD_EVENT", "promote"),
                    ("DRONE_COMMIT_REF", "refs/pull/4/head"),
                    ("DRONE_BRANCH", "develop"),
                ],
                change("4", "", "", None),
            ),
            (
                &[
                    ("CI_PIPELINE_EVENT", "deployment"),
                    ("CI_COMMIT_REF", "refs/pull/4/head"),
                    ("CI_COMMIT_BRANCH", "develop"),
                ],
                change("4", "", "", None),
            ),
        ];
        for (variables, expected) in cases {
            assert_eq!(of(variables), *expected, "{variables:?}");
        }
    }

    #[test]
    fn what_a_server_says_it_says_of_its_own_commit() {
        let said = of(&[
            ("GITHUB_EVENT_NAME", "workflow_run"),
            ("GITHUB_REF", "refs/heads/develop"),
            ("GITHUB_REF_NAME", "develop"),
            ("GITHUB_SHA", "abc"),
            ("CI_COMMIT_SHA", "of another server"),
        ]);
        assert_eq!(said.branch.as_deref(), Some("refs/heads/develop"));
        assert_eq!(said.commit.as_deref(), Some("abc"));
    }

    #[test]
    fn a_branch_or_a_tag_is_what_the_server_calls_it() {
        let cases: &[(&[(&str, &str)], CiFacts)] = &[
            (
                &[("BRANCH_NAME", "staging"), ("GIT_BRANCH", "origin/staging")],
                on("refs/heads/staging"),
            ),
            (&[("GIT_BRANCH", "origin/staging")], on("origin/staging")),
            (&[("BRANCH_NAME", "PR-cart")], on("refs/heads/PR-cart")),
            (
                &[
                    ("CI_COMMIT_BRANCH", "develop"),
                    ("CI_PIPELINE_SOURCE", "push"),
                ],
                on("refs/heads/develop"),
            ),
            (
                &[
                    ("CI_COMMIT_BRANCH", "develop"),
                    ("CI_PIPELINE_EVENT", "push"),
                ],
                on("refs/heads/develop"),
            ),
            (
                &[
                    ("GITHUB_EVENT_NAME", "push"),
                    ("GITHUB_REF", "refs/heads/develop"),
                    ("GITHUB_REF_NAME", "develop"),
                    ("GITHUB_REF_TYPE", "branch"),
                    ("GITHUB_HEAD_REF", ""),
                    ("GITHUB_BASE_REF", ""),
                ],
                on("refs/heads/develop"),
            ),
            // Anybody who may push may call a branch so.
            (
                &[("CI_COMMIT_BRANCH", "origin/main")],
                on("refs/heads/origin/main"),
            ),
            (
                &[
                    ("BRANCH_NAME", "origin/main"),
                    ("GIT_BRANCH", "origin/origin/main"),
                ],
                on("refs/heads/origin/main"),
            ),
            (&[("DRONE_BRANCH", "develop")], on("refs/heads/develop")),
            (&[("BITBUCKET_BRANCH", "develop")], on("refs/heads/develop")),
            (
                &[("BRANCH_NAME", "v1.2.0"), ("TAG_NAME", "v1.2.0")],
                at("v1.2.0"),
            ),
            (
                &[
                    ("GITHUB_REF", "refs/tags/v1"),
                    ("GITHUB_REF_NAME", "v1"),
                    ("GITHUB_REF_TYPE", "tag"),
                ],
                at("v1"),
            ),
            (&[("CI_COMMIT_TAG", "v1")], at("v1")),
            (&[("GIT_BRANCH", "refs/tags/v1")], at("v1")),
            (&[], CiFacts::default()),
        ];
        for (variables, expected) in cases {
            assert_eq!(of(variables), *expected, "{variables:?}");
        }
    }

    #[test]
    fn a_branch_is_known_by_its_short_name() {
        let remotes = ["upstream".to_owned()];
        for (written, expected) in [
            ("staging", "staging"),
            ("origin/staging", "staging"),
            ("upstream/staging", "staging"),
            ("refs/heads/staging", "staging"),
            ("refs/heads/origin/staging", "origin/staging"),
            ("remotes/origin/staging", "staging"),
            ("refs/remotes/upstream/feature/x", "feature/x"),
            ("feature/x", "feature/x"),
            ("elsewhere/staging", "elsewhere/staging"),
        ] {
            assert_eq!(short(written, &remotes), expected, "{written}");
        }
    }
}
