//! Asking a server on another machine: gRPC over TLS 1.3, with a certificate on both sides.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::intake::{Command, Taken};
use super::jobs::{JobView, LogText};
use crate::model::chain;
use crate::model::job::{Job, JobNumber};
use crate::proto::server_v1::serve_client::ServeClient;
use crate::proto::server_v1::{JobRequest, ListRequest, LogRequest, TriggerRequest};

/// How long the server may take to let a client in.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a call may take: a log is waited for.
const CALL: Duration = Duration::from_secs(30);

/// The port where a URL names none.
const PORT: u16 = 9443;

/// Why a server did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be asked.
    #[error("{0}")]
    Away(String),
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// A server on another machine.
#[derive(Debug, Clone)]
pub struct RemoteServer {
    calls: ServeClient<Channel>,
}

impl RemoteServer {
    /// Connects to a server by its URL, with the files that `shipit client issue` wrote.
    ///
    /// # Errors
    /// The files cannot be read, or the server does not let this client in.
    pub async fn connect(url: &str, identity: &Path) -> Result<Self, RemoteError> {
        let (host, port) = place(url).map_err(RemoteError::Away)?;
        let config = Arc::new(client_config(identity).map_err(RemoteError::Away)?);
        let name = ServerName::try_from(host.clone())
            .map_err(|error| RemoteError::Away(error.to_string()))?;

        let connector = tower::service_fn(move |_: http::Uri| {
            let (config, host, name) = (Arc::clone(&config), host.clone(), name.clone());
            async move {
                let stream = TcpStream::connect((host.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // The scheme is that of what goes through the connection, which is TLS already.
        let endpoint = Endpoint::from_static("http://server")
            .connect_timeout(CONNECT)
            .timeout(CALL);
        let channel = tokio::time::timeout(CONNECT, endpoint.connect_with_connector(connector));
        let channel = channel
            .await
            .map_err(|_| RemoteError::Away(format!("no answer within {} s", CONNECT.as_secs())))?
            .map_err(|error| RemoteError::Away(chain(&error)))?;
        Ok(Self {
            calls: ServeClient::new(channel),
        })
    }

    /// Has an environment deployed.
    ///
    /// # Errors
    /// The server cannot be asked, or says no.
    pub async fn trigger(&self, command: &Command) -> Result<Taken, RemoteError> {
        let request = TriggerRequest {
            project: command.project.to_string(),
            environment: command
                .environment
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            reference: command.reference.clone().unwrap_or_default(),
        };
        let reply = self
            .calls
            .clone()
            .trigger(request)
            .await
            .map_err(|status| refused(&status))?;
        read(&reply.into_inner().taken_json)
    }

    /// What a job wrote from an offset on.
    ///
    /// # Errors
    /// The server cannot be asked, or says no.
    pub async fn log(&self, number: JobNumber, from: u64) -> Result<LogText, RemoteError> {
        let request = LogRequest {
            job: number.0,
            from,
        };
        let reply = self
            .calls
            .clone()
            .log(request)
            .await
            .map_err(|status| refused(&status))?;
        let reply = reply.into_inner();
        Ok(LogText {
            text: reply.text,
            next: reply.next,
            job: read(&reply.job_json)?,
        })
    }

    /// The newest jobs.
    ///
    /// # Errors
    /// The server cannot be asked, or says no.
    pub async fn list(&self, last: usize) -> Result<Vec<JobView>, RemoteError> {
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        let reply = self.calls.clone().list(ListRequest { last }).await;
        let reply = reply.map_err(|status| refused(&status))?.into_inner();
        reply.jobs_json.iter().map(|job| read(job)).collect()
    }

    /// Has a job stopped.
    ///
    /// # Errors
    /// The server cannot be asked, or says no.
    pub async fn cancel(&self, number: JobNumber) -> Result<Job, RemoteError> {
        let reply = self
            .calls
            .clone()
            .cancel(JobRequest { job: number.0 })
            .await;
        read(
            &reply
                .map_err(|status| refused(&status))?
                .into_inner()
                .job_json,
        )
    }

    /// Has a job done again.
    ///
    /// # Errors
    /// The server cannot be asked, or says no.
    pub async fn retry(&self, number: JobNumber) -> Result<Taken, RemoteError> {
        let reply = self.calls.clone().retry(JobRequest { job: number.0 }).await;
        read(
            &reply
                .map_err(|status| refused(&status))?
                .into_inner()
                .taken_json,
        )
    }
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, RemoteError> {
    serde_json::from_str(json)
        .map_err(|error| RemoteError::Away(format!("its answer is not understood: {error}")))
}

fn refused(status: &Status) -> RemoteError {
    let message = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::InvalidArgument => RemoteError::Refused(message),
        // TLS 1.3 refuses a certificate after its client takes itself to be connected.
        _ => RemoteError::Away(format!(
            "{message}; it may not know the authority of this certificate: `shipit client issue` \
             on its machine makes one"
        )),
    }
}

/// The host and the port of `https://ship.example.com:9443`.
fn place(url: &str) -> Result<(String, u16), String> {
    let parsed = url::Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    if parsed.scheme() != "https" {
        return Err(format!(
            "{url} is no URL of a server: write https://ship.example.com:{PORT}"
        ));
    }
    let host = parsed
        .host_str()
        .ok_or_else(|| format!("{url} names no host"))?;
    let host = host.trim_matches(['[', ']']).to_owned();
    // The usual port of the scheme is left out by whoever reads URLs.
    Ok((host, parsed.port().unwrap_or(PORT)))
}

fn client_config(identity: &Path) -> Result<ClientConfig, String> {
    let of = |name: &str| identity.join(name);
    let failed = |name: &str, error: String| format!("{}: {error}", of(name).display());
    let certificates = |name: &str| -> Result<Vec<CertificateDer<'static>>, String> {
        CertificateDer::pem_file_iter(of(name))
            .and_then(Iterator::collect)
            .map_err(|error| failed(name, error.to_string()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("authority.crt")? {
        roots
            .add(certificate)
            .map_err(|error| failed("authority.crt", error.to_string()))?;
    }
    let key = PrivateKeyDer::from_pem_file(of("client.key"))
        .map_err(|error| failed("client.key", error.to_string()))?;

    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates("client.crt")?, key)
        .map_err(|error| failed("client.crt", error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
