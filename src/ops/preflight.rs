//! Before a plan: whether instances can be started here at all. Before a switch: whether the
//! rollback that the plan counts on is really there, and what is not signed yet.

use std::collections::BTreeSet;
use std::io;

use crate::config::schema::{BuildConfig, Runtime, Text};
use crate::files;
use crate::files::interpreter;
use crate::model::check::{Check, SignatureCheck};
use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::hook::HookCall;
use crate::model::loss::Loss;
use crate::model::plan::{Action, Plan};
use crate::model::signature::{command, signer};
use crate::model::{Address, LiveTraffic, ObjectKey, ServiceName, Slot};
use crate::ops::doctor::name;
use crate::ops::refused::{self, Refused};
use crate::ops::session::unavailable;
use crate::ops::{Error, Session};
use crate::policy::protected;
use crate::port::engine::{EngineError, Pull, Rehearsal, Rehearsed};
use crate::port::host_probe::Unavailable;
use crate::port::registry::signed_at;
use crate::proto::Directory;

/// What to do about a folder in which no agent can be.
pub(super) const AGENT_FOLDER: &str =
    "name a folder that can be written with `cluster.directory` or SHIPIT_AGENT_DIR";

/// How many files a note names.
const NAMED: usize = 5;

/// Fails when no agent runs on this machine and none can be started: known before a step is done,
/// of which nothing could be taken back.
pub fn can_begin(session: &Session) -> Result<(), Error> {
    // One elsewhere is no matter of this machine's folders.
    let host = session.configuration()?.cluster.host();
    let Some(host) = host.filter(|host| host.at.is_none()) else {
        return Ok(());
    };
    let directory = Directory::find(host.directory(&session.root));
    can_have_agent(&directory).map_err(|error| {
        let unreachable = EngineError::Unreachable {
            what: format!("starting an agent in {}", directory.path().display()),
            reason: error.to_string(),
            help: format!("nothing was changed: {AGENT_FOLDER}"),
        };
        unreachable.into()
    })
}

/// Fails when this machine cannot start instances as the environment asks for.
pub fn can_start(session: &Session) -> Result<(), Error> {
    let environment = session.configuration()?;
    let Some(host) = environment.cluster.host() else {
        return Ok(());
    };
    let Some(Unavailable { reason, help }) = unavailable(session, host) else {
        return Ok(());
    };
    let what = format!(
        "{} cannot be started by the runtime `{}`",
        session.environment,
        name(host.runtime)
    );
    Err(EngineError::Unreachable { what, reason, help }.into())
}

/// Fails where no agent has its socket, and none can be started: its folder cannot be written.
pub(super) fn can_have_agent(directory: &Directory) -> io::Result<()> {
    if directory.socket().exists() {
        return Ok(());
    }
    directory.open()?;
    files::try_writing(directory.path())
}

/// Why traffic could not go back to where it is now: an image that is gone, an object that is
/// missing, a quota that is too small. Empty when it could, and for a plan that switches nothing.
pub async fn rollback_blockers(
    session: &Session,
    plan: &Plan,
    desired: &Desired,
    facts: &Facts,
) -> Result<Vec<String>, Error> {
    let Some(slot) = leaves(plan) else {
        return Ok(Vec::new());
    };
    let Some(there) = facts.slots.get(&slot) else {
        return Ok(Vec::new());
    };

    let registry = &session.ports.registry;
    let images = there
        .workloads
        .iter()
        .map(|(service, workload)| async move {
            // An engine that has unpacked the image does not need the registry for it any more.
            let Pull::Repository(_) = registry.pull(workload.spec.home()) else {
                return None;
            };
            let image = workload.spec.image.value()?;
            let fault = registry.verify(workload.spec.home(), image).await.err()?;
            let help = fault.help();
            Some(format!(
                "the image of {service} in {slot} cannot be pulled again: {fault} ({help})"
            ))
        });

    let scope = session.scope();
    let (images, engine) = tokio::join!(
        futures_util::future::join_all(images),
        session
            .ports
            .engine
            .rollback_blockers(&scope, slot, &desired.objects)
    );
    Ok(images.into_iter().flatten().chain(engine?).collect())
}

/// What a checkout has without its submodules: folders with nothing in them, which a build takes as
/// they are.
pub async fn submodules(session: &Session) -> Result<Option<String>, Error> {
    let missing = session.scm.missing_submodules().await?;
    Ok((!missing.is_empty()).then(|| {
        format!(
            "the submodules {} are not checked out, and a build finds nothing in their folders: \
             `git submodule update --init --recursive`",
            missing.join(", ")
        )
    }))
}

/// What a checkout has not of the files of its commit: those that it leaves out, and those of which
/// it has a pointer alone. An image is made of what is there.
pub async fn missing_files(session: &Session) -> Result<Vec<String>, Error> {
    let left_out = session.scm.left_out().await?;
    let pointers = session.scm.pointers().await?;
    let of_sparse = (!left_out.is_empty()).then(|| {
        format!(
            "the checkout is sparse and leaves out {}, which no image gets: \
             `git sparse-checkout add FOLDER`, or `git sparse-checkout disable`",
            some_of(&left_out)
        )
    });
    let of_lfs = (!pointers.is_empty()).then(|| {
        format!(
            "the checkout has pointers of Git LFS and not the files, which an image would get: {}: \
             `git lfs pull`",
            some_of(&pointers)
        )
    });
    Ok(of_sparse.into_iter().chain(of_lfs).collect())
}

/// The first of many names.
fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The protected objects of entry points that a plan would delete and make again, for the server
/// does not change them in place.
pub async fn protected_entries(
    session: &Session,
    plan: &Plan,
    facts: &Facts,
) -> Result<Vec<Loss>, EngineError> {
    let scope = &session.scope();
    let engine = &session.ports.engine;
    let mut losses = Vec::new();
    for step in &plan.steps {
        for route in step.action.routes() {
            let Some(protected) = facts.protected_entries.get(&route.service) else {
                continue;
            };
            let replaced = engine.replaced(scope, route, facts.traffic, protected);
            losses.extend(replaced.await?.into_iter().map(|key| Loss {
                step: step.id,
                name: key.short(),
                holds: Vec::new(),
                is_protected: true,
            }));
        }
    }
    Ok(losses)
}

/// Asks the engine whether it would take what the plan places.
///
/// # Errors
/// It would not: all that it refuses, at once.
pub async fn rehearse(
    session: &Session,
    plan: &Plan,
    desired: &Desired,
    facts: &Facts,
) -> Result<Vec<String>, Error> {
    let said = rehearsed(session, plan, desired, facts).await?;
    if let Some(key) = said.iter().find_map(|(_, said)| said.protected.first()) {
        return Err(protected(&key.short()).into());
    }
    let refused = said.iter().flat_map(|(service, said)| {
        let refused = said.refused.iter();
        refused.map(|(key, fault)| Refused {
            service: Some(service),
            key,
            fault,
        })
    });
    refused::refuse(session, &refused.collect::<Vec<_>>()).await?;

    let notes = said
        .iter()
        .flat_map(|(service, said)| said.unchecked.iter().map(move |why| (service, why)));
    Ok(notes
        .map(|(service, why)| {
            format!("not all objects of {service} could be checked by the server: {why}")
        })
        .collect())
}

/// What the engine says to each workload that the plan places, all of them asked at once.
async fn rehearsed<'a>(
    session: &Session,
    plan: &'a Plan,
    desired: &Desired,
    facts: &Facts,
) -> Result<Vec<(&'a ServiceName, Rehearsed)>, EngineError> {
    let scope = &session.scope();
    let target = plan.target.as_ref().map(|target| target.release);
    let changing = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Apply { manifest, .. } => Some(manifest.key()),
        _ => None,
    });
    let changing: &BTreeSet<ObjectKey> = &changing.collect();
    let asked = plan.steps.iter().filter_map(|step| {
        let Address::Workload(slot, _) = step.address else {
            return None;
        };
        let Action::Deploy {
            workload,
            mode,
            label,
            running: true,
        } = &step.action
        else {
            return None;
        };

        let release = label.as_ref().map(|label| label.number).or(target)?;
        let pull = session.ports.registry.pull(workload.home());
        let current = facts.slots.get(&slot);
        Some(async move {
            let rehearsal = Rehearsal {
                slot,
                release,
                workload,
                mode: *mode,
                pull,
                current,
                objects: &desired.objects,
                changing,
            };
            let said = session.ports.engine.rehearse(scope, &rehearsal).await?;
            Ok((&workload.service, said))
        })
    });
    futures_util::future::try_join_all(asked).await
}

/// The images that nobody has signed yet and that the switch would be refused for, as far as they
/// are there already.
pub async fn unsigned(session: &Session, plan: &Plan) -> Result<Vec<String>, Error> {
    let registry = &session.ports.registry;
    let mut notes = Vec::new();
    for check in plan
        .steps
        .iter()
        .filter_map(|step| signatures(&step.action))
        .flatten()
    {
        for workload in plan
            .target
            .iter()
            .flat_map(|target| target.workloads.values())
        {
            let (service, Some(image)) = (&workload.service, workload.image.value()) else {
                continue;
            };

            let found = registry.signatures(workload.home(), image).await?;
            let (Err(_), Some(repository)) = (
                signer(&found, image, &check.keys),
                signed_at(registry.as_ref(), workload.home()),
            ) else {
                continue;
            };
            notes.push(format!(
                "{service} is not signed yet, and must be: `{}`",
                command(&repository, image)
            ));
        }
    }
    Ok(notes)
}

/// The checks and hooks of a plan whose program could not be started now. One may be made by a
/// build, so it is no refusal.
#[must_use]
pub fn missing_programs(session: &Session, plan: &Plan) -> Vec<String> {
    let checks = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Check { checks, .. } => Some(checks),
        _ => None,
    });
    let checks = checks.flatten().filter_map(|check| match check {
        Check::Run(run) => Some(("the check".to_owned(), &run.command)),
        _ => None,
    });
    let hooks = plan.hooks.iter().filter_map(|hook| match &hook.call {
        HookCall::Run { command, .. } => Some((format!("the hook {}", hook.name), command)),
        HookCall::Http { .. } => None,
    });
    let notes: BTreeSet<String> = checks
        .chain(hooks)
        .filter_map(|(what, command)| {
            let reason = interpreter::foreseen(command.first()?, &session.root)?;
            let words = command.join(" ");
            Some(format!(
                "{what} `{words}` cannot be started as things are: {reason}"
            ))
        })
        .collect();
    notes.into_iter().collect()
}

/// The services that an agent of root's would run as root although their configuration could say
/// otherwise.
#[must_use]
pub fn as_root(session: &Session, plan: &Plan) -> Vec<String> {
    let Ok(environment) = session.configuration() else {
        return Vec::new();
    };
    let Some(host) = environment.cluster.host() else {
        return Vec::new();
    };

    let is_plain = matches!(host.runtime, Runtime::Process | Runtime::Systemd);
    let has_root = match host.elsewhere() {
        Some(address) => address.user() == Some("root"),
        None => is_roots(&Directory::find(host.directory(&session.root))),
    };
    if !is_plain || !has_root {
        return Vec::new();
    }

    // One that is deployed stopped, and started behind its tasks, is deployed twice.
    let placed = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Deploy { workload, .. } => Some(&workload.service),
        _ => None,
    });
    let placed: BTreeSet<&ServiceName> = placed.collect();
    placed
        .into_iter()
        .filter(|service| {
            let service = environment.services.get(*service);
            match service.and_then(|service| service.build.as_ref()) {
                Some(BuildConfig::Pack(_, pack)) => says_root(pack.user.as_ref()),
                Some(BuildConfig::Docker(..) | BuildConfig::Buildah(..)) | None => false,
            }
        })
        .map(|service| {
            format!(
                "{service} runs as root, as the agent does: `build: {{user: \"65532\"}}` gives it \
                 a user of its own"
            )
        })
        .collect()
}

/// Whether the agent of a folder is root, or will be.
fn is_roots(folder: &Directory) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let owner = std::fs::metadata(folder.path()).map(|meta| meta.uid());
    owner.unwrap_or_else(|_| rustix::process::geteuid().as_raw()) == 0
}

fn says_root(user: Option<&Text>) -> bool {
    let name = user.map_or("", |user| user.0.split(':').next().unwrap_or_default());
    matches!(name, "" | "0" | "root")
}

/// The signatures that a step asks for.
fn signatures(action: &Action) -> Option<impl Iterator<Item = &SignatureCheck>> {
    let Action::Check { checks, .. } = action else {
        return None;
    };
    Some(checks.iter().filter_map(|check| match check {
        Check::Signature(check) => Some(check),
        _ => None,
    }))
}

/// The slot that loses its traffic.
fn leaves(plan: &Plan) -> Option<Slot> {
    plan.steps.iter().find_map(|step| match step.action {
        Action::Switch {
            from: LiveTraffic::All(from),
            to: LiveTraffic::All(_),
        } => Some(from),
        _ => None,
    })
}
