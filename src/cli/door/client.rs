//! Asking a server: that of this machine through its socket, or one of another machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::model::job::{Job, JobNumber};
use crate::ops::doors::intake::{Command, Taken};
use crate::ops::doors::jobs::{JobView, LogText, Patience};
use crate::ops::doors::remote::{RemoteError, RemoteServer};
use crate::output::{Exit, Failure};

/// How long the server may take to let a client in.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an answer may take: a log is waited for.
const ANSWER: Duration = Duration::from_secs(30);

/// The largest answer, in bytes.
const LARGEST: usize = 32 << 20;

/// Why the server did not do it.
#[derive(Debug)]
pub enum Unserved {
    /// No server could be asked.
    Away(String),
    /// It said no.
    Refused(String),
}

/// A server.
#[derive(Debug, Clone)]
pub enum Client {
    /// That of this machine, by its socket.
    Local(PathBuf),
    /// One of another machine.
    Remote(RemoteServer),
}

impl From<RemoteError> for Unserved {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Away(reason) => Self::Away(reason),
            RemoteError::Refused(reason) => Self::Refused(reason),
        }
    }
}

impl Client {
    /// The one behind this socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self::Local(socket.to_path_buf())
    }

    /// One of another machine.
    pub async fn connect(url: &str, identity: &Path) -> Result<Self, Failure> {
        let connected = RemoteServer::connect(url, identity).await;
        connected.map(Self::Remote).map_err(|error| {
            let what = format!("the server at {url} cannot be asked: {error}");
            let help = "look at the address, and at the folder of --identity: `shipit client \
                        issue` on the server's machine writes it";
            Failure::say(Exit::Failed, what, help)
        })
    }

    /// Has an environment deployed.
    pub async fn trigger(&self, asked: &Command) -> Result<Taken, Unserved> {
        match self {
            Self::Local(_) => self.post("/trigger", asked).await,
            Self::Remote(server) => Ok(server.trigger(asked).await?),
        }
    }

    /// What a job wrote from an offset on, once there is something.
    pub async fn log(
        &self,
        number: JobNumber,
        from: u64,
        patience: Patience,
    ) -> Result<LogText, Unserved> {
        let wait = match patience {
            Patience::None => "",
            Patience::Waits => "&wait=1",
        };
        match self {
            Self::Local(_) => {
                self.get(&format!("/jobs/{number}/log?from={from}{wait}"))
                    .await
            }
            Self::Remote(server) => Ok(server.log(number, from).await?),
        }
    }

    /// The newest jobs.
    pub async fn list(&self, last: usize) -> Result<Vec<JobView>, Unserved> {
        match self {
            Self::Local(_) => self.get(&format!("/jobs?last={last}")).await,
            Self::Remote(server) => Ok(server.list(last).await?),
        }
    }

    /// A job.
    pub async fn show(&self, number: JobNumber) -> Result<JobView, Unserved> {
        match self {
            Self::Local(_) => self.get(&format!("/jobs/{number}")).await,
            // What it wrote behind its end is nothing, so that it is not waited for.
            Self::Remote(server) => Ok(server.log(number, 0).await?.job),
        }
    }

    /// Has a job stopped.
    pub async fn cancel(&self, number: JobNumber) -> Result<Job, Unserved> {
        match self {
            Self::Local(_) => {
                self.post(&format!("/jobs/{number}/cancel"), &Value::Null)
                    .await
            }
            Self::Remote(server) => Ok(server.cancel(number).await?),
        }
    }

    /// Has a job done again.
    pub async fn retry(&self, number: JobNumber) -> Result<Taken, Unserved> {
        match self {
            Self::Local(_) => {
                self.post(&format!("/jobs/{number}/retry"), &Value::Null)
                    .await
            }
            Self::Remote(server) => Ok(server.retry(number).await?),
        }
    }

    /// Asks for something that is there.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unserved> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Has something done.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Unserved> {
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.call(Method::POST, path, body.into()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Unserved> {
        let (status, bytes) = self
            .exchange(method, path, body)
            .await
            .map_err(Unserved::Away)?;
        if status.is_success() {
            let read = serde_json::from_slice(&bytes);
            return read
                .map_err(|error| Unserved::Away(format!("its answer is not understood: {error}")));
        }
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let reason = document["error"]
            .as_str()
            .unwrap_or("it did not say why")
            .to_owned();
        Err(if status.is_server_error() {
            Unserved::Away(reason)
        } else {
            Unserved::Refused(reason)
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let Self::Local(socket) = self else {
            return Err("a server on another machine is not asked this".to_owned());
        };
        let connect = tokio::time::timeout(CONNECT, UnixStream::connect(socket)).await;
        let stream = connect
            .map_err(|_| "it does not let anybody in".to_owned())?
            .map_err(|error| error.to_string())?;
        let talk = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(http::header::HOST, "localhost")
                .body(Full::new(body));
            let Ok(request) = request else {
                return Ok((StatusCode::BAD_REQUEST, Bytes::new()));
            };
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            connection.abort();
            Ok::<_, hyper::Error>((
                status,
                body.map(http_body_util::Collected::to_bytes)
                    .unwrap_or_default(),
            ))
        };
        match tokio::time::timeout(ANSWER, talk).await {
            Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
            Ok(answered) => answered.map_err(|error| error.to_string()),
        }
    }

    /// What a person is told.
    #[must_use]
    pub fn failure(&self, unserved: &Unserved) -> Failure {
        match unserved {
            Unserved::Away(reason) => {
                let (place, help) = self.place();
                Failure::say(
                    Exit::Failed,
                    format!("{place} cannot be asked: {reason}"),
                    help,
                )
            }
            Unserved::Refused(reason) => Failure::say(
                Exit::Failed,
                reason.clone(),
                "`shipit jobs list` shows what there is; server.yaml says what may be deployed on \
                 what",
            ),
        }
    }

    /// Where it is, and what to do when it is not there.
    fn place(&self) -> (String, &'static str) {
        match self {
            Self::Local(socket) => (
                format!("the server at {}", socket.display()),
                "start it with `shipit serve`, or name its socket with --socket; it lets in root, \
                 its own user, and `listen.socket.users`",
            ),
            Self::Remote(_) => (
                "the server".to_owned(),
                "look at the address of --server, and at the folder of --identity",
            ),
        }
    }
}
