//! Writing a `server.yaml`, and looking at whether it could be served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DoorError, wiring};
use crate::config::server::ServerConfig;
use crate::files;
use crate::files::environment;
use crate::files::program::{Bounds, Keep, LeftBehind, captured};
use crate::model::ProjectName;
use crate::model::pipeline::Pipeline;
use crate::ops::actor::uid_of;
use crate::port::engine::CheckResult;

/// How long a repository may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// The largest pipeline, in bytes.
const LARGEST: u64 = 256 << 10;

/// What was written, and what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The commands to type next.
    pub next: Vec<String>,
}

/// Writes a `server.yaml` for a project and its repository, and a unit for systemd beside it.
///
/// # Errors
/// The project's name is none, a file is there already or cannot be written.
pub fn init(
    path: &Path,
    (project, repository): (&str, &str),
    is_forced: bool,
) -> Result<Written, DoorError> {
    let failed = |reason: String| DoorError::Setup {
        what: format!("writing {}", path.display()),
        reason,
    };
    let project: ProjectName = project
        .parse()
        .map_err(|error: crate::model::name::NameError| failed(error.to_string()))?;
    let path = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
    let unit = path.with_file_name("shipit-serve.service");
    for file in [&path, &unit] {
        if file.exists() && !is_forced {
            return Err(failed(format!("{} is there already", file.display())));
        }
    }
    let repository = serde_json::to_string(repository).unwrap_or_default();
    let config = CONFIG
        .replace("PROJECT", project.as_str())
        .replace("REPOSITORY", &repository);
    let program = files::process::program().display().to_string();
    let service = UNIT
        .replace("PROGRAM", &program)
        .replace("CONFIG", &path.display().to_string());
    for (file, text) in [(&path, &config), (&unit, &service)] {
        files::replace(file, text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    Ok(Written {
        next: vec![
            format!("look through {} and adapt it", path.display()),
            format!("shipit serve check --config {}", path.display()),
            format!("shipit hook install --project {project} --bare /srv/git/{project}.git"),
            format!(
                "systemctl link {} && systemctl start shipit-serve",
                unit.display()
            ),
        ],
        files: vec![path, unit],
    })
}

const CONFIG: &str = "\
# The front doors of this machine: `shipit serve check` checks this file.
version: 1
data: /var/lib/shipit/serve            # the queue, the logs, the checkouts

listen:
  socket: {path: /run/shipit/serve.sock, users: [git]}     # Git hooks and commands of this machine
  # web: {address: \"0.0.0.0:8443\", tls: {certificate: /etc/shipit/web.crt, key: \
  /etc/shipit/web.key}}

# dashboard: {}                        # pages at `listen.web`; `shipit token issue` lets people in

runner: {workers: 2, within: 1h}

projects:
  PROJECT:
    source: {url: REPOSITORY}
    # receivers:                       # POST /hooks/PROJECT/gitea
    #   gitea: {kind: gitea, secrets: [{file: /etc/shipit/hook}]}
    environments:
      staging: {on: {branch: staging}}
      # production: {on: {tag: \"v*\"}, then: plan}
    may:                               # what the repository's own files may ask for
      registries: [layout]
      clusters: [host]
      secrets: []
      commands: never                  # `allowed`: builds, checks and services run as this user
";

/// Jobs are processes of their own, which outlive the server: only the server itself is ended with
/// its unit.
const UNIT: &str = "\
[Unit]
Description=The front doors of shipit
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=PROGRAM serve --config CONFIG
KillMode=process
Restart=always
RestartSec=1
RuntimeDirectory=shipit
RuntimeDirectoryPreserve=yes
StateDirectory=shipit

[Install]
WantedBy=multi-user.target
";

/// Looks at everything that serving needs, and changes nothing.
pub async fn check(config: &ServerConfig) -> Vec<CheckResult> {
    let mut found = vec![
        result(
            format!("the folder {}", config.data.display()),
            folder(&config.data),
            "make it, and give it to the user that serves",
        ),
        result(
            "the secrets of the receivers".to_owned(),
            wiring::secrets(config)
                .map(drop)
                .map_err(|error| error.to_string()),
            "a secret is a file that the server can read, or a variable of its environment",
        ),
        result(
            "the users of the socket".to_owned(),
            users(config),
            "name users of this machine",
        ),
    ];
    for (name, project) in &config.projects {
        if let Some(path) = &project.pipeline {
            found.push(result(
                format!("the pipeline of {name}"),
                pipeline(path).map(drop),
                "write `[{\"step\": \"compile\", \"commands\": [\"yarn build\"]}]`",
            ));
        }
        found.push(result(
            format!("the repository of {name}"),
            repository(&project.source.url).await,
            "the server's user must be able to read it; one of another user is named in `git \
             config --global --add safe.directory`",
        ));
    }
    found
}

fn result(what: String, result: Result<(), String>, help: &str) -> CheckResult {
    CheckResult {
        what,
        help: result.is_err().then(|| help.to_owned()),
        fault: result.err(),
    }
}

/// The pipeline in a file.
///
/// # Errors
/// It cannot be read, or is none.
pub(super) fn pipeline(path: &Path) -> Result<Pipeline, String> {
    let of = |reason: String| format!("{}: {reason}", path.display());
    let text = files::read_text(path, LARGEST).map_err(|error| of(error.to_string()))?;
    Pipeline::read(&text).map_err(|error| of(error.to_string()))
}

/// Whether a folder can be written, or made.
fn folder(path: &Path) -> Result<(), String> {
    let nearest = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let writable = rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK);
    writable.map_err(|error| format!("{}: {error}", nearest.display()))
}

fn users(config: &ServerConfig) -> Result<(), String> {
    let unknown = config
        .listen
        .socket
        .users
        .iter()
        .find(|name| uid_of(name).is_none());
    unknown.map_or(Ok(()), |name| {
        Err(format!("this machine has no user {name}"))
    })
}

/// Whether a repository answers.
async fn repository(url: &str) -> Result<(), String> {
    let mut command = environment::tool("git", &["SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_SSH"]);
    command
        .args(["ls-remote", "--quiet", "--heads", "--", url])
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("LC_ALL", "C");
    let bounds = Bounds {
        within: LIMIT,
        answer: Keep::Last(1 << 10),
        beside: 1 << 10,
        left_behind: LeftBehind::Ends,
    };
    let said = captured(command, None, &bounds)
        .await
        .map_err(|error| error.to_string())?;
    if said.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&said.beside);
    Err(text
        .trim()
        .lines()
        .next()
        .unwrap_or("git does not say why")
        .to_owned())
}
