//! The prober's session: from before live traffic is touched until it is verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::execute::Run;
use crate::model::Role;
use crate::model::outcome::{ProbeReport, Url};
use crate::port::checker::ProbeTarget;

/// At most one measurement per run. Starting twice and stopping twice do no harm.
#[derive(Default)]
pub(super) struct Session {
    probes: Mutex<JoinSet<ProbeReport>>,
    started: AtomicBool,
    stop: CancellationToken,
    report: Mutex<Option<ProbeReport>>,
}

impl Session {
    /// Starts before live traffic is touched, when there is any.
    pub async fn start_before(&self, run: &Arc<Run>) {
        if run.plan().active.is_some() {
            self.start(run).await;
        }
    }

    /// Starts once the first release has live traffic: before that, nothing could answer.
    pub async fn start_after(&self, run: &Arc<Run>) {
        if run.plan().active.is_none() {
            self.start(run).await;
        }
    }

    /// Whether requests are being sent.
    pub fn is_on(&self) -> bool {
        self.started.load(Ordering::Acquire) && !self.stop.is_cancelled()
    }

    async fn start(&self, run: &Arc<Run>) {
        if run.plan().probe.rate == 0 || self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        // Without URLs there is nothing to ask; the switch itself will say what is wrong with the engine.
        let urls = run
            .job
            .ports
            .engine
            .urls(&run.job.permit.scope, Role::Active)
            .await
            .unwrap_or_default();
        // What the plan ends is not meant to answer afterwards.
        let target = run.plan().target.as_ref();
        let stays =
            |url: &Url| target.is_none_or(|target| target.workloads.contains_key(&url.service));
        let mut probes = self.probes.lock().await;
        for url in urls.into_iter().filter(stays) {
            let (checker, target, stop) = (
                run.job.ports.checker.clone(),
                self::target(run, url),
                self.stop.clone(),
            );
            probes.spawn(async move { checker.probe(target, stop).await });
        }
    }

    /// Stops it and gives what it measured; none when it was never started.
    pub async fn stop(&self) -> Option<ProbeReport> {
        self.stop.cancel();
        let mut report = self.report.lock().await;
        let mut probes = self.probes.lock().await;
        while let Some(measured) = probes.join_next().await {
            let Ok(measured) = measured else { continue };
            *report = Some(report.take().unwrap_or_default().merge(measured));
        }
        report.clone()
    }
}

fn target(run: &Run, url: Url) -> ProbeTarget {
    let probe = &run.plan().probe;
    let workload = run
        .plan()
        .target
        .as_ref()
        .and_then(|target| target.workloads.get(&url.service));
    let health = workload.and_then(|workload| workload.health.path.clone());
    let path = probe
        .path
        .clone()
        .or(health)
        .unwrap_or_else(|| "/".to_owned());
    ProbeTarget {
        service: url.service,
        url: format!("{}{path}", url.url.trim_end_matches('/')),
        rate: probe.rate,
        timeout: probe.timeout,
    }
}
