//! `shipit graph`

use crate::cli::Cx;
use crate::ops::draw::{Wanted, draw};
use crate::output::{Exit, Failure, plan};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let drawn = draw(&session, &Wanted::Apply { rebuild: false }).await?;
    cx.screen.show(&plan::dot(&drawn));
    Ok(Exit::Done)
}
