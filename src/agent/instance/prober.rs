//! Asks an instance how it is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::agent::runtime::{Launch, Runtime};
use crate::agent::trouble::Trouble;
use crate::model::health::{Health, Liveness};
use crate::model::port::PortName;
use crate::model::{Host, Period};

/// How much later than it should a timer may fire before the agent, and not the instance, is taken
/// for the late one.
pub(super) const LATE: Duration = Duration::from_millis(200);

/// How long Docker may take to find that nobody takes a connection in a container.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How much of a body is read, in bytes; checks read as much of theirs.
const BODY_LIMIT: usize = 1 << 20;

/// What an instance is asked with. One for all: connections to a service's health path are few.
#[derive(Clone)]
pub(in crate::agent) struct Prober(Client<HttpConnector, Empty<Bytes>>);

/// What an instance is asked, and how long it may take to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    path: Option<&'a str>,
    host: Option<&'a Host>,
    /// Which port is asked; the one that gets the traffic without it.
    port: Option<&'a PortName>,
    command: Option<&'a [String]>,
    within: Duration,
}

impl<'a> Question<'a> {
    /// Whether it can take traffic.
    pub fn readiness(health: &'a Health) -> Self {
        Self {
            path: health.path.as_deref(),
            host: health.host.as_ref(),
            port: health.port.as_ref(),
            command: health.run.as_deref(),
            within: health.timeout.get(),
        }
    }

    /// Whether it lives. Without a question of its own it is the one about traffic.
    pub fn liveness(health: &'a Health, liveness: &'a Liveness) -> Self {
        let own = Self {
            path: liveness.path.as_deref(),
            host: health.host.as_ref(),
            port: liveness.port.as_ref().or(health.port.as_ref()),
            command: liveness.run.as_deref(),
            within: liveness.timeout.get(),
        };
        if own.path.is_some() || own.command.is_some() {
            return own;
        }
        Self {
            within: own.within,
            ..Self::readiness(health)
        }
    }

    /// Which port is asked; the one that gets the traffic without it.
    pub const fn port(&self) -> Option<&'a PortName> {
        self.port
    }

    /// Whether there is anything to ask; without it, that the process runs is all there is to know.
    pub const fn asks(&self, address: Option<SocketAddr>) -> bool {
        self.path.is_some() || self.command.is_some() || address.is_some()
    }
}

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
    /// Asks once. The error says what was wrong, and whose trouble it is.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        address: Option<SocketAddr>,
        launch: &Launch,
        runtime: &dyn Runtime,
    ) -> Result<(), Trouble> {
        let ask = async {
            match (question.path, question.command, address) {
                (Some(path), _, Some(address)) => self.get(address, path, question.host).await,
                (_, Some(command), _) => runtime.exec(launch, command, question.within).await,
                (None, None, Some(address)) => connect(address).await,
                // A worker: that it still runs is all there is to ask.
                (_, None, None) => Ok(()),
            }
        };
        in_time(question.within, ask).await
    }

    async fn get(
        &self,
        address: SocketAddr,
        path: &str,
        host: Option<&Host>,
    ) -> Result<(), Trouble> {
        let host = host.map_or_else(|| address.to_string(), Host::to_string);
        let request = Request::get(format!("http://{address}/{}", path.trim_start_matches('/')))
            .header(header::HOST, &host)
            .header(header::USER_AGENT, "shipit-health")
            .body(Empty::new())
            .map_err(|error| Trouble::Instance(error.to_string()))?;

        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| Trouble::of(&error))?;
        verdict(path, &host, response.status())?;
        body(path, response.into_body()).await
    }
}

/// Reads a body to its end, or as much of it as whoever asks for the sake of traffic does: a head
/// alone is no answer.
async fn body(path: &str, mut body: Incoming) -> Result<(), Trouble> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Trouble::of(&error).during(&format!("the body of {path} was cut off"))
        })?;
        length += frame.data_ref().map_or(0, Bytes::len);
        if length >= BODY_LIMIT {
            break;
        }
    }
    Ok(())
}

/// What a status means. Many services refuse a host that they do not know, so a refusal is told
/// with the host.
fn verdict(path: &str, host: &str, status: StatusCode) -> Result<(), Trouble> {
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(Trouble::Instance(if status.is_client_error() {
        format!("{path} answered {} to Host: {host}", status.as_u16())
    } else {
        format!("{path} answered {status}")
    }))
}

/// What is said within a time. Who was late, a timer that fired late tells: an agent that was held
/// up itself may have an answer lying there that it had no time to read.
async fn in_time(
    within: Duration,
    ask: impl Future<Output = Result<(), Trouble>>,
) -> Result<(), Trouble> {
    let begun = Instant::now();
    if let Ok(answer) = tokio::time::timeout(within, ask).await {
        return answer;
    }
    Err(unanswered(within, begun.elapsed()))
}

fn unanswered(within: Duration, took: Duration) -> Trouble {
    if took > within + LATE {
        let late = Period::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        return Trouble::Local(format!("the agent itself was held up: it waited {late}"));
    }
    let within = Period::from_millis(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
    Trouble::Instance(format!("no answer within {within}"))
}

async fn connect(address: SocketAddr) -> Result<(), Trouble> {
    TcpStream::connect(address).await.map(drop)?;
    Ok(())
}

/// Whether a service in a container of Docker's takes connections at a port of this machine. What
/// listens there is Docker's own, and takes them for every container; where nobody listens inside,
/// it ends them at once. It may take this long to be connected.
pub(super) async fn through_docker(address: SocketAddr, within: Duration) -> Result<(), Trouble> {
    in_time(within + AT_ONCE, is_taken(address)).await
}

async fn is_taken(address: SocketAddr) -> Result<(), Trouble> {
    let mut stream = TcpStream::connect(address).await?;
    let mut first = [0];
    let read = tokio::time::timeout(AT_ONCE, stream.read(&mut first)).await;
    match read {
        // It waits for whoever speaks first, or speaks first itself.
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0) | Err(_)) => Err(Trouble::Instance(
            "a connection to its port ends at once: in its container nothing takes it".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_docker_takes_for_nobody_is_no_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (ended, ()) = tokio::join!(is_taken(address), async {
            drop(listener.accept().await.expect("it comes"));
        });
        assert!(matches!(ended, Err(Trouble::Instance(_))), "{ended:?}");

        let (held, stream) = tokio::join!(is_taken(address), listener.accept());
        assert_eq!(held, Ok(()));
        drop(stream);
        drop(listener);
        assert!(is_taken(address).await.is_err(), "nobody is there");
    }

    #[test]
    fn a_timer_that_fires_late_is_the_agents_own_trouble() {
        let (second, later) = (Duration::from_secs(1), Duration::from_secs(5));
        assert!(matches!(unanswered(second, later), Trouble::Local(_)));
        let Trouble::Instance(reason) = unanswered(second, second) else {
            panic!("an instance that is slow is slow");
        };
        assert_eq!(reason, "no answer within 1s");
    }

    #[test]
    fn a_refusal_is_told_with_the_host_that_was_sent() {
        let reason = |status| match verdict("/up", "127.0.0.1:43021", status) {
            Err(Trouble::Instance(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            reason(StatusCode::BAD_REQUEST),
            "/up answered 400 to Host: 127.0.0.1:43021"
        );
        let broken = reason(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(broken, "/up answered 500 Internal Server Error");
        assert!(verdict("/up", "shop.test", StatusCode::FOUND).is_ok());
    }

    /// The head of the request that a question sends.
    async fn head(question: Question<'_>) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = async {
            let (mut stream, _) = listener.accept().await.expect("a request");
            let mut head = vec![0; 1024];
            let length = stream.read(&mut head).await.expect("a head");
            let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(empty).await.expect("an answer");
            String::from_utf8_lossy(&head[..length]).to_lowercase()
        };

        let prober = Prober::default();
        let path = question.path.expect("a path");
        let (head, answer) = tokio::join!(answer, prober.get(address, path, question.host));
        answer.expect("a good answer");
        head.replace(&address.to_string(), "address")
    }

    /// What is said of an answer that begins with this head and goes on with so many pieces.
    async fn asked(head: &'static str, pieces: usize, within: Duration) -> Result<(), Trouble> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let answering = async move {
            let (mut stream, _) = listener.accept().await.expect("a request");
            let length = stream.read(&mut [0; 1024]).await.expect("a head");
            assert!(length > 0);
            stream.write_all(head.as_bytes()).await.expect("a head");
            for _ in 0..pieces {
                // It has heard enough at some time.
                let piece = ["4000\r\n", &"x".repeat(0x4000), "\r\n"].concat();
                if stream.write_all(piece.as_bytes()).await.is_err() {
                    break;
                }
            }
            // It never closes.
            let _stream = stream;
            std::future::pending::<()>().await;
        };
        let prober = Prober::default();
        tokio::select! {
            answer = in_time(within, prober.get(address, "/up", None)) => answer,
            () = answering => Ok(()),
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_no_answer_and_a_long_one_is() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let (soon, late) = (Duration::from_millis(500), Duration::from_secs(30));
        let endless = asked(chunked, 1, soon).await;
        // An agent that is held up says so, and neither is good.
        assert!(endless.is_err(), "{endless:?}");
        let unclosed = asked("HTTP/1.0 200 OK\r\n\r\n", 0, soon).await;
        assert!(unclosed.is_err(), "{unclosed:?}");
        let nothing = asked("HTTP/1.1 204 No Content\r\n\r\n", 0, late).await;
        assert!(nothing.is_ok());
        assert!(
            asked(chunked, 1000, late).await.is_ok(),
            "no more is read than that"
        );
    }

    #[tokio::test]
    async fn both_questions_send_the_host_that_the_service_wants() {
        let mut health = Health {
            path: Some("/ready".to_owned()),
            ..Health::default()
        };
        let liveness = Liveness {
            path: Some("/live".to_owned()),
            ..Liveness::default()
        };
        let plain = head(Question::readiness(&health)).await;
        assert!(plain.contains("\r\nhost: address\r\n"), "{plain}");

        health.host = Some(Host::try_from("shop.test".to_owned()).expect("a host"));
        for question in [
            Question::readiness(&health),
            Question::liveness(&health, &liveness),
            Question::liveness(&health, &Liveness::default()),
        ] {
            let head = head(question).await;
            assert_eq!(head.matches("\r\nhost: shop.test\r\n").count(), 1, "{head}");
        }
    }

    #[test]
    fn liveness_asks_what_readiness_asks_unless_it_has_a_question_of_its_own() {
        let health = Health {
            path: Some("/ready".to_owned()),
            ..Health::default()
        };
        let plain = Liveness::default();
        let same = Question::liveness(&health, &plain).path;
        assert_eq!(same, Some("/ready"));
        let own = Liveness {
            path: Some("/live".to_owned()),
            ..Liveness::default()
        };
        assert_eq!(Question::liveness(&health, &own).path, Some("/live"));
    }
}
