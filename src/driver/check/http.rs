//! HTTP requests: pooled, bounded, and never following a redirect.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, StatusCode, header};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use crate::driver::check::CheckFailure;
use crate::model::Host;
use crate::model::check::HttpCheck;

/// How much of a body is read.
const BODY_LIMIT: usize = 1 << 20;

/// How often a check that must hold for a while is made.
const HOLD_INTERVAL: Duration = Duration::from_millis(200);

/// A pooled HTTP/1.1 client.
#[derive(Debug, Clone)]
pub(super) struct Client(HyperClient<HttpConnector, Empty<Bytes>>);

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(HyperClient::builder(TokioExecutor::new()).build(connector))
    }
}

impl Client {
    /// One GET, read to its end. Without a host the client says that of the URL.
    pub async fn get(
        &self,
        url: &str,
        host: Option<&Host>,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::get(url).header(
            header::USER_AGENT,
            concat!("shipit/", env!("CARGO_PKG_VERSION")),
        );
        if let Some(host) = host {
            request = request.header(header::HOST, host.as_str());
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| error.to_string())?;

        let exchange = async {
            let response = self
                .0
                .request(request)
                .await
                .map_err(|error| root(&error))?;
            let status = response.status();
            Ok((status, beginning(response.into_body()).await?))
        };

        let late = |_| format!("no answer within {} ms", timeout.as_millis());
        tokio::time::timeout(timeout, exchange)
            .await
            .map_err(late)?
    }

    /// Whether the check holds, now or for as long as it says.
    pub async fn hold(&self, check: &HttpCheck, base: &str) -> Result<(), CheckFailure> {
        let until = Instant::now() + check.hold.unwrap_or_default().get();
        loop {
            self.once(check, base).await?;
            if Instant::now() >= until {
                return Ok(());
            }
            tokio::time::sleep(HOLD_INTERVAL).await;
        }
    }

    async fn once(&self, check: &HttpCheck, base: &str) -> Result<(), CheckFailure> {
        let url = format!("{base}/{}", check.path.trim_start_matches('/'));
        let (status, body) = self
            .get(&url, check.host.as_ref(), check.timeout.get())
            .await
            .map_err(|error| CheckFailure::say(format!("{url}: {error}")))?;
        let body = String::from_utf8_lossy(&body);
        let detail = || {
            body.lines()
                .take(5)
                .map(|line| line.chars().take(200).collect())
                .collect()
        };
        if status.as_u16() != check.expect {
            let mut reason = format!("{url} answered {}, not {}", status.as_u16(), check.expect);
            if let Some(host) = &check.host {
                let _ = write!(reason, ", to Host: {host}");
            }
            return Err(CheckFailure {
                reason,
                detail: detail(),
            });
        }

        match &check.contains {
            Some(text) if !body.contains(text.as_str()) => Err(CheckFailure {
                reason: format!("{url} does not contain `{text}`"),
                detail: detail(),
            }),
            _ => Ok(()),
        }
    }
}

/// A body, or as much of it as is looked at.
async fn beginning(mut body: Incoming) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the body was cut off: {}", root(&error)))?;
        bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        if bytes.len() >= BODY_LIMIT {
            break;
        }
    }
    Ok(bytes.freeze())
}

/// The innermost reason: what a person can act on.
fn root(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
