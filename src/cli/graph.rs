//! `shipit graph`

use crate::cli::Cx;
use crate::ops::plan::{Request, make_plan};
use crate::output::{Exit, Failure, plan};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let made = make_plan(&session, &Request::Apply { rebuild: false }).await?;
    cx.screen.show(&plan::dot(&made));
    Ok(Exit::Done)
}
