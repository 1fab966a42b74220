//! `shipit render`

use crate::cli::{Cx, print};
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let desired = cx.session().await?.desired()?;
    let yaml = serde_saphyr::to_string(&desired).map_err(|error| {
        Failure::say(
            Exit::Failed,
            format!("what should be true cannot be written as YAML: {error}"),
            "please report it",
        )
    })?;
    print(&yaml);
    Ok(Exit::Done)
}
