//! `shipit render`

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::ops::Error;
use crate::output::{Exit, Failure, Format, Kind, Page};
use crate::port::engine::EngineError;

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit render --env production                 as YAML
  shipit render --env production --output json   for a program";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    let desired = match session.desired().await {
        // What should be true can be read where nothing can be reached.
        Err(Error::Engine(EngineError::Unreachable { .. })) => session.resolve_offline().await?,
        other => other?,
    };
    if cx.format == Format::Json {
        cx.screen.document(Kind::Desired, &desired);
        return Ok(Exit::Done);
    }

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
