//! From a configuration to a connected client: kubeconfig and context, or the service account of the pod that
//! shipit runs in. Every way to fail says what to do.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::ServiceBuilder;

use crate::port::engine::EngineError;

/// How a cluster is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// The kubeconfig, when the configuration names one.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it, when the configuration names one.
    pub context: Option<String>,
    /// Whether the kubeconfig may start a program to log in.
    pub exec_plugins: bool,
}

/// A client and what it is connected to.
pub(super) struct Connected {
    pub client: Client,
    pub server: String,
}

fn refused(reason: impl Into<String>, help: impl Into<String>) -> EngineError {
    EngineError::Unreachable {
        what: "connecting to the cluster".to_owned(),
        reason: reason.into(),
        help: help.into(),
    }
}

/// Makes a client. Nothing is asked of the server yet.
pub(super) async fn connect(how: &Connection) -> Result<Connected, EngineError> {
    let mut config = configuration(how).await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    let server = config.cluster_url.to_string();
    let wrong = |error: kube::Error| {
        let help = "look at the certificates and tokens in the kubeconfig";
        refused(format!("{server}: {}", chain(&error)), help)
    };
    // One HTTP/2 connection carries all requests at once; kube's own client would open one each.
    let tls = config.rustls_client_config().map_err(wrong)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(wrong)?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(Connected { client: Client::new(service, config.default_namespace.clone()), server })
}

async fn configuration(how: &Connection) -> Result<Config, EngineError> {
    let file = match &how.kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path).map_err(|error| unreadable(&error))?),
        None => Kubeconfig::from_env().map_err(|error| unreadable(&error))?,
    };
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let file = match file {
        Some(file) => file,
        None if in_pod && how.context.is_none() => {
            return Config::incluster().map_err(|error| {
                refused(error.to_string(), "the pod needs a service account whose token is mounted")
            });
        }
        None => Kubeconfig::read().map_err(|error| unreadable(&error))?,
    };
    let known: Vec<String> = file.contexts.iter().map(|context| context.name.clone()).collect();
    let name = how.context.clone().or_else(|| file.current_context.clone()).filter(|name| !name.is_empty());
    let Some(name) = name else {
        let help = format!("name one under `cluster.context`: {}", known.join(", "));
        return Err(refused("the kubeconfig has no current context", help));
    };
    let Some(context) = file.contexts.iter().find(|context| context.name == name) else {
        let help = format!("its contexts are: {}", known.join(", "));
        return Err(refused(format!("the kubeconfig has no context `{name}`"), help));
    };
    let user = context.context.as_ref().and_then(|context| context.user.clone()).unwrap_or_default();
    let login =
        file.auth_infos.iter().find(|login| login.name == user).and_then(|login| login.auth_info.as_ref());
    if let Some(program) = login.and_then(|login| login.exec.as_ref())
        && !how.exec_plugins
    {
        let program = program.command.clone().unwrap_or_default();
        return Err(refused(
            format!("user `{user}` of the kubeconfig logs in by starting `{program}`"),
            "write `cluster: {exec_plugins: true}` if you trust this kubeconfig as code",
        ));
    }
    let options = KubeConfigOptions { context: Some(name), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unreadable(&error))
}

fn unreadable(error: &KubeconfigError) -> EngineError {
    let help = match error {
        KubeconfigError::ReadConfig(_, path) => {
            format!("write the kubeconfig to {}, or name another under `cluster.kubeconfig`", path.display())
        }
        KubeconfigError::FindPath => "name one under `cluster.kubeconfig`, or set KUBECONFIG".to_owned(),
        _ => "`kubectl config view` shows what is in it".to_owned(),
    };
    refused(chain(error), help)
}

/// An error with all that caused it, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}
