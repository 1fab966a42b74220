//! `shipit rehearse`

use std::path::PathBuf;

use crate::cli::Cx;
use crate::cli::arguments::plan_file;
use crate::model::rehearsal::FaultSpec;
use crate::ops::rehearse::rehearse;
use crate::output::{Exit, Failure, Format, Kind, rehearsal as view};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit rehearse                              each step fails once, and is killed once, in memory
  shipit rehearse p.json                       the plan that `shipit plan --out p.json` wrote
  shipit rehearse --faults traffic:lost-reply  the switch happens, and its answer is an error
  shipit rehearse --faults all:all             every kind of fault in every step
  shipit rehearse --output markdown            for a comment on a change request";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A plan that was made with --out; without it the one that `shipit apply` would make.
    #[arg(value_name = "PLANFILE")]
    plan: Option<PathBuf>,

    /// What goes wrong: STEP, KIND or STEP:KIND, several with commas. STEP is a number or an
    /// address of the plan, or `all`; KIND is `error`, `kill`, `slow`, `lost-reply` or `all`.
    /// Without it each step fails once, and is killed once.
    #[arg(long, value_name = "SPEC", value_delimiter = ',')]
    faults: Vec<FaultSpec>,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let file = args.plan.as_deref().map(plan_file).transpose()?;
    let named = file.as_ref().map(|file| file.plan.environment.to_string());
    let cx = Cx {
        env: cx.env.clone().or(named),
        ..cx.clone()
    };
    let session = cx.session().await?;
    let faults = if args.faults.is_empty() {
        vec![FaultSpec::default()]
    } else {
        args.faults.clone()
    };

    let report = Box::pin(rehearse(&session, file.as_ref(), &faults)).await?;
    match cx.format {
        Format::Json => cx.screen.document(Kind::Rehearsal, &report),
        Format::Human => cx.screen.show(&view::human(&report)),
        Format::Markdown => cx.screen.show(&view::markdown(&report)),
    }
    Ok(if report.broken().next().is_none() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
