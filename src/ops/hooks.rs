//! Hooks of a project: which of them a plan has, and those around the making of a plan, which are
//! called here.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::EnvironmentConfig;
use crate::config::schema::{EnvEntry, HookConfig, SecretConfig, SecretEntry};
use crate::execute::{Sink, call_hook};
use crate::model::event::Event;
use crate::model::hook::{Hook, HookCall, HookFacts, HookPoint, HookSecret, HookStage};
use crate::model::journal::{Journal, What};
use crate::model::plan::{Intent, Plan};
use crate::model::release::Actor;
use crate::model::task::OnFailure;
use crate::model::{HookName, ReleaseNumber};
use crate::ops::actor::actor;
use crate::ops::plan::{Request, make_plan};
use crate::ops::{Error, Session};
use crate::port::hooks::HookFailure;

/// All hooks of the environment, by their names.
fn configured(configuration: &EnvironmentConfig, session: &Session) -> Vec<Hook> {
    let hooks = configuration.hooks.iter();
    let hooks = hooks.filter(|(_, hook)| hook.is_for(&session.environment));
    hooks
        .filter_map(|(name, hook)| resolved(configuration, name, hook))
        .collect()
}

/// A hook with all that its configuration names; none where that is missing, which a checked
/// configuration never has.
fn resolved(
    configuration: &EnvironmentConfig,
    name: &HookName,
    config: &HookConfig,
) -> Option<Hook> {
    let secret = |entry: &SecretEntry| {
        let from = configuration.secrets.get(&entry.secret);
        Some(HookSecret {
            name: entry.secret.clone(),
            from: from.and_then(SecretConfig::source)?,
        })
    };
    let call = match (&config.run, &config.http) {
        (Some(words), None) => {
            let (mut env, mut secrets) = (BTreeMap::new(), BTreeMap::new());
            for (variable, entry) in &config.env {
                match entry {
                    EnvEntry::Text(text) => {
                        env.insert(variable.clone(), text.0.clone());
                    }
                    EnvEntry::Secret(entry) => {
                        secrets.insert(variable.clone(), secret(entry)?);
                    }
                }
            }
            HookCall::Run {
                command: words.0.clone(),
                env,
                secrets,
                pass: config.pass.clone(),
            }
        }
        (None, Some(http)) => HookCall::Http {
            url: http.url.clone(),
            key: secret(&http.secret)?,
        },
        _ => return None,
    };
    Some(Hook {
        name: name.clone(),
        point: config.point()?,
        call,
        timeout: config.timeout,
        on_failure: config.means(),
    })
}

/// The hooks that belong to a plan, those left out that have nothing to be around.
pub(super) fn of_plan(session: &Session, plan: &Plan) -> Result<Vec<Hook>, Error> {
    let configuration = session.configuration()?;
    if configuration.hooks.is_empty() || plan.is_empty() {
        return Ok(Vec::new());
    }
    let has_stage = crate::execute::stages(plan);
    let mut hooks = configured(configuration, session);
    hooks.retain(|hook| match hook.point.stage {
        HookStage::Plan => false,
        // A run that fails after its switch goes back.
        HookStage::Rollback => plan.switches() || matches!(plan.intent, Intent::Rollback(_)),
        stage => has_stage.contains(&stage),
    });
    Ok(hooks)
}

/// The hooks of a plan that an earlier run has called for the same release, where that run did not
/// come to its end.
pub(super) async fn called(session: &Session, plan: &Plan) -> Result<BTreeSet<HookName>, Error> {
    if plan.hooks.is_empty() {
        return Ok(BTreeSet::new());
    }
    let last = session
        .ports
        .store
        .last_journal(&session.environment)
        .await?;
    let release = plan.target.as_ref().map(|target| target.release);
    let called = plan.hooks.iter().filter(|hook| {
        let journal = last.as_ref();
        journal.is_some_and(|journal| has_called(journal, hook, release))
    });
    Ok(called.map(|hook| hook.name.clone()).collect())
}

/// Whether a run that did not come to its end has called a hook for this release, and it ended
/// well.
fn has_called(journal: &Journal, hook: &Hook, release: Option<ReleaseNumber>) -> bool {
    let target = journal.plan().and_then(|plan| plan.target.as_ref());
    if !journal.is_cut_off() || release.is_none() || target.map(|it| it.release) != release {
        return false;
    }
    let is_same = journal.plan().is_some_and(|plan| plan.hooks.contains(hook));
    let mut entries = journal.entries.iter();
    is_same
        && entries.any(
            |entry| matches!(&entry.what, What::Hook { name, failed: None } if *name == hook.name),
        )
}

/// The hooks around the making of a plan.
pub struct Around<'a> {
    session: &'a Session,
    actor: &'a Actor,
    sink: &'a Sink,
    /// Whether they are called: what goes back is never held up, and what a change request brings
    /// is not carried out.
    is_called: bool,
}

impl<'a> Around<'a> {
    /// For who makes a plan.
    #[must_use]
    pub const fn of(
        session: &'a Session,
        request: &Request,
        actor: &'a Actor,
        sink: &'a Sink,
    ) -> Self {
        let goes_back = matches!(request, Request::Rollback(_) | Request::Abort);
        Self {
            session,
            actor,
            sink,
            is_called: !goes_back && session.source.change.is_none(),
        }
    }

    /// Before it is made.
    ///
    /// # Errors
    /// A hook has failed whose failure stops the command.
    pub async fn before(&self) -> Result<(), Error> {
        self.all(HookPoint::before(HookStage::Plan), None).await
    }

    /// Once it is made, and before it is shown.
    ///
    /// # Errors
    /// A hook has failed whose failure stops the command.
    pub async fn after(&self, plan: &Plan) -> Result<(), Error> {
        self.all(HookPoint::after(HookStage::Plan), Some(plan))
            .await
    }

    async fn all(&self, point: HookPoint, plan: Option<&Plan>) -> Result<(), Error> {
        let (session, actor) = (self.session, self.actor);
        let configuration = session.configuration()?;
        let hooks = configured(configuration, session).into_iter();
        for hook in hooks.filter(|hook| self.is_called && hook.point == point) {
            let facts = match plan {
                Some(plan) => HookFacts::of_plan(plan, &hook, actor),
                None => HookFacts {
                    commit: session.source.commit.clone(),
                    branch: session.source.branch.clone(),
                    ..HookFacts::new(&hook, (&session.project.name, &session.environment), actor)
                },
            };
            let told = |text: String| note(session, self.sink, &text);
            if let Err(failure) = call_hook(&session.ports, &hook, &facts, &told).await {
                failed(session, self.sink, &hook, failure)?;
            }
        }
        Ok(())
    }
}

/// Makes a plan, with what is called around that.
///
/// # Errors
/// There is no plan, or a hook has failed.
pub async fn make_plan_in_hooks(
    session: &Session,
    request: &Request,
    sink: Sink,
) -> Result<Plan, Error> {
    let actor = actor();
    let around = Around::of(session, request, &actor, &sink);
    around.before().await?;
    let plan = make_plan(session, request).await?;
    around.after(&plan).await?;
    Ok(plan)
}

fn failed(session: &Session, sink: &Sink, hook: &Hook, failure: HookFailure) -> Result<(), Error> {
    let (name, point) = (&hook.name, hook.point);
    let what = format!("the hook {name} ({point}) has failed: {failure}");
    match hook.on_failure {
        OnFailure::Note => {
            note(session, sink, &what);
            Ok(())
        }
        OnFailure::Stop => Err(Error::Hook {
            what: session.ports.redactor.text(&what),
            detail: session.ports.redactor.lines(failure.detail),
        }),
    }
}

fn note(session: &Session, sink: &Sink, text: &str) {
    let text = session.ports.redactor.text(text);
    sink(Event::Note { text });
}
