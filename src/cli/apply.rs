//! `shipit apply`

use std::path::{Path, PathBuf};

use crate::cli::Cx;
use crate::cli::approve::{RunArgs, approve_and_run};
use crate::model::plan::{Intent, Plan};
use crate::ops::draw::Wanted;
use crate::output::{Exit, Failure};

/// The largest plan file that is read.
const LIMIT: u64 = 64 << 20;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A plan that was made with `shipit plan --out`; it is carried out as it is, or not at all.
    #[arg(value_name = "PLANFILE")]
    plan: Option<PathBuf>,

    /// Build even what was built from the same inputs before.
    #[arg(long, conflicts_with = "plan")]
    rebuild: bool,

    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let plan = args.plan.as_deref().map(read).transpose()?;
    let environment = plan.as_ref().map(|plan| plan.environment.to_string());
    let cx = Cx {
        env: cx.env.clone().or(environment),
        ..cx.clone()
    };
    let session = cx.session().await?;
    approve_and_run(
        &session,
        &Wanted::Apply {
            rebuild: args.rebuild,
        },
        &args.run,
        plan,
    )
    .await
}

fn read(path: &Path) -> Result<Plan, Failure> {
    let failed = |reason: String| {
        let help = "make one with `shipit plan --out FILE`";
        Failure::say(
            Exit::Failed,
            format!("the plan file {}: {reason}", path.display()),
            help,
        )
    };
    let size = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if size > LIMIT {
        return Err(failed(format!(
            "it has {size} bytes, more than any plan has"
        )));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    match plan.intent {
        Intent::Apply => Ok(plan),
        _ => Err(failed("it is not a plan of `apply`".to_owned())),
    }
}
