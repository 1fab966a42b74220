//! Showing a plan, having it approved, and carrying it out: what `apply`, `promote`, `rollback` and
//! the others share.

use std::sync::Arc;

use crate::cli::arguments::{ApprovalArgs, FetchArgs, LockArgs, SavedArgs, plan_file};
use crate::cli::reports::Reporter;
use crate::cli::{Cx, ask, plan, signals};
use crate::files;
use crate::model::approval::{Approval, Approved, SignedBy};
use crate::model::event::Event;
use crate::model::loss::{Consents, unconsented};
use crate::model::outcome::Outcome;
use crate::model::plan::{Intent, Plan};
use crate::ops::apply::{Options, run};
use crate::ops::plan::{Request, Ruled, make_plan};
use crate::ops::plan_file::PlanFile;
use crate::ops::{Error, Session};
use crate::output::events::View;
use crate::output::{Exit, Failure, Format, Screen, Verbosity, outcome, plan as view};

/// The arguments of every command that changes something.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub approval: ApprovalArgs,

    /// Switch even when there would be no rollback: an image or an object of the live release is
    /// gone, or a task is `breaking`. With `rollback`: to a release that a later one has taken
    /// something away from.
    #[arg(long, help_heading = "Approval")]
    pub allow_no_rollback: bool,

    /// Consent to a loss by the name that the plan prints, as `StatefulSet/db`; once for each.
    /// --auto-approve does not stand for it.
    #[arg(long, value_name = "NAME", help_heading = "Approval")]
    pub allow_data_loss: Vec<String>,

    /// Touch live traffic outside of its windows, for this reason, which the history keeps.
    #[arg(long, value_name = "REASON", help_heading = "Approval", value_parser = reason)]
    pub outside_window: Option<String>,

    #[command(flatten)]
    pub lock: LockArgs,
}

impl RunArgs {
    /// Those of a command that asks nobody.
    pub(super) const fn in_advance(lock: LockArgs) -> Self {
        Self {
            approval: ApprovalArgs { auto_approve: true },
            allow_no_rollback: false,
            allow_data_loss: Vec::new(),
            outside_window: None,
            lock,
        }
    }
}

/// A reason that says something.
fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("say why, as `INC-12`".to_owned());
    }
    Ok(text.to_owned())
}

/// The same for a command whose plan may be saved first, and carried out from its file.
pub(super) async fn save_or_run(
    cx: &Cx,
    request: &Request,
    args: &RunArgs,
    (saved, remote): (&SavedArgs, &FetchArgs),
) -> Result<Exit, Failure> {
    let file = saved.plan.as_deref().map(plan_file).transpose()?;
    let environment = file.as_ref().map(|file| file.plan.environment.to_string());
    let cx = Cx {
        env: cx.env.clone().or(environment),
        ..cx.clone()
    };
    let mut session = cx.session().await?;
    session.fetch = remote.fetch;
    let Some(out) = &saved.out else {
        return approve_and_run(&cx, &session, request, args, file).await;
    };

    files::outputs::name(out);
    let made = make_plan(&session, request).await?;
    plan::save(&session, &made, out, false).await?;
    let ruled = Ruled::of(&session, &made).await?;
    plan::show(&cx, &made, &ruled.verdicts);
    plan::wanted(&cx, &session, &made, Some(out)).await?;
    Ok(if ruled.is_refused {
        Exit::Refused
    } else {
        Exit::Done
    })
}

/// Makes the plan, shows it, asks, carries it out, and shows what came of it.
pub(super) async fn approve_and_run(
    cx: &Cx,
    session: &Session,
    request: &Request,
    args: &RunArgs,
    plan: Option<PlanFile>,
) -> Result<Exit, Failure> {
    let reporter = Reporter::default();
    with_options(cx, args, plan, &reporter, async |options| {
        run(session, request, options).await
    })
    .await
}

/// Calls a use case with the options that the arguments mean.
pub(super) async fn with_options(
    cx: &Cx,
    args: &RunArgs,
    plan: Option<PlanFile>,
    reporter: &Reporter,
    call: impl AsyncFnOnce(Options) -> Result<Outcome, Error>,
) -> Result<Exit, Failure> {
    let signals = signals::listen(&cx.screen);
    let shown = Arc::new(View::new(cx.format, cx.screen.clone()));
    let sink = Arc::clone(&shown);
    let (screen, output, auto_approve) = (cx.screen.clone(), cx.format, args.approval.auto_approve);
    let consents: Consents = args.allow_data_loss.iter().cloned().collect();
    let (planned, happened) = (reporter.clone(), reporter.clone());
    let approve = move |plan: &Plan, signed: &[SignedBy]| {
        planned.note(|report| {
            report.title = format!("{} → {}", plan.project, plan.environment);
            report.plan = Some(plan.clone());
        });
        show(&screen, plan, output, auto_approve);
        approve(plan, signed, auto_approve, &consents)
    };
    let options = Options {
        plan,
        allow_no_rollback: args.allow_no_rollback,
        outside_window: args.outside_window.clone(),
        lock_wait: args.lock.lock_timeout.get(),
        approve: Arc::new(approve),
        sink: Arc::new(move |event| {
            happened.event(&event);
            sink.show(&event);
        }),
        interrupted: signals.interrupted,
        killed: signals.killed,
    };

    let result = call(options).await?;
    reporter.event(&Event::Ended {
        outcome: result.clone(),
    });
    match cx.format {
        Format::Json => shown.show(&Event::Ended {
            outcome: result.clone(),
        }),
        Format::Human => cx.screen.show(&outcome::human(&result)),
        Format::Markdown => cx.screen.show(&outcome::human(&result).fenced()),
    }

    Ok(Exit::of(&result.ending))
}

fn show(screen: &Screen, plan: &Plan, output: Format, auto_approve: bool) {
    match output {
        Format::Json => {}
        // Whoever wants results alone and has approved it reads no plan.
        Format::Human if auto_approve && screen.verbosity() == Verbosity::Quiet => {}
        Format::Human => {
            let mut page = view::human(plan);
            page.blank();
            screen.show(&page);
        }
        Format::Markdown => screen.show(&view::markdown(plan)),
    }
}

fn approve(
    plan: &Plan,
    signed: &[SignedBy],
    auto_approve: bool,
    consents: &Consents,
) -> Result<Approved, Error> {
    let approved = |by| Approved {
        by,
        consents: consents.clone(),
    };
    if plan.is_empty() {
        return Ok(approved(Approval::NotNeeded));
    }
    // Whoever signed it has seen it, and said yes.
    if !signed.is_empty() {
        return Ok(approved(Approval::Signed(signed.to_vec())));
    }
    if auto_approve {
        return Ok(approved(Approval::InAdvance));
    }

    if !ask::is_possible() {
        return Err(Error::NotApproved {
            what: "nobody is here to approve the plan; nothing was changed".to_owned(),
            help: "look at it with `shipit plan`, then give --auto-approve; a plan file does not \
                   stand for an approval"
                .to_owned(),
        });
    }

    let is_approved = if plan.intent.ends_environment() {
        let environment = plan.environment.as_str();
        let what = match plan.intent {
            Intent::DestroyInfrastructure => " and its infrastructure are",
            _ => " is",
        };
        let question = format!("All of {environment}{what} deleted. Type its name to do so");
        ask::name(&question, environment)
    } else {
        ask::yes("Carry this plan out?")
    };

    if !is_approved {
        return Err(Error::NotApproved {
            what: "the plan was not approved; nothing was changed".to_owned(),
            help: "run the command again when it is".to_owned(),
        });
    }

    let mut approved = approved(Approval::AtTerminal);
    approved.consents.extend(asked_by_name(plan, consents));
    Ok(approved)
}

/// What a person at the terminal lets go, by typing its name.
fn asked_by_name(plan: &Plan, consents: &Consents) -> Consents {
    let missing = unconsented(&plan.losses, consents);
    let names: Consents = missing.iter().map(|loss| loss.name.clone()).collect();
    names
        .into_iter()
        .take_while(|name| {
            let question = format!("What {name} holds is destroyed. Type its name to let it go");
            ask::name(&question, name)
        })
        .collect()
}
