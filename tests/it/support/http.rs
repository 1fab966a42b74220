//! A small HTTP client: one request, one connection, and a load that keeps its connections.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// One GET on a connection of its own.
pub fn get(address: &str, path: &str) -> io::Result<Answer> {
    get_with(address, path, &format!("host: {address}\r\n"))
}

/// The same with these header lines alone.
pub fn get_with(address: &str, path: &str, lines: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\n{lines}connection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other(format!("no head in {text:?}")))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}

/// What a load saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: u64,
    pub failures: Vec<String>,
}

impl Seen {
    /// That more than this many were asked, and none failed.
    pub fn has_lost_none_of(&self, least: u64) {
        assert!(
            self.failures.is_empty(),
            "{} of {} requests failed: {:?}",
            self.failures.len(),
            self.requests,
            self.failures.iter().take(3).collect::<Vec<_>>()
        );
        assert!(self.requests > least, "the load was on: {}", self.requests);
    }
}

/// What a load speaks.
#[derive(Debug, Clone)]
pub enum Speaks {
    Http,
    /// HTTPS with what this authority has signed, a file in PEM.
    Https(Version, std::path::PathBuf),
}

/// Which HTTP a client offers in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

impl Speaks {
    fn scheme(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https(..) => "https",
        }
    }

    fn connector(&self) -> HttpsConnector<HttpConnector> {
        let mut roots = rustls::RootCertStore::empty();
        if let Self::Https(_, authority) = self {
            let pem = std::fs::read(authority).expect("an authority");
            let authority = rustls_pki_types::pem::PemObject::from_pem_slice(&pem);
            roots.add(authority.expect("PEM")).expect("a certificate");
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http();
        match self {
            Self::Https(Version::Http2, _) => builder.enable_http2().build(),
            Self::Http | Self::Https(Version::Http1, _) => builder.enable_http1().build(),
        }
    }
}

/// A load of GETs and POSTs on kept connections, from its making until [`Load::stop`].
pub struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Seen>,
}

impl Load {
    /// `clients` connections, together at most `rate` requests a second.
    pub fn start(address: &str, clients: u32, rate: u32) -> Self {
        Self::speaking(Speaks::Http, address, clients, rate)
    }

    /// The same in another way.
    pub fn speaking(speaks: Speaks, address: &str, clients: u32, rate: u32) -> Self {
        let (stop, count) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (address, stopped, counted) =
            (address.to_owned(), Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let pause = Duration::from_secs(1) * clients / rate;
                let tasks: Vec<_> = (0..clients)
                    .map(|number| {
                        let base = format!("{}://{address}", speaks.scheme());
                        tokio::spawn(client(
                            speaks.clone(),
                            base,
                            number,
                            pause,
                            Arc::clone(&stopped),
                            Arc::clone(&counted),
                        ))
                    })
                    .collect();
                let mut seen = Seen::default();
                for task in tasks {
                    let part = task.await.expect("a client ends");
                    seen.requests += part.requests;
                    seen.failures.extend(part.failures);
                }
                seen
            })
        });
        Self {
            stop,
            count,
            thread,
        }
    }

    /// How many requests were answered until now.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load ends")
    }
}

async fn client(
    speaks: Speaks,
    base: String,
    number: u32,
    pause: Duration,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Seen {
    // A client of its own: its one connection is kept from request to request.
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(1)
        .http2_only(matches!(speaks, Speaks::Https(Version::Http2, _)))
        .build::<_, Full<Bytes>>(speaks.connector());
    let mut seen = Seen::default();
    let mut turn = 0_u64;
    let mut ticks = tokio::time::interval(pause);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        turn += 1;
        let body = Bytes::from(format!("{number} {turn} ").repeat(200));
        let posts = turn.is_multiple_of(2);
        let request = if posts {
            Request::post(format!("{base}/echo")).body(Full::new(body.clone()))
        } else {
            Request::get(format!("{base}/")).body(Full::default())
        };
        seen.requests += 1;
        let exchange = async {
            let response = client
                .request(request.expect("a request"))
                .await
                .map_err(|error| format!("{error:?}"))?;
            let status = response.status();
            let got = response
                .into_body()
                .collect()
                .await
                .map_err(|error| format!("body: {error:?}"))?
                .to_bytes();
            let right = status.is_success() && (!posts || got == body);
            if right {
                Ok(())
            } else {
                Err(format!("{status}: {}", String::from_utf8_lossy(&got)))
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), exchange).await {
            Ok(Ok(())) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(failure)) => seen.failures.push(failure),
            Err(_) => seen.failures.push("no answer within 20 s".to_owned()),
        }
    }
    seen
}
