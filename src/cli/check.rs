//! `shipit check`

use crate::cli::Cx;
use crate::ops::policy::may_deploy;
use crate::output::{Exit, Failure, Page};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let verdict = may_deploy(&session).await?;
    let branch = session
        .source
        .branch
        .clone()
        .unwrap_or_else(|| "this checkout".to_owned());
    let rule = verdict.rule.map_or_else(
        || "no rule speaks of it".to_owned(),
        |rule| format!("by the rule `{}`", rule.pattern),
    );
    cx.screen.show(&Page::of(format!(
        "{branch} may deploy to {}: {rule}, {} commits looked at.",
        session.environment, verdict.commits
    )));
    Ok(Exit::Done)
}
