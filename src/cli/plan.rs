//! `shipit plan`

use std::path::PathBuf;

use crate::cli::Cx;
use crate::cli::arguments::FetchArgs;
use crate::files;
use crate::ops::plan::{Request, make_plan};
use crate::ops::plan_file::PlanFile;
use crate::output::{Exit, Failure, Format, Kind, plan};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit plan                                what `shipit apply` would do
  shipit plan --env production --out p.json  keep the plan, for `shipit apply p.json`
  shipit plan --detailed-exitcode            exit with 2 when something would change
  shipit plan --output markdown              for a comment on a change request";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Write the plan to a file, for `shipit apply FILE`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Build even what was built from the same inputs before.
    #[arg(long)]
    rebuild: bool,

    #[command(flatten)]
    remote: FetchArgs,

    /// Exit with 2 when there are changes.
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    if let Some(path) = &args.out {
        files::outputs::name(path);
    }
    let mut session = cx.session().await?;
    session.fetch = args.remote.fetch;
    let made = make_plan(
        &session,
        &Request::Apply {
            rebuild: args.rebuild,
        },
    )
    .await?;
    if let Some(path) = &args.out {
        let file = PlanFile::new(&session, made.clone(), args.rebuild).await?;
        files::replace(path, file.text().as_bytes()).map_err(|error| {
            Failure::say(
                Exit::Failed,
                format!("writing {}: {error}", path.display()),
                "name another file",
            )
        })?;
    }

    match cx.format {
        Format::Human => cx.screen.show(&plan::human(&made)),
        Format::Json => cx.screen.document(Kind::Plan, &made),
        Format::Markdown => cx.screen.show(&plan::markdown(&made)),
    }

    Ok(if args.detailed_exitcode && !made.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}
