//! Whether an instance can take traffic.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;

use crate::agent::runtime::{Launch, Runtime};
use crate::model::health::Health;

/// What an instance is asked with. One for all: connections to a service's health path are few.
#[derive(Clone)]
pub(super) struct Prober(Client<HttpConnector, Empty<Bytes>>);

impl Default for Prober {
    fn default() -> Self {
        Self(
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(HttpConnector::new()),
        )
    }
}

impl Prober {
    /// Asks once. The error says what was wrong, in words.
    pub async fn ask(
        &self,
        health: &Health,
        address: Option<SocketAddr>,
        launch: &Launch,
        runtime: &dyn Runtime,
    ) -> Result<(), String> {
        let ask = async {
            match (&health.path, &health.run, address) {
                (Some(path), _, Some(address)) => self.get(address, path).await,
                (_, Some(command), _) => runtime.exec(launch, command).await,
                (None, None, Some(address)) => connect(address).await,
                // A worker: that it still runs is all there is to ask.
                (_, None, None) => Ok(()),
            }
        };
        let late = |_| format!("no answer within {}", health.timeout);
        tokio::time::timeout(health.timeout.get(), ask)
            .await
            .map_err(late)?
    }

    async fn get(&self, address: SocketAddr, path: &str) -> Result<(), String> {
        let request = Request::get(format!("http://{address}/{}", path.trim_start_matches('/')))
            .header("user-agent", "shipit-health")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| innermost(&error))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(format!("{path} answered {status}"))
        }
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

async fn connect(address: SocketAddr) -> Result<(), String> {
    TcpStream::connect(address)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}
