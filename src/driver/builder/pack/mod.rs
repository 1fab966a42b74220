//! The builder `pack`: a command makes files, and the files make one reproducible layer on a base.
//!
//! [`inputs`] reads what a build depends on, [`command`] runs it, [`layer`] packs the files and [`image`] puts
//! configuration and manifest around them.

mod command;
mod image;
mod inputs;
mod layer;

use std::path::Path;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::model::build::{BuildSpec, Inputs};
use crate::port::Builder;
use crate::port::Progress;
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::registry::{BaseImage, BuiltImage};

/// The builder.
#[derive(Debug, Default, Clone, Copy)]
pub struct Pack;

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let what = format!("{what} {}", path.display());
    |source| BuildError::Io { what, source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        let source = std::io::Error::other(panic.to_string());
        Err(BuildError::Io { what: "building".to_owned(), source })
    })
}

#[async_trait]
impl Builder for Pack {
    async fn inputs(
        &self,
        root: &Path,
        spec: &BuildSpec,
        base: Option<&BaseImage>,
    ) -> Result<Inputs, BuildError> {
        let BuildSpec::Pack(spec) = spec.clone();
        let (root, base) = (root.to_path_buf(), base.map(|base| base.digest.clone()));
        blocking(move || inputs::read(&root, &spec, base)).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        let now = self.inputs(&request.root, &request.spec, request.base.as_ref()).await?;
        if now.hash != request.expects {
            return Err(BuildError::InputsMoved { service: request.service.clone() });
        }
        let BuildSpec::Pack(spec) = &request.spec;
        if !spec.run.is_empty() {
            command::run(request, spec, progress, cancel).await?;
        }
        let (request, spec) = (request.clone(), spec.clone());
        blocking(move || {
            let folder = tempfile::tempdir().map_err(io("making", Path::new("a temporary folder")))?;
            let layer = layer::pack(&request.root, &spec, folder.path())?;
            image::assemble(&request, &spec, layer, folder)
        })
        .await
    }
}
