//! Asking services from outside: single checks, and the prober that goes on through a switch.

mod certificates;
mod http;
mod probe;
mod run;
mod tcp;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::model::ServiceName;
use crate::model::check::Check;
use crate::model::outcome::{ProbeReport, Url};
use crate::model::own_rule::ProgramRule;
use crate::port::checker::{CheckFailed, CheckTarget, ProbeTarget};
use crate::port::{Checker, Progress};

/// The checker.
#[derive(Debug, Default, Clone)]
pub struct Checks {
    client: http::Client,
}

#[async_trait]
impl Checker for Checks {
    async fn check(
        &self,
        check: &Check,
        target: &CheckTarget,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), CheckFailed> {
        for url in &target.urls {
            self.client.trust(&url.trust);
        }
        let hold = async {
            match check {
                Check::Http(http) => {
                    self.client
                        .hold(http, &url(target, http.service.as_ref())?)
                        .await
                }
                Check::Tcp(check) => {
                    let url = url(target, check.service.as_ref())?;
                    let connected = tcp::connect(&url, check.timeout.get()).await;
                    connected.map_err(CheckFailure::say)
                }
                Check::Run(check) => run::run(check, target, progress).await,
                Check::Scan(_) | Check::Signature(_) => Err(CheckFailure::say(
                    "the registry is asked for this, and not the services",
                )),
            }
        };

        let result = tokio::select! {
            result = hold => result,
            () = cancel.cancelled() => Err(CheckFailure::say("stopped")),
        };
        result.map_err(|fault| CheckFailed {
            check: check.to_string(),
            reason: fault.reason,
            detail: fault.detail,
        })
    }

    async fn probe(&self, target: ProbeTarget, stop: CancellationToken) -> ProbeReport {
        self.client.trust(&target.trust);
        probe::probe(&self.client, target, stop).await
    }

    async fn ask(
        &self,
        rule: &ProgramRule,
        input: Vec<u8>,
        target: &CheckTarget,
    ) -> Result<(), CheckFailed> {
        run::ask(rule, input, target)
            .await
            .map_err(|fault| CheckFailed {
                check: rule.command.join(" "),
                reason: fault.reason,
                detail: fault.detail,
            })
    }

    async fn answers(&self, target: &ProbeTarget) -> bool {
        self.client.trust(&target.trust);
        probe::answers(&self.client, target).await
    }
}

/// Why a check does not hold.
struct CheckFailure {
    reason: String,
    detail: Vec<String>,
}

impl CheckFailure {
    fn say(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            detail: Vec::new(),
        }
    }
}

/// The URL of the named service, or of the only one.
fn url(target: &CheckTarget, service: Option<&ServiceName>) -> Result<String, CheckFailure> {
    let of_traffic = target.urls.iter().filter(|url| url.port.is_none());
    let all: Vec<&Url> = of_traffic.collect();
    let found = match (service, all.as_slice()) {
        (Some(name), urls) => urls.iter().copied().find(|url| url.service == *name),
        (None, [only]) => Some(*only),
        (None, []) => None,
        (None, urls) => {
            let names: Vec<&str> = urls
                .iter()
                .map(|Url { service, .. }| service.as_str())
                .collect();
            return Err(CheckFailure::say(format!(
                "say which `service` is meant: {}",
                names.join(", ")
            )));
        }
    };

    found
        .map(|url| url.url.trim_end_matches('/').to_owned())
        .ok_or_else(|| match service {
            Some(name) => CheckFailure::say(format!("{name} has no listener")),
            None => CheckFailure::say("no service has a listener"),
        })
}
