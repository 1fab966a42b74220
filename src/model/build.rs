//! How a service's image is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{ContentHash, Digest};

/// A build that is ready to be done: paths are relative to the project's folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BuildSpec {
    /// Run a command, pack files.
    Pack(PackSpec),
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
    /// Over the build's specification, its base's digest and every file: decides whether to build at all.
    pub hash: ContentHash,
    /// Each input file, relative to the context, with the hash of its content and mode.
    pub files: BTreeMap<String, ContentHash>,
    /// The base's digest, when there is a base.
    pub base: Option<Digest>,
}
