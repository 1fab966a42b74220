//! `shipit plan`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::arguments::{EnvironmentArg, FetchArgs};
use crate::cli::reports::{ReportArgs, Reporter};
use crate::cli::{Cx, drift};
use crate::files;
use crate::model::event::Event;
use crate::model::plan::Plan;
use crate::model::verdict::Verdict;
use crate::ops::Session;
use crate::ops::hooks::make_plan_in_hooks;
use crate::ops::plan::{Request, Ruled};
use crate::ops::plan_file::{PlanFile, command};
use crate::ops::policy::approvals;
use crate::output::events::View;
use crate::output::{Exit, Failure, Format, Kind, plan, verdicts};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit plan                                what `shipit apply` would do
  shipit plan --env production --out p.json  keep the plan, for `shipit apply p.json`
  shipit plan --detailed-exitcode            exit with 2 when something would change
  shipit plan --output markdown              for a comment on a change request
  shipit plan --refresh-only                 what others moved since shipit acted";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

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

    /// Show what moved since shipit acted last, as `shipit drift` does, and make no plan.
    #[arg(long, conflicts_with_all = ["out", "rebuild", "report"])]
    refresh_only: bool,

    #[command(flatten)]
    reports: ReportArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let reporter = Reporter::new(&args.reports, "shipit plan");
    let ended = planned(cx, args, &reporter).await;
    reporter.finish(cx, &args.reports, ended)
}

async fn planned(cx: &Cx, args: &Args, reporter: &Reporter) -> Result<Exit, Failure> {
    if let Some(path) = &args.out {
        files::outputs::name(path);
    }
    let mut session = cx.session().await?;
    if args.refresh_only {
        let has_moved = drift::look(cx, &session).await?;
        return Ok(if args.detailed_exitcode && has_moved {
            Exit::Changes
        } else {
            Exit::Done
        });
    }

    session.fetch = args.remote.fetch;
    let request = Request::Apply {
        rebuild: args.rebuild,
    };
    let view = View::new(Format::Human, cx.screen.clone());
    let made = make_plan_in_hooks(
        &session,
        &request,
        Arc::new(move |it: Event| view.show(&it)),
    )
    .await?;
    if let Some(path) = &args.out {
        save(&session, &made, path, args.rebuild).await?;
    }

    let ruled = Ruled::of(&session, &made).await?;
    reporter.note(|report| {
        report.title = format!("{} → {}", made.project, made.environment);
        report.verdicts.clone_from(&ruled.verdicts);
        report.plan = Some(made.clone());
    });
    show(cx, &made, &ruled.verdicts);
    wanted(cx, &session, &made, args.out.as_deref()).await?;
    if ruled.is_refused {
        return Ok(Exit::Refused);
    }

    Ok(if args.detailed_exitcode && !made.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// Writes a plan to a file.
pub(super) async fn save(
    session: &Session,
    made: &Plan,
    path: &Path,
    rebuild: bool,
) -> Result<(), Failure> {
    let file = PlanFile::new(session, made.clone(), rebuild).await?;
    files::outputs::write(path, file.text().as_bytes()).map_err(|error| {
        Failure::say(
            Exit::Failed,
            format!("writing {}: {error}", path.display()),
            "name another file",
        )
    })
}

/// Which approvals it wants before it is carried out, and how it gets them.
pub(super) async fn wanted(
    cx: &Cx,
    session: &Session,
    made: &Plan,
    out: Option<&Path>,
) -> Result<(), Failure> {
    let how = match out {
        Some(path) => {
            let path = path.display().to_string();
            let carry_out = command(made, Some(&path));
            format!("`shipit approve {path}`, then `shipit {carry_out}`")
        }
        None => "save the plan with --out FILE, then `shipit approve FILE`".to_owned(),
    };
    for wants in approvals::wants(session, made).await? {
        cx.screen.note(Some(&format!("{wants}: {how}")));
    }
    Ok(())
}

/// The plan, and what the rules say of it.
pub(super) fn show(cx: &Cx, made: &Plan, ruled: &[Verdict]) {
    match cx.format {
        Format::Json if ruled.is_empty() => cx.screen.document(Kind::Plan, made),
        Format::Json => {
            let mut document = serde_json::to_value(made).unwrap_or_default();
            document["verdicts"] = serde_json::to_value(ruled).unwrap_or_default();
            cx.screen.document(Kind::Plan, &document);
        }
        Format::Human => {
            let mut page = plan::human(made);
            page.extend(verdicts::section(ruled));
            cx.screen.show(&page);
        }
        Format::Markdown => {
            let mut page = plan::markdown(made);
            if !ruled.is_empty() {
                page.blank();
                page.extend(verdicts::markdown("Rules", ruled));
            }
            cx.screen.show(&page);
        }
    }
}
