//! HTTP requests: pooled, bounded, and never following a redirect.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderMap};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::client::legacy::{Client as HyperClient, Error as HyperError};
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use crate::driver::check::CheckFailure;
use crate::driver::check::certificates::Shown;
use crate::model::Host;
use crate::model::check::HttpCheck;

/// How much of a body is read.
const BODY_LIMIT: usize = 1 << 20;

/// How often a check that must hold for a while is made.
const HOLD_INTERVAL: Duration = Duration::from_millis(200);

/// How many kept connections are known at once; beyond it all are forgotten, and none counts as kept.
const KEPT: usize = 1024;

/// A pooled HTTP/1.1 client.
///
/// A server may close a kept connection at any moment, also while the next request is on its way to
/// it, and who sends a GET sends it again then (RFC 9110, section 9.2.2): browsers, proxies and
/// libraries all do. So does this one, once, on a new connection. A new connection that is closed
/// without an answer is a failure.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pooled: HyperClient<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    unpooled: HyperClient<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    /// The certificates that the listeners that are asked show.
    shown: Arc<Shown>,
    kept: Arc<Mutex<HashSet<SocketAddr>>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    /// All of it, or as much as is looked at.
    pub body: Bytes,
    /// It came to the second request: the connection of the first was closed meanwhile.
    pub is_second: bool,
}

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let shown = Arc::new(Shown::default());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(shown.client())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let builder = || HyperClient::builder(TokioExecutor::new());
        Self {
            pooled: builder().build(connector.clone()),
            unpooled: builder().pool_max_idle_per_host(0).build(connector),
            shown,
            kept: Arc::default(),
        }
    }
}

impl Client {
    /// Knows a listener by the certificates that it shows, in PEM, whatever its address.
    pub fn trust(&self, chains: &[String]) {
        self.shown.add(chains);
    }

    /// One GET, read to its end. Without a host the client says that of the URL.
    pub async fn get(
        &self,
        url: &str,
        host: Option<&Host>,
        timeout: Duration,
    ) -> Result<Answer, String> {
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

        let late = |_| format!("no answer within {} ms", timeout.as_millis());
        tokio::time::timeout(timeout, self.exchange(request))
            .await
            .map_err(late)?
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Answer, String> {
        let mut is_second = false;
        let response = match self.pooled.request(request.clone()).await {
            Err(error) if self.was_kept(&error) => {
                is_second = true;
                self.unpooled.request(request).await
            }
            Ok(response) => {
                if !is_last(response.headers()) {
                    self.keep(response.extensions());
                }
                Ok(response)
            }
            Err(error) => Err(error),
        };

        let response = response.map_err(|error| root(&error))?;
        Ok(Answer {
            status: response.status(),
            body: beginning(response.into_body()).await?,
            is_second,
        })
    }

    /// Whether a request was lost with a connection that had answered before.
    fn was_kept(&self, error: &HyperError) -> bool {
        let Some(connection) = error.connect_info() else {
            return false;
        };
        let mut extensions = Extensions::new();
        connection.get_extras(&mut extensions);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        extensions
            .get::<HttpInfo>()
            .is_some_and(|connection| kept.remove(&connection.local_addr()))
    }

    /// Remembers a connection that has answered and stays, by its address at this end.
    fn keep(&self, answered: &Extensions) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.extend(answered.get::<HttpInfo>().map(HttpInfo::local_addr));
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
        let answer = self
            .get(&url, check.host.as_ref(), check.timeout.get())
            .await
            .map_err(|error| CheckFailure::say(format!("{url}: {error}")))?;
        let status = answer.status;
        let body = String::from_utf8_lossy(&answer.body);
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

/// Whether a server says that it closes the connection behind its answer. nginx says of each that it
/// keeps it.
fn is_last(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::CONNECTION).iter();
    let mut words = said.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
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
