//! Asking the server of this machine, through its socket.

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

/// A server of this machine.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The one behind this socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_path_buf(),
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
        let connect = tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket)).await;
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
            Unserved::Away(reason) => Failure::say(
                Exit::Failed,
                format!(
                    "the server at {} cannot be asked: {reason}",
                    self.socket.display()
                ),
                "start it with `shipit serve`, or name its socket with --socket; it lets in root, its own user, and `listen.socket.users`",
            ),
            Unserved::Refused(reason) => Failure::say(
                Exit::Failed,
                reason.clone(),
                "`shipit jobs list` shows what there is; server.yaml says what may be deployed on what",
            ),
        }
    }
}
