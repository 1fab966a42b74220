//! `shipit run`

use crate::cli::Cx;
use crate::cli::terminal::{AttachArgs, attach};
use crate::model::ServiceName;
use crate::model::command::CommandPlace;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit run web -- ./manage.py shell           by itself, in the live release's image
  shipit run web --slot green -- ./migrate      in the image of the release that waits
  shipit run web --within 10m -- ./report.sh    ended after ten minutes";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The service whose image, environment and secrets it gets.
    service: ServiceName,

    #[command(flatten)]
    attach: AttachArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let service = Some(args.service.clone());
    attach(cx, &args.attach, CommandPlace::OneOff, service).await
}
