//! What makes images: `pack` from files, `dockerfile` by a tool that follows a Dockerfile.
//!
//! [`files`] lists and hashes what a build depends on, [`command`] runs a tool, [`image`] puts
//! configuration and manifest around layers, [`contents`] looks into an image. Start with
//! [`Builders`].

mod command;
mod contents;
pub mod dockerfile;
mod files;
mod hashing;
mod image;
pub mod pack;

use std::path::Path;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::driver::builder::dockerfile::Dockerfile;
use crate::driver::builder::pack::Pack;
use crate::model::build::{BuildSpec, Inputs};
use crate::model::sbom::Contents;
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::registry::{Bases, Blob, Built};
use crate::port::{Builder, Progress};

/// Every builder: each build goes to the one that it names.
#[derive(Debug, Default, Clone, Copy)]
pub struct Builders;

fn builder(spec: &BuildSpec) -> &'static dyn Builder {
    match spec {
        BuildSpec::Pack(_) => &Pack,
        BuildSpec::Dockerfile(_) => &Dockerfile,
    }
}

#[async_trait]
impl Builder for Builders {
    async fn bases(&self, root: &Path, spec: &BuildSpec) -> Result<Vec<String>, BuildError> {
        builder(spec).bases(root, spec).await
    }

    async fn inputs(
        &self,
        root: &Path,
        spec: &BuildSpec,
        bases: &Bases,
    ) -> Result<Inputs, BuildError> {
        builder(spec).inputs(root, spec, bases).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Built, BuildError> {
        builder(&request.spec)
            .build(request, progress, cancel)
            .await
    }

    /// `pack` puts what it copies into the uppermost layer.
    async fn contents(&self, spec: &BuildSpec, layers: Vec<Blob>) -> Result<Contents, BuildError> {
        let copied = matches!(spec, BuildSpec::Pack(_)).then(|| layers.len().saturating_sub(1));
        blocking(move || Ok(contents::read(&layers, copied))).await
    }
}

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let what = format!("{what} {}", path.display());
    |source| BuildError::Io { what, source }
}

/// Builds only from what the plan saw.
fn unmoved(request: &BuildRequest, now: &Inputs) -> Result<(), BuildError> {
    if now.hash == request.expects {
        return Ok(());
    }
    Err(BuildError::InputsMoved {
        service: request.service.clone(),
    })
}

fn misplaced() -> BuildError {
    BuildError::Invalid {
        reason: "the build is for another builder".to_owned(),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| {
            let source = std::io::Error::other(panic.to_string());
            Err(BuildError::Io {
                what: "building".to_owned(),
                source,
            })
        })
}
