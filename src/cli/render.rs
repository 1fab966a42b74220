//! `shipit render`

use crate::cli::Cx;
use crate::ops::Error;
use crate::output::{Exit, Failure, Page};
use crate::port::engine::EngineError;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let desired = match session.desired().await {
        // What should be true can be read where nothing can be reached.
        Err(Error::Engine(EngineError::Unreachable { .. })) => session.resolve_offline().await?,
        other => other?,
    };
    let yaml = serde_saphyr::to_string(&desired).map_err(|error| {
        Failure::say(
            Exit::Failed,
            format!("what should be true cannot be written as YAML: {error}"),
            "please report it",
        )
    })?;
    cx.screen.show(&Page::document(&yaml));
    Ok(Exit::Done)
}
