//! What Docker's and buildah's commands are asked besides a build.

use std::path::Path;

use crate::driver::builder::dockerfile::unpack;
use crate::files::environment;
use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};
use crate::model::Digest;
use crate::model::build::{DockerfileSpec, Tool};
use crate::port::builder::BuildError;

/// Whether Docker's command can build by BuildKit: since version 23 that is a plugin, which may not
/// be there.
pub(super) async fn buildkit(spec: &DockerfileSpec) -> Result<bool, BuildError> {
    let version = asked_of(spec.tool, &["version", "--format", "{{.Client.Version}}"]).await?;
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    Ok(major < 23 || asked_of(spec.tool, &["buildx", "version"]).await.is_ok())
}

pub(super) fn needs_buildkit(what: &str) -> BuildError {
    let help = "Docker's plugin for it is not there: install `docker-buildx`";
    BuildError::Invalid {
        reason: format!("{what} need BuildKit, and {help}"),
    }
}

pub(super) fn save(tool: Tool, id: &str, folder: &Path) -> Vec<String> {
    let file = folder.join(unpack::ARCHIVE).display().to_string();
    let words: Vec<String> = match tool {
        Tool::Docker => vec![
            "docker".into(),
            "save".into(),
            "--output".into(),
            file,
            id.into(),
        ],
        Tool::Buildah => vec![
            "buildah".into(),
            "push".into(),
            id.into(),
            format!("docker-archive:{file}"),
        ],
    };
    words
}

/// An image that no registry has may be one that the tool made itself.
pub(super) async fn local(tool: Tool, name: &str) -> Result<Digest, BuildError> {
    let missing = || BuildError::NoBase {
        reference: name.to_owned(),
        looked: format!(
            "neither in its registry, if that answers, nor with {}",
            tool.command()
        ),
    };
    let id = match tool {
        Tool::Docker => asked_of(tool, &["image", "inspect", "--format", "{{.Id}}", name]).await,
        Tool::Buildah => {
            asked_of(
                tool,
                &[
                    "inspect",
                    "--type",
                    "image",
                    "--format",
                    "{{.FromImageID}}",
                    name,
                ],
            )
            .await
        }
    };

    let id = id.map_err(|_| missing())?;
    let id = if id.starts_with("sha256:") {
        id
    } else {
        format!("sha256:{id}")
    };
    id.parse().map_err(|_| missing())
}

/// What a tool answers to a question.
async fn asked_of(tool: Tool, words: &[&str]) -> Result<String, BuildError> {
    let shown = || format!("{} {}", tool.command(), words.join(" "));
    let mut command = environment::program(tool.command());
    command.args(words);
    let bounds = Bounds {
        within: std::time::Duration::from_secs(30),
        answer: Keep::Whole(1 << 20),
        beside: 64 << 10,
        left_behind: LeftBehind::GoesOn,
    };
    let output = captured(command, None, &bounds).await;
    let output = output.map_err(|error| match error {
        CaptureError::Start(source) => BuildError::Start {
            command: shown(),
            source,
        },
        CaptureError::Late(limit) => BuildError::Invalid {
            reason: format!("`{}` gave no answer in {limit:?}", shown()),
        },
        other => BuildError::Invalid {
            reason: format!("`{}`: {other}", shown()),
        },
    })?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.beside)
            .lines()
            .map(str::to_owned)
            .collect();
        return Err(BuildError::Command {
            command: shown(),
            status: output.status.to_string(),
            log,
        });
    }

    Ok(String::from_utf8_lossy(&output.answer).trim().to_owned())
}
