//! `report-status`: the status of a commit, at the forge that keeps it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::files;
use crate::model::commit_status::{CommitStatus, ForgeKind, StatusPlace};
use crate::model::secret::SecretValue;
use crate::ops::session::source_control;
use crate::ops::{Error, wiring};
use crate::redact::Redactor;

/// The largest file with a token, in bytes.
const TOKEN: u64 = 64 << 10;

/// The largest file that describes an event of GitHub's, in bytes.
const EVENT: u64 = 25 << 20;

/// What was given by hand; the rest is what the build server says.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Which forge.
    pub forge: Option<ForgeKind>,
    /// Where its API is.
    pub api: Option<String>,
    /// The repository.
    pub repository: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// The variable with the token.
    pub token_variable: Option<String>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
}

/// A variable's value, if it has one.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// What a build server says of the commit that it builds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    forge: Option<ForgeKind>,
    api: Option<String>,
    repository: Option<String>,
    commit: Option<String>,
}

/// Where more is to be read about a build: the page of the build server's.
#[must_use]
pub fn page(variables: Variables<'_>) -> Option<String> {
    let said = |name: &str| variables(name).filter(|value| !value.trim().is_empty());
    let of_run = || {
        let (server, repository) = (said("GITHUB_SERVER_URL")?, said("GITHUB_REPOSITORY")?);
        let run = said("GITHUB_RUN_ID")?;
        Some(format!("{server}/{repository}/actions/runs/{run}"))
    };
    said("CI_JOB_URL")
        .or_else(|| said("CI_PIPELINE_URL"))
        .or_else(of_run)
        .or_else(|| said("BUILD_URL"))
}

/// Keeps tokens from every program that is started from now on, Git among them.
pub fn withhold(asked: &Asked) {
    let named = asked.token_variable.clone().into_iter();
    let known = [ForgeKind::Github, ForgeKind::Gitlab, ForgeKind::Gitea].map(token_variable);
    files::environment::withhold(named.chain(known.map(str::to_owned)));
}

/// Sets a status, once tokens are withheld ([`withhold`]). Gives where.
pub async fn report(
    folder: &Path,
    asked: &Asked,
    status: &CommitStatus,
    variables: Variables<'_>,
    redactor: &Redactor,
) -> Result<StatusPlace, Error> {
    let place = place(folder, asked, variables).await?;
    without_login("--api", &place.api)?;
    if let Some(url) = &status.target_url {
        without_login("--target-url", url)?;
    }
    let token = token(folder, asked, place.forge, variables)?;
    redactor.remember(&token);
    wiring::forge(token).report(&place, status).await?;
    Ok(place)
}

/// The commit, and who keeps it.
async fn place(
    folder: &Path,
    asked: &Asked,
    variables: Variables<'_>,
) -> Result<StatusPlace, Error> {
    let facts = facts(variables);
    let forge = asked.forge.or(facts.forge);
    let forge = forge.ok_or_else(|| missing("the forge", "--forge github, gitlab or gitea"))?;
    // What one forge's build server says is not of another forge.
    let facts = if facts.forge == Some(forge) {
        facts
    } else {
        Facts::default()
    };

    let api = asked.api.clone().or(facts.api).or_else(|| public(forge));
    let api = api.ok_or_else(|| missing("where its API is", "--api https://…/api/v1"))?;
    let repository = asked.repository.clone().or(facts.repository);
    let repository =
        repository.ok_or_else(|| missing("the repository", "--repository OWNER/NAME"))?;
    let commit = if let Some(commit) = asked.commit.clone().or(facts.commit) {
        commit
    } else {
        let source = source_control(folder.to_path_buf()).source().await?;
        let commit = source.commit;
        commit.ok_or_else(|| missing("the commit", "--commit HASH"))?
    };
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hash {
        return Err(Error::Usage {
            what: format!("{commit} is no commit's whole hash"),
            help: "give all 40 digits, as `git rev-parse HEAD` prints them".to_owned(),
        });
    }
    Ok(StatusPlace {
        forge,
        api,
        repository,
        commit,
    })
}

/// An address is shown, and sent on: no password may be in it.
fn without_login(option: &str, address: &str) -> Result<(), Error> {
    let rest = address.split_once("//").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', '\\', '?', '#']).next().unwrap_or(rest);
    if host.contains('@') {
        return Err(Error::Usage {
            what: format!("{option}: the address has a login in it"),
            help: "take it out: the token alone says who asks".to_owned(),
        });
    }
    Ok(())
}

fn missing(what: &str, how: &str) -> Error {
    Error::Usage {
        what: format!("{what} is not known: no build server says it here"),
        help: format!("give it: {how}"),
    }
}

fn public(forge: ForgeKind) -> Option<String> {
    match forge {
        ForgeKind::Github => Some("https://api.github.com".to_owned()),
        ForgeKind::Gitlab => Some("https://gitlab.com/api/v4".to_owned()),
        ForgeKind::Gitea => None,
    }
}

/// What a build server says. Gitea's and Forgejo's runners speak as GitHub's do, and say besides
/// who they are.
fn facts(variables: Variables<'_>) -> Facts {
    let said = |name: &str| variables(name).filter(|value| !value.trim().is_empty());
    let is_set = |name: &str| said(name).as_deref() == Some("true");
    if is_set("GITLAB_CI") {
        return Facts {
            forge: Some(ForgeKind::Gitlab),
            api: said("CI_API_V4_URL"),
            repository: said("CI_PROJECT_ID"),
            commit: said("CI_COMMIT_SHA"),
        };
    }
    if !is_set("GITHUB_ACTIONS") {
        return Facts::default();
    }

    let is_gitea = is_set("GITEA_ACTIONS") || is_set("FORGEJO_ACTIONS");
    let of_server = || Some(format!("{}/api/v1", said("GITHUB_SERVER_URL")?));
    Facts {
        forge: Some(if is_gitea {
            ForgeKind::Gitea
        } else {
            ForgeKind::Github
        }),
        api: if is_gitea {
            of_server()
        } else {
            said("GITHUB_API_URL")
        },
        repository: said("GITHUB_REPOSITORY"),
        // What is built of a change request is a merge that nobody looks at.
        commit: said("GITHUB_EVENT_PATH")
            .and_then(|path| head(Path::new(&path)))
            .or_else(|| said("GITHUB_SHA")),
    }
}

/// The commit of the change request that an event is about.
fn head(event: &Path) -> Option<String> {
    let bytes = files::read(event, EVENT).ok()?;
    let event: Value = serde_json::from_slice(&bytes).ok()?;
    let head = event.pointer("/pull_request/head/sha")?.as_str()?;
    Some(head.to_owned())
}

/// The variable that has a forge's token when nobody names one.
const fn token_variable(forge: ForgeKind) -> &'static str {
    match forge {
        ForgeKind::Github => "GITHUB_TOKEN",
        ForgeKind::Gitlab => "GITLAB_TOKEN",
        ForgeKind::Gitea => "GITEA_TOKEN",
    }
}

/// The token, from a file or a variable. No program that is started sees the variable.
fn token(
    folder: &Path,
    asked: &Asked,
    forge: ForgeKind,
    variables: Variables<'_>,
) -> Result<SecretValue, Error> {
    let usage = |what: String, help: &str| Error::Usage {
        what,
        help: help.to_owned(),
    };
    let text = if let Some(file) = &asked.token_file {
        let bytes = files::read(&folder.join(file), TOKEN);
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        text.map_err(|error| {
            let what = format!("the token's file {}: {error}", file.display());
            usage(what, "name a file with nothing but the token in it")
        })?
    } else {
        let variable = asked.token_variable.as_deref();
        let variable = variable.unwrap_or_else(|| token_variable(forge));
        variables(variable).ok_or_else(|| {
            let what = format!("there is no token: {variable} is not set");
            usage(
                what,
                "set it, or name a variable or a file: --token-variable, --token-file",
            )
        })?
    };

    let token = text.trim();
    let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_one {
        let what = "what stands for the token is none".to_owned();
        return Err(usage(what, "a token has no spaces and no line ends in it"));
    }
    Ok(SecretValue::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(&str, &str)]) -> Facts {
        facts(&|name| {
            let found = all.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_build_server_says_whose_commit_it_builds() {
        let some = |text: &str| Some(text.to_owned());
        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_API_URL", "https://api.github.com"),
            ("GITHUB_SERVER_URL", "https://git.example.com"),
            ("GITHUB_REPOSITORY", "shop/web"),
            ("GITHUB_SHA", "aa"),
        ];
        let found = of(&github);
        assert_eq!(found.forge, Some(ForgeKind::Github));
        assert_eq!(found.api, some("https://api.github.com"));
        assert_eq!(
            (found.repository, found.commit),
            (some("shop/web"), some("aa"))
        );

        let gitea: Vec<_> = github
            .into_iter()
            .chain([("GITEA_ACTIONS", "true")])
            .collect();
        let found = of(&gitea);
        assert_eq!(found.forge, Some(ForgeKind::Gitea));
        assert_eq!(found.api, some("https://git.example.com/api/v1"));

        let gitlab = of(&[
            ("GITLAB_CI", "true"),
            ("CI_API_V4_URL", "https://gitlab.example.com/api/v4"),
            ("CI_PROJECT_ID", "7"),
            ("CI_COMMIT_SHA", "bb"),
        ]);
        assert_eq!(gitlab.forge, Some(ForgeKind::Gitlab));
        assert_eq!((gitlab.repository, gitlab.commit), (some("7"), some("bb")));
        assert_eq!(of(&[("BRANCH_NAME", "develop")]), Facts::default());
    }

    #[test]
    fn of_a_change_request_it_is_the_commit_that_people_see() {
        let folder = tempfile::tempdir().expect("a folder");
        let event = folder.path().join("event.json");
        std::fs::write(&event, r#"{"pull_request": {"head": {"sha": "cc"}}}"#).expect("written");
        let path = event.display().to_string();
        let found = of(&[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SHA", "aa"),
            ("GITHUB_EVENT_PATH", &path),
        ]);
        assert_eq!(found.commit.as_deref(), Some("cc"));
    }
}
