//! From a configuration to a connected client: kubeconfig and context, or the service account of
//! the pod that shipit runs in. Every way to fail says what to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt as _;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::ServiceBuilder;
use tower::filter::{AsyncFilterLayer, AsyncPredicate};

use crate::driver::kubernetes::client::kubeconfig::{self, choose};
use crate::driver::kubernetes::client::login_program::ProgramLogin;
use crate::driver::redacted::remember;
use crate::files;
use crate::model::chain;
use crate::port::engine::EngineError;
use crate::redact::Redactor;

/// The longest token in a file that is read.
const LONGEST_TOKEN: u64 = 1 << 20;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the TLS handshake may take on it.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// What is said of a server that takes the connection and does not speak TLS.
const SILENT: &str = "connected, no answer: the TLS handshake was not done in time";

/// Where a cluster's API server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPlace {
    /// Its address.
    pub url: String,
    /// The certificate of its authority, as PEM; those of the machine without it.
    pub ca: Option<Vec<u8>>,
}

/// Logs in to a cluster that somebody looks after who knows where it is.
#[async_trait]
pub trait ClusterLogin: Send + Sync + std::fmt::Debug {
    /// Where it is; none while it is not there.
    async fn place(&self) -> Result<Option<ClusterPlace>, EngineError>;

    /// A token that is good now.
    async fn token(&self) -> Result<String, EngineError>;

    /// The last token was refused: the next one is new.
    async fn renew(&self);

    /// What it logs in to, for people.
    fn names(&self) -> String;
}

/// How a cluster is reached.
#[derive(Debug, Clone, Default)]
pub struct ClusterConnection {
    /// Who knows where it is, instead of a kubeconfig.
    pub login: Option<Arc<dyn ClusterLogin>>,
    /// The kubeconfig, when the configuration names one.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it, when the configuration names one.
    pub context: Option<String>,
    /// Whether the kubeconfig is trusted as code: it may start a program to log in.
    pub exec_plugins: bool,
    /// The project's folder: a kubeconfig that lies in it came with the repository.
    pub project: Option<PathBuf>,
    /// What learns the passwords and tokens that are shown to the cluster.
    pub redactor: Redactor,
    /// Whether the server has ever answered anybody who has a clone of this: one that did is waited
    /// for.
    pub answered: Arc<AtomicBool>,
}

/// Who gives a token for each request.
type SharedLogin = Arc<dyn ClusterLogin>;

/// Makes a client whose connections can become streams.
pub(in crate::driver) type Upgrading = Box<dyn Fn() -> Result<Client, EngineError> + Send + Sync>;

/// A client and what it is connected to.
pub(in crate::driver) struct Connected {
    pub client: Client,
    pub upgrading: Upgrading,
    pub login: Option<Arc<dyn ClusterLogin>>,
    pub server: String,
    pub answered: Arc<AtomicBool>,
}

pub(in crate::driver) fn refused(
    reason: impl Into<String>,
    help: impl Into<String>,
) -> EngineError {
    EngineError::Unreachable {
        what: "connecting to the cluster".to_owned(),
        reason: reason.into(),
        help: help.into(),
    }
}

/// Makes a client. Nothing is asked of the server yet.
pub(in crate::driver) async fn connect(how: &ClusterConnection) -> Result<Connected, EngineError> {
    try_connect(how).await?.ok_or_else(|| {
        let what = how
            .login
            .as_ref()
            .map_or_else(String::new, |login| login.names());
        refused(
            format!("{what} is not there"),
            "`shipit apply` makes it, if `cluster.create` says what it should be",
        )
    })
}

/// Makes a client; none when the cluster is not there yet.
pub(in crate::driver) async fn try_connect(
    how: &ClusterConnection,
) -> Result<Option<Connected>, EngineError> {
    let (config, login) = match &how.login {
        None => configuration(how).await?,
        Some(login) => match login.place().await? {
            None => return Ok(None),
            Some(place) => (placed(&place)?, Some(Arc::clone(login))),
        },
    };
    client(config, login, how).map(Some)
}

fn placed(place: &ClusterPlace) -> Result<Config, EngineError> {
    let help = "look at the cluster's endpoint";
    let url = place
        .url
        .parse()
        .map_err(|_| refused(format!("`{}` is not an address", place.url), help))?;
    let mut config = Config::new(url);
    if let Some(ca) = &place.ca {
        let certificates = rustls_pki_types::pem::PemObject::pem_slice_iter(ca);
        let certificates: Result<Vec<rustls_pki_types::CertificateDer<'_>>, _> =
            certificates.collect();
        let certificates = certificates.map_err(|error| {
            refused(
                format!("its certificate authority: {error}"),
                "it has to be PEM",
            )
        })?;
        config.root_cert = Some(
            certificates
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        );
    }

    Ok(config)
}

/// Which versions of HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    All,
    /// What a WebSocket can be made of.
    Http1,
}

fn client(
    mut config: Config,
    login: Option<SharedLogin>,
    how: &ClusterConnection,
) -> Result<Connected, EngineError> {
    config.connect_timeout = Some(CONNECT);
    let client = speaking(&config, login.clone(), Speaks::All)?;
    let (server, other) = (config.cluster_url.to_string(), login.clone());
    Ok(Connected {
        client,
        upgrading: Box::new(move || speaking(&config, other.clone(), Speaks::Http1)),
        login,
        server,
        answered: Arc::clone(&how.answered),
    })
}

fn speaking(
    config: &Config,
    login: Option<Arc<dyn ClusterLogin>>,
    speaks: Speaks,
) -> Result<Client, EngineError> {
    let server = config.cluster_url.to_string();
    let wrong = |error: kube::Error| {
        refused(
            format!("{server}: {}", chain(&error)),
            "look at the certificates and tokens in the kubeconfig",
        )
    };

    // One HTTP/2 connection carries all requests at once; kube's own client would open one each.
    let tls = config.rustls_client_config().map_err(wrong)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    let https = match speaks {
        Speaks::All => https.enable_all_versions().wrap_connector(tcp),
        Speaks::Http1 => https.enable_http1().wrap_connector(tcp),
    };
    let https = Patient(https);

    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(https);

    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(wrong)?)
        .option_layer(login.map(|login| AsyncFilterLayer::new(Bearer(login))))
        .map_err(tower::BoxError::from)
        .service(http);

    Ok(Client::new(service, config.default_namespace.clone()))
}

/// A connector that gives up on a server that takes the connection and says nothing: the connection
/// has a deadline of its own, so what is late is the TLS handshake.
#[derive(Clone)]
struct Patient<C>(C);

impl<C> tower::Service<http::Uri> for Patient<C>
where
    C: tower::Service<http::Uri>,
    C::Error: Into<tower::BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<C::Response, tower::BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), tower::BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let within = CONNECT + HANDSHAKE;
            tokio::time::timeout(within, connecting)
                .await
                .map_or_else(|_| Err(SILENT.into()), |made| made.map_err(Into::into))
        })
    }
}

/// Puts the token of the moment on a request.
#[derive(Clone)]
struct Bearer(Arc<dyn ClusterLogin>);

impl<B: Send + 'static> AsyncPredicate<http::Request<B>> for Bearer {
    type Request = http::Request<B>;
    type Future = BoxFuture<'static, Result<Self::Request, tower::BoxError>>;

    fn check(&mut self, mut request: http::Request<B>) -> Self::Future {
        let login = Arc::clone(&self.0);
        Box::pin(async move {
            let token = login.token().await?;
            let mut value = http::HeaderValue::from_str(&format!("Bearer {token}"))?;
            value.set_sensitive(true);
            request
                .headers_mut()
                .insert(http::header::AUTHORIZATION, value);
            Ok(request)
        })
    }
}

/// What somebody should know of the kubeconfig who relies on it; nothing where it cannot be read.
pub(in crate::driver) fn warnings(how: &ClusterConnection) -> Vec<String> {
    if how.login.is_some() {
        return Vec::new();
    }
    let file = kubeconfig(how).ok().flatten();
    let chosen = file.and_then(|file| choose(&file, how.context.as_deref()).ok());
    chosen.map(|chosen| chosen.warnings()).unwrap_or_default()
}

/// The kubeconfig that is meant; none in a pod, which has no need of one.
fn kubeconfig(how: &ClusterConnection) -> Result<Option<Kubeconfig>, EngineError> {
    let named = match &how.kubeconfig {
        Some(path) => Some(kubeconfig::read(path)?),
        None => kubeconfig::of_the_environment()?,
    };
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    match named {
        None if in_pod && how.context.is_none() => Ok(None),
        None => Kubeconfig::read()
            .map(Some)
            .map_err(|error| unreadable(&error)),
        named => Ok(named),
    }
}

/// What the kubeconfig says, and who gives its tokens where a program does.
async fn configuration(
    how: &ClusterConnection,
) -> Result<(Config, Option<SharedLogin>), EngineError> {
    let Some(file) = kubeconfig(how)? else {
        let config = Config::incluster().map_err(|error| {
            refused(
                error.to_string(),
                "the pod needs a service account whose token is mounted",
            )
        })?;
        hide(&config, &how.redactor);
        return Ok((config, None));
    };

    let chosen = choose(&file, how.context.as_deref())?;
    chosen.check(how, how.kubeconfig.as_deref())?;
    let options = KubeConfigOptions {
        context: Some(chosen.context.clone()),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|error| unreadable(&error))?;
    chosen.clean_token(&mut config.auth_info, how.kubeconfig.as_deref())?;
    hide(&config, &how.redactor);
    let login = by_program(&mut config.auth_info, &how.redactor).await?;
    Ok((config, login))
}

/// Has the login filled in by its program, if it has one. What stands in the file itself comes
/// first, as it does for kubectl.
async fn by_program(
    login: &mut AuthInfo,
    redactor: &Redactor,
) -> Result<Option<SharedLogin>, EngineError> {
    let Some(exec) = login.exec.take() else {
        return Ok(None);
    };
    let has_password = login.username.is_some() && login.password.is_some();
    if has_password || login.token.is_some() || login.token_file.is_some() {
        return Ok(None);
    }
    let program = ProgramLogin::new(exec, redactor.clone());
    let gives_tokens = program.fill(login).await?;
    Ok(gives_tokens.then(|| Arc::new(program) as SharedLogin))
}

/// What a cluster is logged in to with is printed nowhere.
fn hide(config: &Config, redactor: &Redactor) {
    let login = &config.auth_info;
    // The one way to see them, as the library shows them to nobody by mistake.
    let shown = serde_json::to_value(login).unwrap_or_default();
    for key in ["token", "password", "client-key-data"] {
        if let Some(value) = shown[key].as_str() {
            remember(redactor, value);
        }
    }
    let file = login.token_file.as_ref();
    if let Some(token) = file.and_then(|file| files::read_text(file.as_ref(), LONGEST_TOKEN).ok()) {
        remember(redactor, token.trim());
    }
}

pub(in crate::driver) fn unreadable(error: &KubeconfigError) -> EngineError {
    let help = match error {
        KubeconfigError::ReadConfig(_, path) => {
            format!(
                "write the kubeconfig to {}, or name another under `cluster.kubeconfig`",
                path.display()
            )
        }
        KubeconfigError::FindPath => {
            "name one under `cluster.kubeconfig`, or set KUBECONFIG".to_owned()
        }
        _ => "`kubectl config view` shows what is in it".to_owned(),
    };
    refused(chain(error), help)
}
