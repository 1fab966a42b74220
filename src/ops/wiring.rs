//! Which drivers a configuration means: the one place that names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::schema::{
    ClusterConfig, Conflicts, EcrRegistry, EksCluster, LayoutRegistry, OciRegistry, ReadyRule,
    RegistryConfig, RemoteRegistry, Runtime, S3State, StateConfig,
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
use crate::driver::host::HostEngine;
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
use crate::driver::state::kubernetes::{ClusterLock, KubernetesStore};
use crate::driver::state::s3::{Bucket, S3Store};
use crate::files;
use crate::model::EnvironmentName;
use crate::model::secret::SecretValue;
use crate::ops::{Error, Session};
use crate::port::provider::NoProvider;
use crate::port::{Engine, Forge, Ports, Provider, Registry, StateStore};
use crate::proto::Directory;
use crate::redact::Redactor;

pub use crate::driver::kubernetes::client::login_program;
pub use crate::driver::render::{Chart, Recipe, render};
pub use crate::driver::signer::sign;
pub use crate::driver::state::local::LocalStore;

/// The largest certificate authority that is read.
const LARGEST: u64 = 1 << 20;

/// Who sets statuses of commits by this token.
#[must_use]
pub fn forge(token: SecretValue) -> Box<dyn Forge> {
    Box::new(RemoteForge::new(token))
}

/// The drivers for one environment.
pub fn ports(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    redactor: &Redactor,
) -> Result<Ports, Error> {
    let amazon = Amazon::new(environment, redactor);
    let servers = Servers {
        vault: environment.sources.vault.clone().unwrap_or_default(),
        aws: amazon.secrets(environment),
    };
    let secrets = Arc::new(Secrets::new(root.to_path_buf(), servers, redactor));
    // What one of them learns of the cluster holds for the other.
    let connection = connection(root, environment, &amazon)?;
    let store = store(root, project, name, environment, (&connection, &amazon))?;

    Ok(Ports {
        engine: engine(root, project, name, environment, &connection)?,
        provider: amazon.provider(environment),
        registry: registry(root, project, name, environment, &amazon)?,
        builder: Arc::new(Builders),
        store: Arc::new(RedactedStore::new(store, redactor.clone())),
        checker: Arc::new(Checks::default()),
        hooks: Arc::new(Hooks::new(root.to_path_buf())),
        secrets: Arc::new(RememberedSecrets::new(secrets, redactor.clone())),
        redactor: redactor.clone(),
    })
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
    connection: &ClusterConnection,
) -> Result<Arc<dyn Engine>, Error> {
    let cluster = match &environment.cluster {
        ClusterConfig::Host(host) => return Ok(Arc::new(HostEngine::new(host.directory(root)))),
        ClusterConfig::Kubernetes(any, _) | ClusterConfig::Eks(any, _) => any,
    };

    let settings = Settings {
        connection: connection.clone(),
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
        ClusterConfig::Host(host) => {
            let engine = HostEngine::new(host.directory(&session.root));
            Arc::new(engine.never_starting())
        }
        ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..) => Arc::clone(engine),
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
            oci.bringing(Directory::find(host.directory(root)).layout())
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

/// A store, and who else has its lock.
struct StoreAt {
    store: Arc<dyn StateStore>,
    /// Whether its lock is the one in the cluster that every run of the environment takes.
    is_home: bool,
}

fn store(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    (connection, amazon): (&ClusterConnection, &Amazon),
) -> Result<Arc<dyn StateStore>, Error> {
    let at = store_alone(root, project, name, environment, (connection, amazon))?;
    // State in the environment's home has its lock there.
    if environment.cluster.host().is_some() || at.is_home {
        return Ok(at.store);
    }
    let home = desired::cluster::namespaces(&project.name, name, environment)?.home;
    let cluster = in_cluster(root, project, environment, connection, &home);
    Ok(Arc::new(ClusterLock::new(at.store, cluster, name.clone())))
}

/// The store that the configuration names, with no lock but its own.
fn store_alone(
    root: &Path,
    project: &Project,
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    (connection, amazon): (&ClusterConnection, &Amazon),
) -> Result<StoreAt, Error> {
    let elsewhere = |store: Arc<dyn StateStore>| StoreAt {
        store,
        is_home: false,
    };
    Ok(match &environment.state {
        StateConfig::Local(_) => elsewhere(Arc::new(local_store(root, environment))),
        StateConfig::S3(bucket) => {
            let store = s3(root, project, environment, bucket, &amazon.redactor);
            elsewhere(Arc::new(store))
        }
        StateConfig::Kubernetes(state) => {
            let home = desired::cluster::namespaces(&project.name, name, environment)?.home;
            let namespace = state.namespace.as_ref().unwrap_or(&home);
            let store = in_cluster(root, project, environment, connection, namespace);
            StoreAt {
                store: Arc::new(store),
                is_home: *namespace == home,
            }
        }
    })
}

fn in_cluster(
    root: &Path,
    project: &Project,
    environment: &EnvironmentConfig,
    connection: &ClusterConnection,
    namespace: &str,
) -> KubernetesStore {
    let failures = root.join(environment.state.path());
    let (connection, project) = (connection.clone(), project.name.clone());
    KubernetesStore::new(connection, namespace.to_owned(), project, failures)
}

/// The store that an environment's state was in before.
pub struct FormerStore {
    /// The store, with no lock but its own.
    pub store: Arc<dyn StateStore>,
    /// Whether who has the lock of the store that the configuration names has this one's, too.
    pub shares_lock: bool,
}

/// The store that the session's environment would have with this in its configuration.
pub fn former_store(session: &Session, state: &StateConfig) -> Result<FormerStore, Error> {
    let (root, project, name) = (&session.root, &session.project, &session.environment);
    let redactor = &session.ports.redactor;
    let before = EnvironmentConfig {
        state: state.clone(),
        ..session.configuration()?.clone()
    };
    if let (StateConfig::Kubernetes(_), Some(_)) = (state, before.cluster.host()) {
        return Err(Error::Usage {
            what: format!("{name} is on no cluster: its state was in none"),
            help: "--from local:FOLDER and --from s3://BUCKET/PREFIX name other places".to_owned(),
        });
    }
    let amazon = Amazon::new(&before, redactor);
    let connection = connection(root, &before, &amazon)?;
    let at = store_alone(root, project, name, &before, (&connection, &amazon))?;
    Ok(FormerStore {
        store: Arc::new(RedactedStore::new(at.store, redactor.clone())),
        shares_lock: at.is_home,
    })
}

/// State in a bucket, whose region may be another than those of registry and cluster.
fn s3(
    root: &Path,
    project: &Project,
    environment: &EnvironmentConfig,
    state: &S3State,
    redactor: &Redactor,
) -> S3Store {
    let bucket = Bucket {
        name: state.bucket.clone().unwrap_or_default(),
        prefix: state.prefix.clone().unwrap_or_else(|| "shipit".to_owned()),
        endpoint: state.endpoint.clone(),
        path_style: state.path_style,
    };
    let aws = Aws::new(state.region.clone(), redactor.clone());
    let failures = root.join(environment.state.path());
    S3Store::new(Arc::new(aws), bucket, project.name.clone(), failures)
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

/// The state store, with what only the local one can do.
#[must_use]
pub fn local_store(root: &Path, environment: &EnvironmentConfig) -> LocalStore {
    LocalStore::new(root.join(environment.state.path()))
}
