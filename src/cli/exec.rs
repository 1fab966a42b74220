//! `shipit exec`

use crate::cli::Cx;
use crate::cli::terminal::{AttachArgs, attach};
use crate::model::ServiceName;
use crate::model::command::CommandPlace;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit exec web -- sh                  a shell in a live instance
  shipit exec -- cat /etc/hosts          of the only service
  shipit exec web --slot green -- env    in the slot that waits
  shipit exec web -i -- psql < dump.sql  with an input";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The service; without it the only one.
    service: Option<ServiceName>,

    #[command(flatten)]
    attach: AttachArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    attach(
        cx,
        &args.attach,
        CommandPlace::Instance,
        args.service.clone(),
    )
    .await
}
