//! The checker: what asks a service from outside, once before or after a switch, or all through it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::model::check::Check;
use crate::model::outcome::{ProbeReport, Url};
use crate::model::own_rule::ProgramRule;
use crate::model::{Host, Period, ServiceName};
use crate::port::Progress;

/// What checks run against.
#[derive(Debug, Clone)]
pub struct CheckTarget {
    /// Where the services answer.
    pub urls: Vec<Url>,
    /// The project's folder, where commands run.
    pub root: std::path::PathBuf,
    /// What commands see besides: `SHIPIT_ENVIRONMENT` and so on.
    pub env: BTreeMap<String, String>,
}

/// A check that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {reason}")]
pub struct CheckFailed {
    /// Which check, in words.
    pub check: String,
    /// Why, in one line.
    pub reason: String,
    /// What helps to understand it: a command's last lines, the start of a body.
    pub detail: Vec<String>,
}

/// What the prober sends.
#[derive(Debug, Clone)]
pub struct ProbeTarget {
    /// Whose listener it is.
    pub service: ServiceName,
    /// The whole URL.
    pub url: String,
    /// The certificates that are shown there ([`Url::trust`]).
    pub trust: Vec<String>,
    /// The header `Host`, when that is not the URL's.
    pub host: Option<Host>,
    /// Requests a second.
    pub rate: u32,
    /// A request that takes longer has failed.
    pub timeout: Period,
}

/// A checker.
#[async_trait]
pub trait Checker: Send + Sync {
    /// Holds one check; every check has its own time limit.
    async fn check(
        &self,
        check: &Check,
        target: &CheckTarget,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), CheckFailed>;

    /// Sends requests at the given rate until `stop` is cancelled, waits for those under way, and
    /// reports. A failure is: no connection, no whole answer in time, a status of 500 or above.
    async fn probe(&self, target: ProbeTarget, stop: CancellationToken) -> ProbeReport;

    /// Asks a program of the project, which gets `input` through its standard input and ends with 0
    /// where its rule holds. Whoever knows no programs refuses.
    async fn ask(
        &self,
        rule: &ProgramRule,
        _input: Vec<u8>,
        _target: &CheckTarget,
    ) -> Result<(), CheckFailed> {
        Err(CheckFailed {
            check: rule.command.join(" "),
            reason: "no program is started here".to_owned(),
            detail: Vec::new(),
        })
    }

    /// Whether one request gets what the prober takes for an answer.
    async fn answers(&self, _target: &ProbeTarget) -> bool {
        true
    }
}
