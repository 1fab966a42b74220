//! `shipit destroy`

use crate::cli::Cx;
use crate::cli::approve::{RunArgs, approve_and_run};
use crate::ops::plan::Request;
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    approve_and_run(cx, &session, &Request::Destroy, &args.run, None).await
}
