//! The service that the tests ship: an HTTP server that does what its environment and its files
//! say.
//!
//! `/` answers with `message.txt`, `/healthz` with 200 unless told otherwise, `/echo` with the
//! request's body, `/slow?ms=N` after N milliseconds, `/headers` with the request's headers, `/ws`
//! echoes WebSocket messages, `/file?PATH` answers with a file, `/descriptors` with what it has
//! open. While there is a file at `SICK_FILE`, `/healthz` fails; while there is one at
//! `CRASH_FILE`, it crashes. `TELL` names variables whose
//! values it writes into its log. `FAIL_HEALTH`, `FAIL_ROOT`, `START_DELAY_MS`,
//! `EAT_MIB` and `FAIL_START` make it misbehave. With `ADMIN` it answers at `PORT_ADMIN`, too,
//! and with `LINE` each line at `PORT_LINE`. SIGTERM stops accepting, lets requests finish, and
//! ends with 0.

#![allow(clippy::print_stdout, clippy::print_stderr)] // what a service writes is its log

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn millis(name: &str) -> Option<Duration> {
    told(name)?.parse().ok().map(Duration::from_millis)
}

#[tokio::main]
async fn main() {
    let mebibytes: usize = told("EAT_MIB")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let eaten: Vec<Vec<u8>> = (0..mebibytes).map(|_| vec![1; 1 << 20]).collect();
    println!("{} MiB eaten", std::hint::black_box(eaten).len());
    for name in told("TELL").unwrap_or_default().split_whitespace() {
        tell(&told(name).unwrap_or_default());
    }
    if let Some(reason) = told("FAIL_START") {
        eprintln!("cannot start: {reason}");
        std::process::exit(3);
    }
    if let Some(delay) = millis("START_DELAY_MS") {
        tokio::time::sleep(delay).await;
    }
    if let Some(file) = told("CRASH_FILE") {
        tokio::spawn(async move {
            while !Path::new(&file).exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            eprintln!("crashing as told");
            std::process::exit(4);
        });
    }
    let port: u16 = told("PORT")
        .and_then(|port| port.parse().ok())
        .expect("PORT");
    let handed_over = listenfd::ListenFd::from_env()
        .take_tcp_listener(0)
        .expect("a socket, or none");
    let listener = match handed_over {
        Some(listener) => {
            listener.set_nonblocking(true).expect("a socket of its own");
            TcpListener::from_std(listener).expect("a socket that listens")
        }
        None => TcpListener::bind((told("HOST").unwrap_or_else(|| "127.0.0.1".to_owned()), port))
            .await
            .expect("the port is free"),
    };
    if let Some(port) = told("PORT_ADMIN").filter(|_| told("ADMIN").is_some()) {
        let port: u16 = port.parse().expect("PORT_ADMIN");
        let host = told("HOST").unwrap_or_else(|| "127.0.0.1".to_owned());
        let listener = TcpListener::bind((host, port)).await;
        tokio::spawn(serve(listener.expect("the port is free")));
    }
    if let Some(port) = told("PORT_LINE").filter(|_| told("LINE").is_some()) {
        let port: u16 = port.parse().expect("PORT_LINE");
        let host = told("HOST").unwrap_or_else(|| "127.0.0.1".to_owned());
        let listener = TcpListener::bind((host, port)).await;
        tokio::spawn(lines(listener.expect("the port is free")));
    }
    println!("storefront listens on {port}: {}", message());
    serve(listener).await;
}

/// Answers each line with the message, on each connection.
async fn lines(listener: TcpListener) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = format!("{} {line}\n", message());
                if lines.get_mut().write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Writes a text in several forms, as a careless service would.
fn tell(text: &str) {
    println!("{text}");
    println!("debug {text:?} hex {}", hex(text));
    println!("json {}", serde_json::json!({"token": text}));
    eprintln!(
        "Authorization: Basic {}",
        STANDARD.encode(format!("user:{text}"))
    );
}

fn hex(text: &str) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("a digit");
    text.bytes()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn message() -> String {
    std::fs::read_to_string("message.txt")
        .unwrap_or_else(|_| "no message".to_owned())
        .trim()
        .to_owned()
}

async fn serve(listener: TcpListener) {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be heard");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be heard");
    let graceful = GracefulShutdown::new();
    let builder = Builder::new(TokioExecutor::new());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => {
                println!("asked to end by SIGINT");
                break;
            }
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let connection =
                    builder.serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer)).into_owned();
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(Duration::from_secs(10), graceful.shutdown()).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    Ok(match (request.method(), request.uri().path()) {
        (_, "/healthz") if told("FAIL_HEALTH").is_some() => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "sick".into())
        }
        (_, "/healthz") if told("SICK_FILE").is_some_and(|path| Path::new(&path).exists()) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "busy".into())
        }
        (_, "/healthz") => text(StatusCode::OK, "ok".into()),
        (&Method::POST, "/echo") => match request.into_body().collect().await {
            Ok(body) => Response::new(Full::new(body.to_bytes())),
            Err(error) => text(StatusCode::BAD_REQUEST, error.to_string()),
        },
        (_, "/slow") => {
            let wait = query
                .strip_prefix("ms=")
                .and_then(|ms| ms.parse().ok())
                .unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            text(StatusCode::OK, format!("{} after {wait} ms", message()))
        }
        (_, "/headers") => text(StatusCode::OK, headers(&request)),
        (_, "/file") => text(
            StatusCode::OK,
            std::fs::read_to_string(&query).unwrap_or_else(|error| error.to_string()),
        ),
        (_, "/descriptors") => text(StatusCode::OK, descriptors()),
        (_, "/env") => text(StatusCode::OK, told(&query).unwrap_or_default()),
        (_, "/say") => {
            println!("{query}");
            text(StatusCode::OK, String::new())
        }
        (_, "/ws") => web_socket(request),
        (_, "/") if told("FAIL_ROOT").is_some() => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "broken".into())
        }
        (_, "/") => text(StatusCode::OK, message()),
        _ => text(StatusCode::NOT_FOUND, "not here".into()),
    })
}

/// What this process has open, a line each.
fn descriptors() -> String {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let lines: Vec<String> = targets.map(|target| target.display().to_string()).collect();
    lines.join("\n")
}

fn headers(request: &Request<Incoming>) -> String {
    let mut lines: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    lines.join("\n")
}

fn web_socket(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let key = request
        .headers()
        .get("sec-websocket-key")
        .map(|key| derive_accept_key(key.as_bytes()));
    let mut response = Response::new(Full::default());
    let Some(accept) = key else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else {
            return;
        };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(received)) = socket.next().await {
            if received.is_close() || socket.send(received).await.is_err() {
                break;
            }
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", &accept),
    ] {
        response
            .headers_mut()
            .insert(name, value.parse().expect("a header"));
    }
    response
}
