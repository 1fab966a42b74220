//! How an image is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::Text;
use crate::model::{Period, Platform};

/// How an image is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Which builder.
    pub kind: BuildKind,
    /// The folder whose files are the build's inputs, and where `run` runs.
    #[serde(default = "here")]
    pub context: PathBuf,
    /// Which files of the context are inputs, as globs; without it all that Git does not ignore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// The command that makes the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Command>,
    /// What is copied: from a path in the context to an absolute path in the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copy: BTreeMap<PathBuf, PathBuf>,
    /// What lies below: `scratch`, or an image of the registry.
    #[serde(default = "scratch")]
    pub base: String,
    /// The argument vector that starts the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The user in numbers: `UID` or `UID:GID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Text>,
    /// Where the entrypoint starts, in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// Environment variables of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
    /// Labels of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    /// `docker` and `buildah`: the Dockerfile, relative to the context; `Dockerfile` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<PathBuf>,
    /// `docker` and `buildah`: the stage that is the image; the last one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `docker` and `buildah`: build arguments, templates. Everybody who has the image can read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Text>,
    /// `docker` and `buildah`: secrets of the environment that a `RUN --mount=type=secret,id=NAME` may read. They
    /// come into no layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Where layers of other builds are found, templates. `docker`: images that were built with this key; `buildah`:
    /// repositories that `cache_to` has filled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<String>,
    /// `buildah`: the repository that layers are kept in for other builds, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_to: Option<String>,
    /// What images are made for: `[linux/amd64, linux/arm64]`. The result is an index with an image for each. Without it
    /// the result is one image, for the machine that builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// How long it may take, for each platform.
    #[serde(default = "crate::model::build::an_hour")]
    pub within: Period,
}

fn here() -> PathBuf {
    ".".into()
}

fn scratch() -> String {
    "scratch".to_owned()
}

/// The builders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildKind {
    /// Run a command, pack files. Needs nothing but shipit.
    Pack,
    /// A Dockerfile, by Docker.
    Docker,
    /// A Dockerfile, by buildah.
    Buildah,
}

/// A command: a list is an argument vector, a text is split at blanks without a shell, and `{shell: "…"}` is
/// given to `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// Split at blanks.
    Line(String),
    /// As it is.
    Vector(Vec<String>),
    /// By a shell.
    Shell(Shell),
}

/// A command for `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    /// The command.
    pub shell: String,
}

impl Command {
    /// As an argument vector.
    #[must_use]
    pub fn vector(&self) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
            Self::Vector(vector) => vector.clone(),
            Self::Shell(Shell { shell }) => vec!["sh".to_owned(), "-c".to_owned(), shell.clone()],
        }
    }
}
