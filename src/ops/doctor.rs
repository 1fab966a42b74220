//! `doctor`: whether everything that a run needs is there, and may be used.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::agent::router::tls::CertificateError;
use crate::config::schema::{EnvironmentConfig, HostCluster, Runtime, StateConfig};
use crate::files;
use crate::model::desired::{Desired, ImageSource};
use crate::model::facts::Facts;
use crate::model::image::ImageHome;
use crate::model::route::{Listeners, Route};
use crate::model::secret::SecretRef;
use crate::model::task::TaskProgram;
use crate::model::workload::UserNamespace;
use crate::model::{Digest, Manifest, ServiceName};
use crate::ops::preflight::{AGENT_FOLDER, can_have_agent};
use crate::ops::session::unavailable;
use crate::ops::{Error, Session, certificates};
use crate::port::HostProbe;
use crate::port::engine::{CheckResult, EngineError};
use crate::port::host_probe::Unavailable;
use crate::port::secret::SecretReading;
use crate::proto::Directory;
use crate::redact::{Hidden, SHORTEST};

/// Looks at everything that a plan and its run would use. Changes nothing.
pub async fn examine(session: &Session) -> Result<Vec<CheckResult>, Error> {
    let desired = session.desired().await?;
    let mut found = vec![ok(format!(
        "{} → {} is valid",
        session.project.name, session.environment
    ))];
    let environment = session.configuration()?;
    if let Some(host) = environment.cluster.host().filter(|host| host.at.is_none()) {
        found.extend(instances(session, environment, host).await);
        found.extend(certificates_here(&desired).await);
    }

    found.extend(services_around(session, &desired).await);
    if environment
        .cluster
        .host()
        .is_some_and(|host| host.at.is_some())
    {
        found.extend(addresses_there(session, &desired).await);
    }
    found.push(state(session).await);
    found.extend(folders(session, environment));
    found.push(temporary_files());
    found.extend(state_of_a_folder(environment));
    let services = desired.services.values();
    let secrets: BTreeMap<&str, &SecretRef> = services
        .flat_map(|service| service.workload.secrets())
        .collect();
    let sources: Vec<&SecretRef> = secrets.values().copied().collect();
    found.extend(session.ports.secrets.examine(&sources).await);
    let asked = secrets
        .into_iter()
        .map(|(name, from)| secret(session, name, from));
    found.extend(join_all(asked).await);
    Ok(found)
}

/// Whether the certificates of listeners can be shown. Where the agent is another user's, it may
/// read what this one may not.
async fn certificates_here(desired: &Desired) -> Vec<CheckResult> {
    let routes = desired.services.values().filter_map(|it| it.route.as_ref());
    let wanted = certificates::wanted(routes, &Facts::default(), Timestamp::now()).await;
    let told = wanted.into_iter().map(|one| match one.says {
        Ok(says) => ok(format!(
            "the certificate of {} can be used: {}",
            one.service, says.certificate
        )),
        Err(denied @ CertificateError::Denied { .. }) => ok(format!(
            "the certificate of {} is not looked at here: {denied}; the agent does",
            one.service
        )),
        Err(reason) => {
            let help = "look at the files that `traffic.tls` names";
            failing(
                format!("the certificate of {} can be used", one.service),
                &reason.to_string(),
                help,
            )
        }
    });
    told.collect()
}

/// The provider, the engine and the registry.
async fn services_around(session: &Session, desired: &Desired) -> Vec<CheckResult> {
    let ports = &session.ports;
    let mut found = Vec::new();
    if !desired.resources.is_empty() {
        let provider = ports.provider.examine(&desired.resources).await;
        found.extend(
            provider.unwrap_or_else(|error| {
                vec![failing("the provider answers".to_owned(), &error, "")]
            }),
        );
    }

    let (scope, objects) = (session.scope(), objects(desired));
    let tasks: Vec<&TaskProgram> = desired.tasks.values().map(|task| &task.program).collect();
    let engine = ports.engine.examine(&scope, &objects, &tasks).await;
    found.extend(engine.unwrap_or_else(|error| vec![engine_fault(&error)]));

    let repositories = desired
        .services
        .iter()
        .map(|(service, wanted)| image(session, service, &wanted.image));
    found.extend(join_all(repositories).await);
    found
}

/// Whether the addresses of listeners that are not open yet are free on another machine. Where it
/// does not answer, that is said already.
async fn addresses_there(session: &Session, desired: &Desired) -> Vec<CheckResult> {
    let engine = &session.ports.engine;
    let Ok(facts) = engine.observe(&session.scope()).await else {
        return Vec::new();
    };
    let addresses = |route: &Route| {
        let routed = route.listeners().map(Listeners::routed).unwrap_or_default();
        routed.into_iter().map(|it| it.address).collect::<Vec<_>>()
    };
    let open: Vec<SocketAddr> = facts.routes.values().flat_map(addresses).collect();
    let routes = desired.services.values().filter_map(|it| it.route.as_ref());
    let wanted: Vec<SocketAddr> = routes
        .flat_map(addresses)
        .filter(|address| !open.contains(address))
        .collect();

    let Ok(taken) = engine.occupied(&wanted).await else {
        return Vec::new();
    };
    let told = wanted.into_iter().map(|address| {
        let what = format!("{address} is free there");
        if !taken.contains(&address) {
            return ok(what);
        }
        let help = "stop who has it, or set another address under `traffic.listeners`";
        failing(what, &"somebody listens there already", help)
    });
    told.collect()
}

/// Whether the registry that a service's image is in lets it be looked for.
async fn image(session: &Session, service: &ServiceName, source: &ImageSource) -> CheckResult {
    let Some(name) = source.name() else {
        return repository(session, service).await;
    };
    let registry = &session.ports.registry;
    let asked = async {
        let digest = registry.resolve(name).await?;
        let home = ImageHome::Elsewhere(&name.repository);
        registry.verify(home, &digest).await
    };
    let what = format!("the image of {service}, {name}, is there");
    match asked.await {
        Ok(()) => ok(what),
        Err(error) => failing(what, &error, error.help()),
    }
}

async fn repository(session: &Session, service: &ServiceName) -> CheckResult {
    let registry = &session.ports.registry;
    let what = format!("the registry {} answers for {service}", registry.place());
    match registry.has(service, &Digest::of(b"doctor")).await {
        Ok(_) => ok(what),
        Err(error) => failing(what, &error, "look at `registry:` and at the credentials"),
    }
}

async fn state(session: &Session) -> CheckResult {
    let what = "the state can be read".to_owned();
    match session.state().await {
        Ok(_) => ok(what),
        Err(error) => failing(
            what,
            &error,
            "`shipit state restore` goes back to the one before",
        ),
    }
}

/// Whether builds and renderers have a folder for what they make on the way.
fn temporary_files() -> CheckResult {
    let place = std::env::temp_dir();
    let what = format!("temporary files can be written in {}", place.display());
    match files::temporary::folder() {
        Ok(_) => ok(what),
        Err(error) => failing(what, &error, files::temporary::HELP),
    }
}

/// What a run would write to on this machine and cannot.
fn folders(session: &Session, environment: &EnvironmentConfig) -> Vec<CheckResult> {
    let unwritable = |what: String, tried: io::Result<()>, help: &str| {
        tried.err().map(|error| failing(what, &error, help))
    };
    let folder = |what: &str, path: &Path| {
        let path = session.root.join(path);
        let tried = files::try_writing(&path);
        let what = format!("{what} {} can be written", path.display());
        unwritable(
            what,
            tried,
            "look at the folder's owner and permissions, or name another",
        )
    };

    let state =
        matches!(environment.state, StateConfig::Local(_)).then(|| environment.state.path());
    let state = state.and_then(|path| folder("the state in", path));
    let registry = &environment.registry;
    let layout = registry.is_layout().then(|| registry.path());
    let layout = layout.and_then(|path| folder("the registry", path));
    let own = environment.cluster.host().filter(|host| host.at.is_none());
    let agent = own.and_then(|host| {
        let directory = Directory::find(host.directory(&session.root));
        let what = format!("an agent can be started in {}", directory.path().display());
        unwritable(what, can_have_agent(&directory), AGENT_FOLDER)
    });
    state.into_iter().chain(layout).chain(agent).collect()
}

/// What somebody should know whose releases run elsewhere and whose history is here.
fn state_of_a_folder(environment: &EnvironmentConfig) -> Option<CheckResult> {
    let at = environment.cluster.host()?.at.as_ref()?;
    let StateConfig::Local(_) = environment.state else {
        return None;
    };
    Some(ok(format!(
        "the history of {at} is in a folder of this machine: for those who deploy from others, \
         `state: {{kind: host}}` keeps it there"
    )))
}

async fn secret(session: &Session, name: &str, from: &SecretRef) -> CheckResult {
    let what = format!("the secret {name} can be read");
    match session.ports.secrets.read(name, from).await {
        Ok(read) if read.value.expose().is_empty() => failing(
            format!("the secret {name} has a value"),
            &"it is empty",
            "look at where it comes from",
        ),
        Ok(read) if Hidden::of(&read.value) == Hidden::TooShort => failing(
            format!("the secret {name} can be kept out of what is printed"),
            &format!("it has less than {SHORTEST} characters, which are part of many words"),
            "give it a longer value",
        ),
        Ok(SecretReading {
            version: Some(version),
            ..
        }) => ok(format!("{what}: {version}")),
        Ok(_) => ok(what),
        Err(error) => failing(what, &error, &error.help),
    }
}

/// How instances are started on this machine, and what is not possible.
async fn instances(
    session: &Session,
    environment: &EnvironmentConfig,
    host: &HostCluster,
) -> Vec<CheckResult> {
    let runtime = host.runtime;
    let what = format!("instances are started by the runtime `{}`", name(runtime));
    if let Some(Unavailable { reason, help }) = unavailable(session, host) {
        return vec![failing(what, &reason, &help)];
    }

    let mut found = vec![ok(what)];
    let machine = session.ports.host.as_ref();
    found.extend(files_on_disk(environment, machine));
    let agent = || Directory::find(host.directory(&session.root));
    match runtime {
        Runtime::Systemd if !machine.units_go_on().await => {
            let what = "units go on when you log out".to_owned();
            found.push(failing(
                what,
                &"lingering is off",
                "`loginctl enable-linger` switches it on",
            ));
        }
        Runtime::Container if !machine.containers_have_limits() => {
            found.push(ok(
                "limits of containers are not possible here: they need root".to_owned(),
            ));
        }
        Runtime::Container => found.push(container_users(
            environment,
            host.user_namespace,
            |volumes| machine.no_users(agent().path(), volumes),
        )),
        Runtime::Process => {
            let told = |Unavailable { reason, .. }| {
                ok(format!(
                    "containers without a daemon are not possible here: {reason}"
                ))
            };
            found.extend(machine.no_containers(agent().path()).map(told));
        }
        _ => {}
    }
    found
}

/// Whether the files of instances, which may be secrets, are not held in memory.
fn files_on_disk(environment: &EnvironmentConfig, machine: &dyn HostProbe) -> Option<CheckResult> {
    let mut services = environment.services.values();
    if !services.any(|service| !service.files.is_empty()) {
        return None;
    }
    let reason = machine.why_on_disk()?;
    Some(ok(format!(
        "the files of instances are written to the disk: {reason}"
    )))
}

/// Whether a container's root is the machine's.
fn container_users(
    environment: &EnvironmentConfig,
    wanted: UserNamespace,
    no_users: impl Fn(&[PathBuf]) -> Option<String>,
) -> CheckResult {
    let what = "containers have users of their own".to_owned();
    if wanted == UserNamespace::Off {
        return ok("root of a container is root of this machine: `user_namespace: off`".to_owned());
    }

    let services = environment.services.values();
    let volumes: Vec<PathBuf> = services
        .flat_map(|service| {
            service
                .volumes
                .values()
                .map(|volume| PathBuf::from(volume.from()))
        })
        .collect();
    let Some(reason) = no_users(&volumes) else {
        return ok(what);
    };

    let help = "move the agent's folder or the volume to a file system that can, as ext4, XFS and \
                btrfs can; `user_namespace: off` does without";
    match wanted {
        UserNamespace::Required => failing(what, &reason, help),
        UserNamespace::Preferred | UserNamespace::Off => ok(format!(
            "root of a container is root of this machine: {reason}"
        )),
    }
}

/// A runtime by its name in the configuration.
pub(super) const fn name(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Process => "process",
        Runtime::Container => "container",
        Runtime::Docker => "docker",
        Runtime::Systemd => "systemd",
        Runtime::Auto => "auto",
    }
}

/// Every object that a run may make.
pub(super) fn objects(desired: &Desired) -> Vec<Manifest> {
    let mut all = desired.objects.clone();
    for service in desired.services.values() {
        all.extend(service.workload.all_objects().cloned());
        if let Some(route) = service.route.as_ref().and_then(Route::objects) {
            all.extend(route.fixed.iter().cloned());
            all.push(route.off.clone());
        }
    }
    all
}

fn ok(what: String) -> CheckResult {
    CheckResult {
        what,
        fault: None,
        help: None,
    }
}

fn failing(what: String, fault: &dyn std::fmt::Display, help: &str) -> CheckResult {
    CheckResult {
        what,
        fault: Some(fault.to_string()),
        help: Some(help.to_owned()),
    }
}

fn engine_fault(error: &EngineError) -> CheckResult {
    let help = match error {
        EngineError::Unreachable { help, .. } | EngineError::Refused { help, .. } => help.clone(),
        _ => "look at `cluster:`".to_owned(),
    };
    failing("the engine answers".to_owned(), error, &help)
}
