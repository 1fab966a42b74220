//! Docker's API with one request spoiled: whatever comes of that run, the next one comes to the
//! same end, and nothing is there twice.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::docker::{containers, world};
use crate::support::Said;

/// How a request is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The connection ends before the engine has the request.
    Lost,
    /// The engine has done it, and the answer never comes.
    AnswerLost,
    /// The answer breaks off.
    Truncated,
    /// The engine fails inside.
    Broken,
}

const FAULTS: [Fault; 4] = [
    Fault::Lost,
    Fault::AnswerLost,
    Fault::Truncated,
    Fault::Broken,
];

/// A socket in front of the engine's own.
struct Proxy {
    socket: PathBuf,
    seen: Arc<AtomicUsize>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Answer = Result<Response<BoxBody<Bytes, std::io::Error>>, std::io::Error>;

impl Proxy {
    /// The request with this number, from 1, is spoiled.
    fn start(socket: PathBuf, spoiled: usize, fault: Fault) -> Self {
        let listener = UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("set");
        let (seen, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (count, token) = (Arc::clone(&seen), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        () = token.cancelled() => return,
                    };
                    let Ok((stream, _)) = accepted else { continue };
                    let count = Arc::clone(&count);
                    let service = hyper::service::service_fn(move |request| {
                        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                        pass(request, (number == spoiled).then_some(fault))
                    });
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(async move {
                        let _ = served.await;
                    });
                }
            });
        });
        Self {
            socket,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Where the engine itself listens.
fn engine() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    Path::new(
        host.strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock"),
    )
    .to_path_buf()
}

async fn pass(request: Request<Incoming>, fault: Option<Fault>) -> Answer {
    let spoiled = || std::io::Error::other("spoiled");
    match fault {
        Some(Fault::Lost) => return Err(spoiled()),
        Some(Fault::Broken) => {
            let said = Full::new(Bytes::from_static(br#"{"message": "spoiled"}"#));
            let answer = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(answer
                .body(said.map_err(|never| match never {}).boxed())
                .expect("an answer"));
        }
        _ => {}
    }
    let stream = tokio::net::UnixStream::connect(engine()).await?;
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let answer = sender
        .send_request(request)
        .await
        .map_err(std::io::Error::other)?;
    if fault == Some(Fault::AnswerLost) {
        return Err(spoiled());
    }
    let (head, body) = answer.into_parts();
    let body = body.map_err(std::io::Error::other);
    if fault != Some(Fault::Truncated) {
        return Ok(Response::from_parts(head, body.boxed()));
    }
    let first = body.into_data_stream().take(1).map(|part| {
        let part = part?;
        Ok(Frame::data(part.slice(..part.len() / 2)))
    });
    let broken = first.chain(futures_util::stream::iter([Err(spoiled())]));
    Ok(Response::from_parts(
        head,
        BoxBody::new(StreamBody::new(broken)),
    ))
}

#[test]
fn any_request_to_docker_may_fail_in_any_way() {
    let Some(first) = world() else { return };
    let run = |world: &crate::support::World, number: usize, fault: Fault| {
        let proxy = Proxy::start(world.path().join("docker.sock"), number, fault);
        let apply = || {
            let mut command = world.command(&["apply", "--env", "staging", "--auto-approve"]);
            Said::from(
                &command
                    .env("DOCKER_HOST", proxy.host())
                    .output()
                    .expect("shipit starts"),
            )
        };
        let said = apply();
        let seen = proxy.seen.load(Ordering::SeqCst);
        let again = apply();
        (proxy, said, seen, again)
    };
    let (proxy, said, requests, again) = run(&first, 0, Fault::Lost);
    said.code(0);
    again.code(0).says("No changes");
    assert!(requests > 3, "{requests} requests");
    drop((first, proxy));
    let cases: Vec<(usize, Fault)> = FAULTS
        .iter()
        .flat_map(|fault| (1..=requests).map(|number| (number, *fault)))
        .collect();
    // A few of all the cases, others each time; SHIPIT_TEST_FAULTS tries every one.
    let all = std::env::var_os("SHIPIT_TEST_FAULTS").is_some();
    let (start, step) = (
        std::process::id() as usize,
        if all { 1 } else { cases.len() / 8 },
    );
    let (mut held, mut failed) = (0, 0);
    for at in (0..cases.len()).step_by(step.max(1)) {
        let (number, fault) = cases[(at + start) % cases.len()];
        let world = world().expect("it is there");
        let (proxy, said, _, again) = run(&world, number, fault);
        let what = format!(
            "{fault:?} at request {number} of {requests}\n{}\n{}",
            said.stdout, said.stderr
        );
        match said.code {
            Some(0) => held += 1,
            Some(1 | 3) => {
                failed += 1;
                assert!(
                    said.stdout.contains("Failed: ") || said.stderr.contains("help:"),
                    "{what}"
                );
            }
            _ => panic!("{what}"),
        }
        assert!(!said.stderr.contains("panicked"), "{what}");
        assert_eq!(
            again.code,
            Some(0),
            "{what}\n--- again\n{}\n{}",
            again.stdout,
            again.stderr
        );
        assert_eq!(world.get(), "v1", "{what}");
        let left = containers(&world, "{{.Names}} {{.State}}");
        let running = left
            .iter()
            .filter(|line| line.ends_with(" running"))
            .count();
        assert_eq!(running, 1, "{what}\n{left:?}");
        world
            .run(&["destroy", "--env", "staging", "--auto-approve"])
            .code(0);
        assert!(
            containers(&world, "{{.Names}}").is_empty(),
            "nothing is left: {what}"
        );
        // The world's agent asks Docker through it to the last.
        drop((world, proxy));
    }
    eprintln!(
        "{held} runs went on all the same, {failed} failed and came to the same end when run again"
    );
}
