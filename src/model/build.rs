//! How a service's image is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::secret::SecretRef;
use crate::model::{ContentHash, Digest, Period, Platform};

/// A build that is ready to be done: paths are relative to the project's folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BuildSpec {
    /// Run a command, pack files.
    Pack(PackSpec),
    /// Follow a Dockerfile.
    Dockerfile(DockerfileSpec),
}

impl BuildSpec {
    /// The folder whose files are the build's inputs.
    #[must_use]
    pub const fn context(&self) -> &PathBuf {
        match self {
            Self::Pack(spec) => &spec.context,
            Self::Dockerfile(spec) => &spec.context,
        }
    }

    /// The platforms that it names; none for an image of this machine's own.
    #[must_use]
    pub fn platforms(&self) -> &[Platform] {
        match self {
            Self::Pack(spec) => &spec.platforms,
            Self::Dockerfile(spec) => &spec.platforms,
        }
    }
}

/// A build by a Dockerfile, done by a tool that knows how.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DockerfileSpec {
    /// What follows the Dockerfile.
    pub tool: Tool,
    /// The folder that the Dockerfile copies from; what its `.dockerignore` leaves out is no input.
    pub context: PathBuf,
    /// The Dockerfile, relative to the context.
    pub dockerfile: PathBuf,
    /// The stage that is the image; the last one without it.
    pub target: Option<String>,
    /// Build arguments. Everybody who has the image can read them.
    pub args: BTreeMap<String, String>,
    /// Secrets that a `RUN --mount=type=secret` may read, by id. They come into no layer.
    pub secrets: BTreeMap<String, SecretRef>,
    /// Where layers of other builds are found.
    pub cache_from: Vec<String>,
    /// Where layers are kept for other builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_to: Option<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Folders of the project that are no inputs: shipit's own state and images.
    pub leave_out: Vec<PathBuf>,
    /// What images are made for; one for this machine alone when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// How long the build may take.
    #[serde(default = "an_hour", skip_serializing_if = "is_an_hour")]
    pub within: Period,
}

/// What follows a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// Docker, by its own command: the engine may be on another machine.
    Docker,
    /// buildah: no daemon, and no root where the machine allows it.
    Buildah,
}

impl Tool {
    /// The command.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Buildah => "buildah",
        }
    }
}

/// The builder `pack`: a command makes files, the files make one layer on a base.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PackSpec {
    /// The folder whose files are the build's inputs, where the command runs.
    pub context: PathBuf,
    /// Which files below it count as inputs, as globs; all that Git does not ignore when empty.
    pub inputs: Vec<String>,
    /// Folders of the project that are neither inputs nor packed: shipit's own state and images.
    pub leave_out: Vec<PathBuf>,
    /// The command; nothing to run when empty.
    pub run: Vec<String>,
    /// File or folder below the context → absolute path in the image.
    pub copy: BTreeMap<PathBuf, PathBuf>,
    /// What lies below the layer.
    pub base: Base,
    /// The argument vector that starts the service.
    pub entrypoint: Vec<String>,
    /// `uid` or `uid:gid` in numbers.
    pub user: Option<String>,
    /// Where the entrypoint starts.
    pub workdir: Option<PathBuf>,
    /// Environment variables of the image.
    pub env: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// The port that the image says it listens on.
    pub port: Option<u16>,
    /// What images are made for; one for this machine alone when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// How long the command may take.
    #[serde(default = "an_hour", skip_serializing_if = "is_an_hour")]
    pub within: Period,
}

/// How long a build may take unless it says otherwise.
#[must_use]
pub const fn an_hour() -> Period {
    Period::from_secs(3600)
}

fn is_an_hour(period: &Period) -> bool {
    *period == an_hour()
}

/// What an image is built on.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// Nothing.
    #[default]
    Scratch,
    /// An image of the registry, by tag or digest.
    Image(String),
}

/// What a build depends on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Inputs {
    /// Over the build's specification, its bases' digests and every file: decides whether to build
    /// at all.
    pub hash: ContentHash,
    /// Each input file, relative to the context, with the hash of its content and mode.
    pub files: BTreeMap<String, ContentHash>,
    /// What it is built on, by reference.
    pub bases: BTreeMap<String, Digest>,
}
