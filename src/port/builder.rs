//! The builder: from a build's specification and files to an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::model::build::{BuildSpec, Inputs};
use crate::model::sbom::Contents;
use crate::model::secret::SecretValue;
use crate::model::source::Source;
use crate::model::{ContentHash, Period, ServiceName};
use crate::port::Progress;
use crate::port::registry::{Bases, Blob, Built};

/// One build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The project's name, for the image's title.
    pub title: String,
    /// Whose image it is.
    pub service: ServiceName,
    /// The project's folder: the specification's paths are relative to it.
    pub root: PathBuf,
    /// How to build.
    pub spec: BuildSpec,
    /// What [`Builder::bases`] named, as far as it was found.
    pub bases: Bases,
    /// The values of the specification's secrets, by id.
    pub secrets: BTreeMap<String, SecretValue>,
    /// What it is built from: commit, branch and time go into the annotations.
    pub source: Source,
    /// The inputs' hash that the plan was made with; other inputs are [`BuildError::InputsMoved`].
    pub expects: ContentHash,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The files are not the ones that the plan saw.
    #[error("the build inputs of {service} changed since the plan was made")]
    InputsMoved {
        /// Whose.
        service: ServiceName,
    },
    /// The command cannot be started.
    #[error("`{command}` cannot be started: {source}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// The command ended with a failure.
    #[error("`{command}` ended with {status}")]
    Command {
        /// The command.
        command: String,
        /// How it ended, in words.
        status: String,
        /// Its last lines.
        log: Vec<String>,
    },
    /// Something to copy is not there, or cannot be copied.
    #[error("{path}: {reason}")]
    Copy {
        /// What.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The specification cannot be built.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// What it starts from is not there.
    #[error("the base image {reference} is not there: {looked}")]
    NoBase {
        /// The image.
        reference: String,
        /// Where it was looked for.
        looked: String,
    },
    /// It took too long.
    #[error("the build was not done within {within}")]
    Timeout {
        /// The limit.
        within: Period,
    },
    /// Somebody stopped it.
    #[error("the build was stopped")]
    Cancelled,
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A builder.
#[async_trait]
pub trait Builder: Send + Sync {
    /// The images that a build starts from, by reference.
    async fn bases(&self, root: &Path, spec: &BuildSpec) -> Result<Vec<String>, BuildError>;

    /// What a build depends on: reads and hashes the files. `bases` are the base images that are
    /// there now.
    async fn inputs(
        &self,
        root: &Path,
        spec: &BuildSpec,
        bases: &Bases,
    ) -> Result<Inputs, BuildError>;

    /// Builds, for each platform that the specification names. The same inputs and commit give the
    /// same digest on any machine, as far as the command does. When `cancel` is cancelled the
    /// command is stopped, with all of its children.
    async fn build(
        &self,
        request: &BuildRequest,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Built, BuildError>;

    /// What is in an image of this specification: read from its layers, lowest first, as far as
    /// they have files.
    async fn contents(&self, spec: &BuildSpec, layers: Vec<Blob>) -> Result<Contents, BuildError> {
        let _ = spec;
        let gaps = layers
            .iter()
            .map(|layer| format!("layer {}", layer.digest))
            .collect();
        Ok(Contents {
            gaps,
            ..Contents::default()
        })
    }
}
