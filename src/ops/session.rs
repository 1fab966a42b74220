//! What every use case starts from: the project, the environment, the source and the drivers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::config::schema::{ClusterConfig, HostCluster, Runtime};
use crate::config::{self, EnvironmentConfig, Project};
use crate::desired::cluster::{self, Sources};
use crate::desired::{self, DesiredError};
use crate::driver::scm::git::Git;
use crate::files::beneath;
use crate::model::EnvironmentName;
use crate::model::desired::Desired;
use crate::model::kind::KindScopes;
use crate::model::secret::{SecretRef, SecretValue};
use crate::model::source::Source;
use crate::model::state::State;
use crate::ops::error::unresolved;
use crate::ops::{Error, sources, wiring};
use crate::port::engine::Scope;
use crate::port::host_probe::Unavailable;
use crate::port::{HostProbe, Ports, Scm};
use crate::proto::Directory;
use crate::redact::Redactor;

/// Credentials of this process that the libraries and programs which it uses take from its
/// environment.
const CREDENTIALS: [&str; 4] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "SOPS_AGE_KEY",
    "VAULT_TOKEN",
];

/// One project and one of its environments.
pub struct Session {
    /// The project's folder, absolute.
    pub root: PathBuf,
    /// The whole configuration.
    pub project: Project,
    /// The environment's name.
    pub environment: EnvironmentName,
    /// What is in the folder now.
    pub source: Source,
    /// The drivers.
    pub ports: Ports,
    /// Source control.
    pub scm: Git,
    /// Whether what the branch rules need of the remote may be fetched.
    pub fetch: bool,
    /// The texts that manifests are made from, once a command has needed them.
    sources: OnceCell<Sources>,
}

impl Session {
    /// Opens the project in a folder. The environment is `--env`, else the current branch's, else
    /// the only one. A branch that is given takes the place of the one that is checked out.
    /// `redactor` learns every secret that is read.
    pub async fn open(
        folder: &Path,
        environment: Option<&str>,
        branch: Option<&str>,
        redactor: &Redactor,
    ) -> Result<Self, Error> {
        let root = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let scm = Git::new(root.clone());
        let mut project = match config::load(&root) {
            Ok(project) => project,
            Err(error) => return Err(error.and_left_out(&left_out(&scm).await).into()),
        };
        crate::files::environment::withhold(secret_variables(&project));
        choose_runtimes(&root, wiring::host_probe().as_ref(), &mut project);
        let mut source = scm.source().await?;
        if let Some(branch) = branch {
            source.branch = Some(branch.to_owned());
            source.change = None;
        }
        if source.change.is_some() {
            believe_known_hosts_alone(&mut project);
        }

        let into = source
            .change
            .as_ref()
            .and_then(|change| change.into.as_ref());
        let branch = source.branch.as_ref().or(into);
        let meant = desired::environment_for(&project, environment, branch.map(String::as_str));
        let environment = match meant {
            Ok(environment) => environment,
            Err(error) => return Err(unless_left_out(error, &left_out(&scm).await).into()),
        };
        let configuration = of(&project, &environment)?;
        known_by_the_repository(&root, &source, &environment, configuration)?;
        let ports = wiring::ports(&root, &project, &environment, configuration, redactor)?;
        learn(&root, &ports, configuration).await;
        Ok(Self {
            root,
            project,
            environment,
            source,
            ports,
            scm,
            fetch: false,
            sources: OnceCell::new(),
        })
    }

    /// The environment's configuration.
    pub fn configuration(&self) -> Result<&EnvironmentConfig, Error> {
        of(&self.project, &self.environment)
    }

    /// Where the environment's objects are; nothing of one that is on no cluster.
    pub fn namespaces(&self) -> Result<BTreeSet<String>, Error> {
        let configuration = self.configuration()?;
        if configuration.cluster.kubernetes().is_none() {
            return Ok(BTreeSet::new());
        }
        let (project, environment) = (&self.project.name, &self.environment);
        let all = cluster::namespaces(project, environment, configuration)?;
        Ok(all.all().into_iter().map(str::to_owned).collect())
    }

    /// The environment on its engine.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            project: self.project.name.clone(),
            environment: self.environment.clone(),
        }
    }

    /// The texts that manifests are made from. They are read, and rendered by helm and kustomize,
    /// when they are first asked for: a command that moves what is there needs none of them.
    pub async fn sources(&self) -> Result<&Sources, Error> {
        let (project, environment) = (&self.project, &self.environment);
        self.sources
            .get_or_try_init(|| {
                let engine = &*self.ports.engine;
                sources::read(&self.root, project, environment, &self.source, engine)
            })
            .await
            .map_err(|error| match error {
                Error::Desired(error) if error.place.is_some() => {
                    unresolved(project, environment, &error.into())
                }
                other => other,
            })
    }

    /// What the configuration says of the environment as a whole, without its services and objects:
    /// how a release is brought to traffic, and the resources.
    pub fn outline(&self) -> Result<Desired, Error> {
        let (project, environment) = (&self.project, &self.environment);
        desired::outline(project, environment, &self.source)
            .map_err(|error| unresolved(project, environment, &error.into()))
    }

    /// What should be true, built from what is in the folder now.
    pub async fn desired(&self) -> Result<Desired, Error> {
        self.resolve(&self.source).await
    }

    /// The same, built from a source. Whether an object is in a namespace is asked of the server
    /// that will have it, unless the API has promised it or a definition beside it says so.
    pub async fn resolve(&self, source: &Source) -> Result<Desired, Error> {
        let sources = self.sources().await?;
        let first = self.resolve_with(source, sources)?;
        let defined = cluster::definitions(&first);
        let unknown = cluster::unknown(&first, &defined);
        let mut scopes = if unknown.is_empty() {
            KindScopes::default()
        } else {
            self.ports.engine.kind_scopes(&unknown).await?
        };
        scopes.extend(defined);
        if scopes == KindScopes::default() {
            return Ok(first);
        }
        let mut sources = sources.clone();
        sources.scopes = scopes;
        self.resolve_with(source, &sources)
    }

    /// The same without asking anybody: a kind that only a server knows is taken to be in a
    /// namespace.
    pub async fn resolve_offline(&self) -> Result<Desired, Error> {
        let mut sources = self.sources().await?.clone();
        sources.scopes = cluster::definitions(&self.resolve_with(&self.source, &sources)?);
        self.resolve_with(&self.source, &sources)
    }

    /// The same from what programs render, and from what they render when they are asked again.
    pub(super) async fn rendered_twice(&self) -> Result<(Desired, Desired), Error> {
        let (project, environment) = (&self.project, &self.environment);
        let engine = &*self.ports.engine;
        let first = self.resolve_with(&self.source, self.sources().await?)?;
        let again = sources::read(&self.root, project, environment, &self.source, engine).await?;
        Ok((first, self.resolve_with(&self.source, &again)?))
    }

    fn resolve_with(&self, source: &Source, sources: &Sources) -> Result<Desired, Error> {
        let (project, environment) = (&self.project, &self.environment);
        desired::resolve(project, environment, source, sources)
            .map_err(|errors| unresolved(project, environment, &errors))
    }

    /// The environment's state; an empty one before the first run.
    pub async fn state(&self) -> Result<State, Error> {
        let state = self.ports.store.load(&self.environment).await?;
        Ok(state
            .unwrap_or_else(|| State::empty(self.project.name.clone(), self.environment.clone())))
    }
}

/// The project in a folder, and what is checked out there, without an environment.
pub(super) async fn checkout(
    folder: &Path,
) -> Result<(Project, std::sync::Arc<dyn Scm>, Source), Error> {
    let root = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let project = config::load(&root)?;
    let scm = source_control(root);
    let source = scm.source().await?;
    Ok((project, scm, source))
}

/// The source control of a folder.
pub(super) fn source_control(folder: PathBuf) -> std::sync::Arc<dyn Scm> {
    std::sync::Arc::new(Git::new(folder))
}

/// The variables that any environment's secrets are read from, or what opens their sources: no
/// program of the project's sees them.
fn secret_variables(project: &Project) -> BTreeSet<String> {
    let environments = project.environments.values();
    let secrets = environments.flat_map(|environment| environment.secrets.values());
    let of_secrets = secrets.filter_map(|secret| secret.env.clone());
    let environments = project.environments.values();
    let of_sources = environments.flat_map(|environment| environment.sources.variables());
    of_secrets.chain(of_sources).collect()
}

/// Has the values hidden that this process can see: what it starts and asks may show them, whether
/// or not this command needs them itself. What cannot be read now is said by who needs it.
async fn learn(root: &Path, ports: &Ports, environment: &EnvironmentConfig) {
    for (name, secret) in &environment.secrets {
        if let Some(from) = secret.source().filter(|from| is_at_hand(root, from)) {
            let _ = ports.secrets.read(name, &from).await;
        }
    }
    let of_sources = environment.sources.variables();
    for name in CREDENTIALS.map(str::to_owned).into_iter().chain(of_sources) {
        if let Ok(value) = std::env::var(name) {
            ports.redactor.remember(&SecretValue::new(value));
        }
    }
}

/// What costs nothing to read and stays as it is: a pipe can be read only once, and a program or a
/// server is asked for what a run needs alone.
fn is_at_hand(root: &Path, from: &SecretRef) -> bool {
    match from {
        SecretRef::File(path) => {
            std::fs::metadata(root.join(path)).is_ok_and(|file| file.is_file())
        }
        SecretRef::Env(_) => true,
        SecretRef::Run(_)
        | SecretRef::Sops(_)
        | SecretRef::Vault(_)
        | SecretRef::AwsSecret(_)
        | SecretRef::AwsParameter(_)
        | SecretRef::Kubernetes(_) => false,
    }
}

/// A change request names the host that it is planned for, and could bring the key that its own
/// host is known by: what a plan asks the agent, it would ask there.
fn known_by_the_repository(
    root: &Path,
    source: &Source,
    environment: &EnvironmentName,
    configuration: &EnvironmentConfig,
) -> Result<(), Error> {
    let Some(host) = configuration.cluster.host() else {
        return Ok(());
    };
    let Some(known_hosts) = host.ssh.known_hosts.as_ref() else {
        return Ok(());
    };
    let known_hosts = root.join(known_hosts);
    let real = known_hosts.canonicalize().unwrap_or(known_hosts);
    let repository = beneath::repository(root).unwrap_or_else(|_| root.to_owned());
    if source.change.is_none() || !real.starts_with(repository) {
        return Ok(());
    }

    Err(Error::Usage {
        what: format!(
            "{environment} is on a host that is known by a file of the repository, and this is a \
             change request, which may have changed it"
        ),
        help: "name a file of the machine under `cluster.ssh.known_hosts`, or let it be known by \
               ~/.ssh/known_hosts"
            .to_owned(),
    })
}

/// A change request may name any host: one whose key nobody has seen is not believed.
fn believe_known_hosts_alone(project: &mut Project) {
    for environment in project.environments.values_mut() {
        if let ClusterConfig::Host(host) = &mut environment.cluster {
            host.ssh.is_known_beforehand = true;
        }
    }
}

/// What `runtime: auto` means on this machine: a container where one can be made, else a process.
fn choose_runtimes(root: &Path, machine: &dyn HostProbe, project: &mut Project) {
    for environment in project.environments.values_mut() {
        if let ClusterConfig::Host(host) = &mut environment.cluster
            && host.runtime == Runtime::Auto
        {
            let agent = Directory::find(host.directory(root));
            host.runtime = if machine.no_containers(agent.path()).is_none() {
                Runtime::Container
            } else {
                Runtime::Process
            };
        }
    }
}

/// Why instances cannot be started on this machine as its configuration asks for; none when they
/// can.
pub(super) fn unavailable(session: &Session, host: &HostCluster) -> Option<Unavailable> {
    // What another machine can do, its agent says when it is asked to.
    if host.at.is_some() {
        return None;
    }
    let machine = session.ports.host.as_ref();
    match host.runtime {
        Runtime::Systemd => machine.no_units(),
        Runtime::Container => {
            let agent = Directory::find(host.directory(&session.root));
            machine.no_containers(agent.path())
        }
        Runtime::Process | Runtime::Docker | Runtime::Auto => None,
    }
}

/// The files of the configuration that a sparse checkout has left out.
async fn left_out(scm: &Git) -> Vec<String> {
    let is_configuration = |file: &String| {
        let path = Path::new(file);
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml");
        file == "shipit.yaml" || (path.starts_with("environments") && is_yaml)
    };
    let files = scm.left_out().await.unwrap_or_default();
    files.into_iter().filter(is_configuration).collect()
}

/// An environment may be unknown because its file is not in the checkout.
fn unless_left_out(error: DesiredError, files: &[String]) -> DesiredError {
    if files.is_empty() {
        return error;
    }
    let help = format!(
        "{}; or is it one that the sparse checkout leaves out ({})? `git sparse-checkout add \
         environments`",
        error.help,
        files.join(", ")
    );
    DesiredError { help, ..error }
}

fn of<'a>(
    project: &'a Project,
    environment: &EnvironmentName,
) -> Result<&'a EnvironmentConfig, Error> {
    project
        .environments
        .get(environment)
        .ok_or_else(|| Error::Usage {
            what: format!("{} has no environment {environment}", project.name),
            help: format!("write environments/{environment}.yaml, or name another with --env"),
        })
}
