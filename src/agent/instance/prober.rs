//! Asks an instance how it is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::agent::runtime::{Launch, Runtime};
use crate::agent::trouble::Trouble;
use crate::model::Period;
use crate::model::health::{Health, Liveness};

/// How much later than it should a timer may fire before the agent, and not the instance, is taken for the late one.
pub(super) const LATE: Duration = Duration::from_millis(200);

/// What an instance is asked with. One for all: connections to a service's health path are few.
#[derive(Clone)]
pub(in crate::agent) struct Prober(Client<HttpConnector, Empty<Bytes>>);

/// What an instance is asked, and how long it may take to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    path: Option<&'a str>,
    command: Option<&'a [String]>,
    within: Duration,
}

impl<'a> Question<'a> {
    /// Whether it can take traffic.
    pub fn readiness(health: &'a Health) -> Self {
        Self {
            path: health.path.as_deref(),
            command: health.run.as_deref(),
            within: health.timeout.get(),
        }
    }

    /// Whether it lives. Without a question of its own it is the one about traffic.
    pub fn liveness(health: &'a Health, liveness: &'a Liveness) -> Self {
        let own = Self {
            path: liveness.path.as_deref(),
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
                (Some(path), _, Some(address)) => self.get(address, path).await,
                (_, Some(command), _) => runtime.exec(launch, command, question.within).await,
                (None, None, Some(address)) => connect(address).await,
                // A worker: that it still runs is all there is to ask.
                (_, None, None) => Ok(()),
            }
        };
        in_time(question.within, ask).await
    }

    async fn get(&self, address: SocketAddr, path: &str) -> Result<(), Trouble> {
        let request = Request::get(format!("http://{address}/{}", path.trim_start_matches('/')))
            .header("user-agent", "shipit-health")
            .body(Empty::new())
            .map_err(|error| Trouble::Instance(error.to_string()))?;
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| Trouble::of(&error))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(Trouble::Instance(format!("{path} answered {status}")))
        }
    }
}

/// What is said within a time. Who was late, a timer that fired late tells: an agent that was held up itself may have
/// an answer lying there that it had no time to read.
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

#[cfg(test)]
mod tests {
    use super::*;

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
