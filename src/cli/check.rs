//! `shipit check`

use serde_json::{Value, json};

use crate::cli::Cx;
use crate::cli::arguments::FetchArgs;
use crate::model::source::Change;
use crate::ops::policy::{may_deploy, may_merge};
use crate::ops::{Error, Session};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit check --env production                  may this branch deploy to production?
  shipit check --fetch                           fetch first what a shallow clone lacks
  shipit check --commit \"$NEW\" --branch develop  in a pre-receive hook";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Look at this commit, and not at what is checked out: in a hook that looks at a push.
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,

    /// The branch that the commit is on, or is pushed to.
    #[arg(long, value_name = "NAME", requires = "commit")]
    branch: Option<String>,

    #[command(flatten)]
    remote: FetchArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let mut session = cx.session_on(args.branch.as_deref()).await?;
    session.fetch = args.remote.fetch;
    if let Some(commit) = &args.commit {
        let commit = session.scm.commit_of(commit).await.map_err(Error::from)?;
        session.source.commit = Some(commit);
        // What is checked out here is another matter.
        session.source.dirty = false;
    }

    let (said, document) = match &session.source.change {
        Some(change) => merge(&session, change)?,
        None => deploy(&session).await?,
    };
    match cx.format {
        Format::Json => cx.screen.document(Kind::BranchCheck, &document),
        _ => cx.screen.show(&Page::of(said)),
    }
    Ok(Exit::Done)
}

/// In words, and as a document. What may not is an error.
async fn deploy(session: &Session) -> Result<(String, Value), Failure> {
    let verdict = may_deploy(session).await?;
    let branch = session.source.branch.clone();
    let document = json!({
        "may": "deploy",
        "environment": session.environment,
        "branch": branch,
        "rule": verdict.rule.as_ref().map(|rule| &rule.pattern),
        "commits": verdict.commits,
    });
    let branch = branch.unwrap_or_else(|| "this checkout".to_owned());
    let rule = verdict.rule.map_or_else(
        || "no rule speaks of it".to_owned(),
        |rule| format!("by the rule `{}`", rule.pattern),
    );
    let said = format!(
        "{branch} may deploy to {}: {rule}, {} commits looked at.",
        session.environment, verdict.commits
    );
    Ok((said, document))
}

fn merge(session: &Session, change: &Change) -> Result<(String, Value), Failure> {
    let rule = may_merge(session, change)?;
    let document = json!({
        "may": "merge",
        "environment": session.environment,
        "change": change.to_string(),
        "rule": rule.as_ref().map(|rule| &rule.pattern),
    });
    let rule = rule.map_or_else(
        || "no rule speaks of it".to_owned(),
        |rule| format!("by the rule `{}`", rule.pattern),
    );
    let said = format!(
        "{change} may be merged, as far as its branches tell: {rule}. It is not deployed before."
    );
    Ok((said, document))
}
