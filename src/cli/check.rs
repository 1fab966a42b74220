//! `shipit check`

use serde_json::{Value, json};

use crate::cli::Cx;
use crate::cli::arguments::FetchArgs;
use crate::cli::reports::{ReportArgs, Reporter};
use crate::model::verdict::{Verdict, against};
use crate::ops::policy::{Grounds, audit, may_deploy, may_merge};
use crate::ops::{Error, Session};
use crate::output::{Exit, Failure, Format, Kind, Page, verdicts};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit check --env production                  may this branch deploy to production?
  shipit check --fetch                           fetch first what a shallow clone lacks
  shipit check --audit                           did all branches keep the rules?
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

    /// Look at all branches, since their rules began.
    #[arg(long, conflicts_with = "commit")]
    audit: bool,

    #[command(flatten)]
    remote: FetchArgs,

    #[command(flatten)]
    reports: ReportArgs,
}

/// What was asked, and what the rules say of it.
struct Answer {
    /// In words, where nothing is against it.
    said: String,
    /// For the heading of a comment.
    title: String,
    document: Value,
    verdicts: Vec<Verdict>,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let reporter = Reporter::new(&args.reports, "shipit check");
    let ended = asked(cx, args, &reporter).await;
    reporter.finish(cx, &args.reports, ended)
}

async fn asked(cx: &Cx, args: &Args, reporter: &Reporter) -> Result<Exit, Failure> {
    let answer = if args.audit {
        all(&Grounds::open(&cx.directory, args.remote.fetch).await?).await?
    } else {
        let mut grounds = Grounds::open(&cx.directory, args.remote.fetch).await?;
        let is_change = grounds.source.change.is_some() && args.branch.is_none();
        match nowhere(cx, args, &grounds) {
            _ if is_change => merge(&mut grounds).await?,
            Some(answer) => answer,
            None => deploy(cx, args).await?,
        }
    };
    reporter.note(|report| {
        report.title.clone_from(&answer.title);
        report.verdicts.clone_from(&answer.verdicts);
    });
    show(cx, &answer)
}

fn show(cx: &Cx, answer: &Answer) -> Result<Exit, Failure> {
    let is_allowed = against(&answer.verdicts).is_empty();
    match cx.format {
        Format::Json => {
            let mut document = answer.document.clone();
            document["allowed"] = is_allowed.into();
            document["verdicts"] = serde_json::to_value(&answer.verdicts).unwrap_or_default();
            cx.screen.document(Kind::BranchCheck, &document);
        }
        Format::Markdown => {
            let page = verdicts::markdown(&answer.title, &answer.verdicts);
            cx.screen.show(&page);
        }
        Format::Human if !is_allowed => return Err(verdicts::failure(&answer.verdicts)),
        Format::Human => {
            let mut page = Page::of(&answer.said);
            page.extend(verdicts::page(&answer.verdicts));
            cx.screen.show(&page);
        }
    }
    Ok(if is_allowed {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// A branch that deploys nowhere by its rule: that is what the rule says of it.
fn nowhere(cx: &Cx, args: &Args, grounds: &Grounds) -> Option<Answer> {
    let branch = args.branch.as_ref().or(grounds.source.branch.as_ref())?;
    let rule = grounds.rule_of(branch)?;
    if cx.env.is_some() || rule.environment.is_some() {
        return None;
    }
    let document = json!({
        "may": "deploy",
        "environment": null,
        "branch": branch,
        "rule": rule.pattern,
        "commits": 0,
    });
    Some(Answer {
        said: format!("{branch} deploys nowhere: by the rule `{}`.", rule.pattern),
        title: branch.clone(),
        document,
        verdicts: Vec::new(),
    })
}

async fn deploy(cx: &Cx, args: &Args) -> Result<Answer, Failure> {
    let mut session = cx.session_on(args.branch.as_deref()).await?;
    session.fetch = args.remote.fetch;
    if let Some(commit) = &args.commit {
        let commit = session.scm.commit_of(commit).await.map_err(Error::from)?;
        session.source.commit = Some(commit);
        // What is checked out here is another matter.
        session.source.dirty = false;
    }
    of_session(&session).await
}

async fn of_session(session: &Session) -> Result<Answer, Failure> {
    let check = may_deploy(session).await?;
    let branch = session.source.branch.clone();
    let environment = &session.environment;
    let document = json!({
        "may": "deploy",
        "environment": environment,
        "branch": branch,
        "rule": check.rule.as_ref().map(|rule| &rule.pattern),
        "commits": check.commits,
    });
    let branch = branch.unwrap_or_else(|| "this checkout".to_owned());
    let rule = check.rule.map_or_else(
        || "no rule speaks of it".to_owned(),
        |rule| format!("by the rule `{}`", rule.pattern),
    );
    Ok(Answer {
        said: format!(
            "{branch} may deploy to {environment}: {rule}, {} commits looked at.",
            check.commits
        ),
        title: format!("{branch} → {environment}"),
        document,
        verdicts: check.verdicts,
    })
}

async fn merge(grounds: &mut Grounds) -> Result<Answer, Failure> {
    let change = grounds.source.change.clone().unwrap_or_default();
    let verdicts = may_merge(grounds, &change).await.map_err(Error::from)?;
    let document = json!({
        "may": "merge",
        "change": change.to_string(),
    });
    let said =
        format!("{change} may be merged, as far as its branches tell. It is not deployed before.");
    Ok(Answer {
        said,
        title: change.to_string(),
        document,
        verdicts,
    })
}

async fn all(grounds: &Grounds) -> Result<Answer, Failure> {
    let verdicts = audit(grounds).await.map_err(Error::from)?;
    Ok(Answer {
        said: "All branches here kept the rules.".to_owned(),
        title: "All branches".to_owned(),
        document: json!({"may": "audit"}),
        verdicts,
    })
}
