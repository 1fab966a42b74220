//! Which drivers a configuration means: the one place that names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::agent::host_probe::ThisMachine;
use crate::config::schema::{
    ClusterConfig, Conflicts, EcrRegistry, EksCluster, HostCluster, LayoutRegistry, OciRegistry,
    ReadyRule, RegistryConfig, RemoteRegistry, Runtime,
};
use crate::config::{EnvironmentConfig, Project};
use crate::desired;
use crate::driver::aws::Aws;
use crate::driver::aws::login::{self, EcrLogin};
use crate::driver::aws::provider::AwsProvider;
use crate::driver::aws::recipient::Recipient;
use crate::driver::aws::token::EksLogin;
use crate::driver::builder::Builders;
use crate::driver::check::Checks;
use crate::driver::forge::RemoteForge;
use crate::driver::hook::Hooks;
use crate::driver::host::tunnel::{Destination, HostTrust};
use crate::driver::host::{ElsewhereEngine, HostEngine, Machine};
use crate::driver::kubernetes::client::{ClusterConnection, ClusterLogin, ClusterPlace};
use crate::driver::kubernetes::engine::ready::Rule;
use crate::driver::kubernetes::engine::{Conflict, KubernetesEngine, Settings};
use crate::driver::redacted::{
    RedactedStore, RememberedClusterLogin, RememberedLogin, RememberedSecrets,
};
use crate::driver::registry::layout::Layout;
use crate::driver::registry::oci::remote::{Login, Remote, Trust, WrittenLogin};
use crate::driver::registry::oci::{Location, Oci};
use crate::driver::secret::{Secrets, Servers};
use crate::files;
use crate::model::EnvironmentName;
use crate::model::secret::SecretValue;
use crate::ops::state::wiring::store;
use crate::ops::{Error, Session};
use crate::port::engine::Scope;
use crate::port::provider::NoProvider;
use crate::port::{Engine, Forge, HostProbe, Ports, Provider, Registry};
use crate::proto::Directory;
use crate::redact::Redactor;

pub use crate::driver::render::{Chart, Recipe, render};
pub use crate::driver::signer::sign;
pub use crate::ops::state::wiring::LocalStore;

/// The largest certificate authority that is read.
const LARGEST: u64 = 1 << 20;

/// Who sets statuses of commits by this token.
#[must_use]
pub fn forge(token: SecretValue) -> Box<dyn Forge> {
    Box::new(RemoteForge::new(token))
}

/// What this machine can start.
#[must_use]
pub fn host_probe() -> Arc<dyn HostProbe> {
    Arc::new(ThisMachine)
}

/// The drivers for one environment.
pub fn ports(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    redactor: &Redactor,
) -> Result<Ports, Error> {
    // What one of them learns of the cluster holds for the other.
    let around = Around::of(root, environment, redactor)?;
    let servers = Servers {
        vault: environment.sources.vault.clone().unwrap_or_default(),
        aws: around.amazon.secrets(environment),
    };
    let secrets = Arc::new(Secrets::new(root.to_path_buf(), servers, redactor));
    let store = store(root, project, name, environment, &around)?;

    Ok(Ports {
        engine: engine(root, project, name, environment, &around)?,
        provider: around.amazon.provider(environment),
        registry: registry(root, project, name, environment, &around.amazon)?,
        builder: Arc::new(Builders),
        store: Arc::new(RedactedStore::new(store, redactor.clone())),
        checker: Arc::new(Checks::default()),
        hooks: Arc::new(Hooks::new(root.to_path_buf())),
        host: host_probe(),
        secrets: Arc::new(RememberedSecrets::new(secrets, redactor.clone())),
        redactor: redactor.clone(),
    })
}

/// What several drivers of an environment have in common.
pub(super) struct Around {
    /// The way to the cluster.
    pub connection: ClusterConnection,
    amazon: Amazon,
    /// The machine that it is on, when it is another than this one.
    pub machine: Option<Machine>,
    /// What learns every secret.
    pub redactor: Redactor,
}

impl Around {
    pub fn of(
        root: &Path,
        environment: &EnvironmentConfig,
        redactor: &Redactor,
    ) -> Result<Self, Error> {
        let amazon = Amazon::new(environment, redactor);
        let host = environment.cluster.host();
        Ok(Self {
            connection: connection(root, environment, &amazon)?,
            machine: host.and_then(|host| machine(root, host)),
            amazon,
            redactor: redactor.clone(),
        })
    }
}

/// The machine that a host is, when it is another than this one.
fn machine(root: &Path, host: &HostCluster) -> Option<Machine> {
    let file = |path: &Option<PathBuf>| path.as_ref().map(|path| root.join(path));
    let to = Destination {
        address: host.elsewhere()?,
        config: None,
        identity: file(&host.ssh.identity),
        known_hosts: file(&host.ssh.known_hosts),
        trust: if host.ssh.is_known_beforehand {
            HostTrust::Known
        } else {
            HostTrust::Configured
        },
    };
    Some(Machine::new(to, host.directory.clone()))
}

/// Amazon's services in the regions that an environment names.
struct Amazon {
    registry: Arc<Aws>,
    cluster: Arc<Aws>,
    /// What learns every login.
    redactor: Redactor,
}

impl Amazon {
    fn new(environment: &EnvironmentConfig, redactor: &Redactor) -> Self {
        let here = environment
            .registry
            .ecr()
            .and_then(|ecr| ecr.region.clone());
        let there = environment.cluster.eks().and_then(|eks| eks.region.clone());
        let region = |named: Option<String>| Arc::new(Aws::new(named, redactor.clone()));
        let registry = region(here.clone().or_else(|| there.clone()));
        let same = there.is_none() || here == there;
        let cluster = if same {
            Arc::clone(&registry)
        } else {
            region(there)
        };

        Self {
            registry,
            cluster,
            redactor: redactor.clone(),
        }
    }

    /// For secrets, whose region may be another than those of registry and cluster.
    fn secrets(&self, environment: &EnvironmentConfig) -> Arc<Aws> {
        let named = environment.sources.aws.as_ref();
        let region = named.and_then(|aws| aws.region.clone());
        Arc::new(Aws::new(region, self.redactor.clone()))
    }

    fn provider(&self, environment: &EnvironmentConfig) -> Arc<dyn Provider> {
        let eks = environment.cluster.eks().and_then(|eks| eks.name.clone());
        if eks.is_none() && environment.registry.ecr().is_none() {
            return Arc::new(NoProvider);
        }
        let eks = eks.map(|name| (Arc::clone(&self.cluster), name));
        Arc::new(AwsProvider::new(Arc::clone(&self.registry), eks))
    }

    /// Who knows where the cluster is, when Amazon does.
    fn login(
        &self,
        root: &Path,
        cluster: &EksCluster,
    ) -> Result<Option<Arc<dyn ClusterLogin>>, Error> {
        let Some(name) = cluster.name.clone() else {
            return Ok(None);
        };

        let ca = cluster.certificate_authority.as_ref();
        let ca = ca.map(|path| read(&root.join(path))).transpose()?;
        let instead = cluster.endpoint.clone().map(|url| ClusterPlace { url, ca });
        let login = EksLogin::new(
            Arc::clone(&self.cluster),
            name,
            instead,
            recipient(cluster.endpoint_gets_credentials),
        );
        let (login, redactor) = (Arc::new(login), self.redactor.clone());
        Ok(Some(Arc::new(RememberedClusterLogin::new(login, redactor))))
    }
}

const fn recipient(anybody: bool) -> Recipient {
    if anybody {
        Recipient::Anybody
    } else {
        Recipient::Amazon
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    files::read(path, LARGEST).map_err(|error| Error::Usage {
        what: format!("reading {}: {error}", path.display()),
        help: "name a file that is there under `cluster.certificate_authority`".to_owned(),
    })
}

fn engine(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    around: &Around,
) -> Result<Arc<dyn Engine>, Error> {
    let cluster = match &environment.cluster {
        ClusterConfig::Host(host) => {
            let scope = Scope {
                project: project.name.clone(),
                environment: name.clone(),
            };
            return Ok(match &around.machine {
                Some(machine) => Arc::new(ElsewhereEngine::new(machine.clone(), scope)),
                None => Arc::new(HostEngine::new(host.directory(root))),
            });
        }
        ClusterConfig::Kubernetes(any, _) | ClusterConfig::Eks(any, _) => any,
    };

    let settings = Settings {
        connection: around.connection.clone(),
        namespaces: desired::cluster::namespaces(&project.name, name, environment)?,
        conflict: match cluster.conflicts {
            Conflicts::Stop => Conflict::Stop,
            Conflicts::TakeOver => Conflict::TakeOver,
            Conflicts::Leave => Conflict::Leave,
        },
        rules: cluster
            .ready
            .iter()
            .map(|(kind, rule)| (kind.clone(), ready_rule(rule)))
            .collect(),
        within: environment.ready_within,
    };
    Ok(Arc::new(KubernetesEngine::new(settings)))
}

/// The session's engine for a command that changes nothing, and starts nothing to see more.
pub fn looking_engine(session: &Session) -> Result<Arc<dyn Engine>, Error> {
    let engine = &session.ports.engine;
    Ok(match &session.configuration()?.cluster {
        ClusterConfig::Host(host) if host.at.is_none() => {
            let engine = HostEngine::new(host.directory(&session.root));
            Arc::new(engine.never_starting())
        }
        // None is started on another machine.
        ClusterConfig::Host(_) | ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..) => {
            Arc::clone(engine)
        }
    })
}

fn ready_rule(rule: &ReadyRule) -> Rule {
    let value = rule.value.clone().map(|text| text.0).unwrap_or_default();
    Rule {
        condition: rule.condition.clone(),
        field: rule.field.clone().map(|field| (field, value)),
        failed: rule.failed.clone(),
    }
}

fn registry(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    amazon: &Amazon,
) -> Result<Arc<dyn Registry>, Error> {
    let (remote, kind) = match &environment.registry {
        RegistryConfig::Layout(layout) => {
            let folder = root.join(environment.registry.path());
            let layout = layout_in(folder, layout, amazon);
            return Ok(Arc::new(if brings(environment) {
                layout
            } else {
                layout.leaving_others()
            }));
        }
        RegistryConfig::Oci(remote, oci) => (remote, Distribution::plain(remote, oci)),
        RegistryConfig::Ecr(remote, ecr) => (remote, Distribution::amazons(remote, ecr, amazon)),
    };
    let mut repositories = BTreeMap::new();
    for service in environment.services.keys() {
        repositories.insert(
            service.clone(),
            desired::repository(project, name, environment, service)?,
        );
    }

    let trust = Trust {
        endpoint: kind.endpoint.clone(),
        ca: remote.ca.as_ref().map(|ca| root.join(ca)),
        plain_http: remote.plain_http,
        auth_hosts: remote.auth_hosts.clone(),
    };
    let place = Location {
        endpoint: kind.endpoint,
        repositories,
        moves_tags: kind.moves_tags,
        provenance: remote.provenance,
        sbom: remote.sbom,
    };
    let newest = kind.newest.map(|newest| newest as usize);
    let newest = newest.unwrap_or(environment.retention.releases);
    let login = RememberedLogin::new(kind.login, amazon.redactor.clone());
    let remote = Remote::new(Arc::new(login), trust).hiding(amazon.redactor.clone());
    let oci = Oci::new(place, remote).keeping(newest);

    Ok(Arc::new(match environment.cluster.host() {
        Some(host) if brings(environment) => {
            // For another machine they are brought to this user's own folder first.
            let directory = host.directory(root).filter(|_| host.at.is_none());
            oci.bringing(Directory::find(directory).layout())
        }
        _ => oci,
    }))
}

/// Whether images are brought to the engine: Docker and a cluster speak to registries themselves.
fn brings(environment: &EnvironmentConfig) -> bool {
    let host = environment.cluster.host();
    host.is_some_and(|host| host.runtime != Runtime::Docker)
}

fn layout_in(folder: PathBuf, layout: &LayoutRegistry, amazon: &Amazon) -> Layout {
    let trust = Trust {
        auth_hosts: layout.auth_hosts.clone(),
        ..Trust::default()
    };
    let login = RememberedLogin::new(Arc::new(WrittenLogin), amazon.redactor.clone());
    let bases = Remote::new(Arc::new(login), trust).hiding(amazon.redactor.clone());
    Layout::beside(folder, Arc::new(bases))
}

/// What depends on who runs a registry on the network.
struct Distribution {
    endpoint: String,
    login: Arc<dyn Login>,
    moves_tags: bool,
    /// How many images of a repository are kept; without it as many as there are releases to go
    /// back to.
    newest: Option<u32>,
}

impl Distribution {
    fn plain(remote: &RemoteRegistry, oci: &OciRegistry) -> Self {
        Self {
            endpoint: remote.endpoint.clone().unwrap_or_default(),
            login: Arc::new(WrittenLogin),
            moves_tags: true,
            newest: oci
                .retention
                .as_ref()
                .and_then(|retention| retention.tagged),
        }
    }

    fn amazons(remote: &RemoteRegistry, ecr: &EcrRegistry, amazon: &Amazon) -> Self {
        let (region, account) = (ecr.region.as_deref(), ecr.account.as_deref());
        let own = || login::address(region.unwrap_or_default(), account.unwrap_or_default());
        let endpoint = remote.endpoint.clone().unwrap_or_else(own);
        let login = EcrLogin::new(
            Arc::clone(&amazon.registry),
            endpoint.clone(),
            recipient(ecr.endpoint_gets_credentials),
        );
        Self {
            endpoint,
            login: Arc::new(login),
            moves_tags: ecr.immutable_tags != Some(true),
            newest: ecr
                .retention
                .as_ref()
                .and_then(|retention| retention.tagged),
        }
    }
}

fn connection(
    root: &Path,
    environment: &EnvironmentConfig,
    amazon: &Amazon,
) -> Result<ClusterConnection, Error> {
    let mut connection = ClusterConnection {
        login: None,
        kubeconfig: None,
        context: None,
        exec_plugins: false,
        project: Some(root.to_owned()),
        redactor: amazon.redactor.clone(),
        answered: Arc::default(),
    };

    match &environment.cluster {
        ClusterConfig::Host(_) => {}
        ClusterConfig::Kubernetes(_, cluster) => {
            connection.kubeconfig = cluster.kubeconfig.as_ref().map(|path| root.join(path));
            connection.context.clone_from(&cluster.context);
            connection.exec_plugins = cluster.exec_plugins;
        }
        ClusterConfig::Eks(_, cluster) => connection.login = amazon.login(root, cluster)?,
    }
    Ok(connection)
}
