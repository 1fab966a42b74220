//! `shipit approve`

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use crate::cli::arguments::{ApprovalArgs, FetchArgs, plan_file};
use crate::cli::{Cx, ask};
use crate::model::approval::{PlanApproval, names};
use crate::ops::Error;
use crate::ops::approve::{Approving, SigningKey};
use crate::ops::plan_file::command;
use crate::output::{Exit, Failure, Format, Kind, Page, plan as view};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit approve p.json                    show the plan, ask, sign it with your SSH key
  shipit approve p.json --key \"$KEY\" -y    in a pipeline, with the key that it has
  shipit approve p.json --print > m        what to sign on another machine:
  ssh-keygen -Y sign -n shipit-approval -f KEY < m > s
  shipit approve p.json --message m --signature s";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A plan that was made with --out. The approval is written into it.
    #[arg(value_name = "PLANFILE")]
    plan: PathBuf,

    /// The SSH key that signs: a private one, or the public one of a key that the agent has.
    /// Without it the one in ~/.ssh that stands under `approvers`.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Print what is signed, and sign nothing.
    #[arg(long, conflicts_with_all = ["key", "message", "signature"])]
    print: bool,

    /// What --print printed, signed elsewhere.
    #[arg(
        long,
        value_name = "FILE",
        requires = "signature",
        conflicts_with = "key"
    )]
    message: Option<PathBuf>,

    /// Its signature, as `ssh-keygen -Y sign -n shipit-approval` writes it.
    #[arg(
        long,
        value_name = "FILE",
        requires = "message",
        conflicts_with = "key"
    )]
    signature: Option<PathBuf>,

    #[command(flatten)]
    remote: FetchArgs,

    #[command(flatten)]
    approval: ApprovalArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let file = plan_file(&args.plan)?;
    let fetch = args.remote.fetch;
    let mut approving = Approving::open(&cx.directory, &args.plan, file, fetch).await?;
    if args.print {
        let statement = approving.statement(Timestamp::now());
        cx.screen.pass(&statement.message());
        return Ok(Exit::Done);
    }

    let approval = match (&args.message, &args.signature) {
        (Some(message), Some(signature)) => approving.signed_elsewhere(message, signature)?,
        _ => signed(cx, args, &approving).await?,
    };
    let at = approval.at;
    let name = approving.attach(approval)?;
    show(cx, &args.plan, &approving, (&name, at));
    Ok(Exit::Done)
}

/// Shows the plan, asks, and has it signed.
async fn signed(cx: &Cx, args: &Args, approving: &Approving) -> Result<PlanApproval, Failure> {
    let key = match &args.key {
        Some(key) => approving.key(key)?,
        None => approving.own_key()?,
    };
    if cx.format == Format::Human {
        let mut page = view::human(&approving.file.plan);
        page.blank();
        cx.screen.show(&page);
    }
    if !args.approval.auto_approve {
        let shown = args.plan.display();
        let not_approved = |what: &str, help: String| Error::NotApproved {
            what: what.to_owned(),
            help,
        };
        if !ask::is_possible() {
            let what = "nobody is here to approve the plan; nothing was signed";
            let help = format!("look at it with `shipit show {shown}`, then give -y");
            return Err(not_approved(what, help).into());
        }
        if !ask::yes(&question(&key)) {
            let what = "the plan was not approved; nothing was signed";
            let help = format!("run `shipit approve {shown}` again when it is right");
            return Err(not_approved(what, help).into());
        }
    }
    Ok(approving.sign(&key).await?)
}

fn question(key: &SigningKey) -> String {
    let path = key.path.display();
    match &key.name {
        Some(name) => format!("Approve this plan as {name}, with {path}?"),
        None => format!("Approve this plan with {path}?"),
    }
}

/// How the plan stands now, and what comes next.
fn show(cx: &Cx, path: &Path, approving: &Approving, (name, at): (&str, Timestamp)) {
    let standing = approving.standing();
    let (plan, path) = (&approving.file.plan, path.display().to_string());
    if cx.format == Format::Json {
        let document = json!({
            "file": path,
            "name": name,
            "at": at,
            "plan": plan.hash(),
            "by": standing.by,
            "enough": standing.is_enough(),
            "verdicts": standing.verdicts,
        });
        cx.screen.document(Kind::Approval, &document);
        return;
    }

    let mut page = Page::of(format!(
        "{name} approved the plan of {} → {}: the approval is in {path}.",
        plan.project, plan.environment
    ));
    for verdict in &standing.verdicts {
        page.line(format!("{}.", verdict.reason));
    }
    page.line(if standing.is_enough() {
        format!("Next: `shipit {}`", command(plan, Some(&path)))
    } else {
        let (of, given) = (approving.of(), names(&standing.by));
        format!("Next: somebody{of} besides {given} runs `shipit approve {path}`")
    });
    cx.screen.show(&page);
}
