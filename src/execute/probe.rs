//! The prober's session: from before live traffic is touched until it is verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::execute::Run;
use crate::model::Role;
use crate::model::outcome::{ProbeReport, Url};
use crate::port::checker::ProbeTarget;
use crate::port::pause::between;

/// How long a first release may take from its switch to its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// The pause until it is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// At most one measurement per run. Starting twice and stopping twice do no harm.
#[derive(Default)]
pub(super) struct Session {
    probes: Mutex<JoinSet<ProbeReport>>,
    started: AtomicBool,
    stop: CancellationToken,
    /// How many connections to the other machine had been lost when it began.
    lost_before: AtomicU64,
    report: Mutex<Option<ProbeReport>>,
}

impl Session {
    /// Starts before live traffic is touched, when there is any.
    pub async fn start_before(&self, run: &Arc<Run>) {
        if run.plan().active.is_some() && self.claims_the_start(run) {
            self.measure(run, targets(run).await).await;
        }
    }

    /// Starts once the first release has live traffic and has answered: before that, nothing could.
    /// A gateway takes its time until it has heard of a new entry point, and nobody's request is
    /// lost meanwhile.
    pub async fn start_after(&self, run: &Arc<Run>) {
        if run.plan().active.is_some() || !self.claims_the_start(run) {
            return;
        }

        let targets = targets(run).await;
        let answered = tokio::time::timeout(FIRST_ANSWER, async {
            for target in &targets {
                while !run.job.ports.checker.answers(target).await {
                    tokio::time::sleep(between(AGAIN / 2, AGAIN)).await;
                }
            }
        });
        // What has not answered by then is measured, and fails.
        let _ = run.soft.run_until_cancelled(answered).await;
        self.measure(run, targets).await;
    }

    /// Whether requests are being sent.
    pub fn is_on(&self) -> bool {
        self.started.load(Ordering::Acquire) && !self.stop.is_cancelled()
    }

    /// Takes the one start, if it was asked for and nobody has.
    fn claims_the_start(&self, run: &Run) -> bool {
        run.plan().probe.rate != 0 && !self.started.swap(true, Ordering::AcqRel)
    }

    async fn measure(&self, run: &Run, targets: Vec<ProbeTarget>) {
        let lost = run.engine().lost_connections().await;
        self.lost_before.store(lost, Ordering::Release);
        let mut probes = self.probes.lock().await;
        for target in targets {
            let (checker, stop) = (run.job.ports.checker.clone(), self.stop.clone());
            probes.spawn(async move { checker.probe(target, stop).await });
        }
    }

    /// Stops it and gives what it measured; none when it was never started. What failed while the
    /// connection to another machine was lost is not counted: it is no failure of a service.
    pub async fn stop(&self, run: &Run) -> Option<ProbeReport> {
        self.stop.cancel();
        let mut report = self.report.lock().await;
        let mut probes = self.probes.lock().await;
        let mut merged = None::<ProbeReport>;
        while let Some(measured) = probes.join_next().await {
            let Ok(measured) = measured else { continue };
            merged = Some(merged.unwrap_or_default().merge(measured));
        }
        if let Some(measured) = merged {
            *report = Some(if self.is_for_the_way(run, &measured).await {
                measured.without_those_on_the_way()
            } else {
                measured
            });
        }
        report.clone()
    }

    /// Whether what failed may have failed on its way.
    async fn is_for_the_way(&self, run: &Run, measured: &ProbeReport) -> bool {
        measured.failures > 0
            && run.engine().lost_connections().await > self.lost_before.load(Ordering::Acquire)
    }
}

/// What is asked. Without URLs that is nothing; the switch itself will say what is wrong with the
/// engine.
async fn targets(run: &Run) -> Vec<ProbeTarget> {
    let urls = run.engine().reachable_urls(run.scope(), Role::Active).await;
    // What the plan ends is not meant to answer afterwards.
    let target = run.plan().target.as_ref();
    let stays = |url: &Url| target.is_none_or(|it| it.workloads.contains_key(&url.service));
    // Neither is what stops by its own strategy, where the others' promises that nothing is lost.
    let has_a_gap = run.plan().strategy.has_a_gap();
    let gaps = run.plan().gaps();
    let answers = |url: &Url| has_a_gap || !gaps.contains(&url.service);
    let urls = urls.unwrap_or_default().into_iter();
    let urls = urls.filter(|url| stays(url) && answers(url));
    urls.map(|url| self::target(run, url)).collect()
}

fn target(run: &Run, url: Url) -> ProbeTarget {
    let probe = &run.plan().probe;
    let workload = run
        .plan()
        .target
        .as_ref()
        .and_then(|target| target.workloads.get(&url.service));
    let health = workload.map(|workload| &workload.health);
    let path = probe
        .path
        .clone()
        .or_else(|| health?.path.clone())
        .unwrap_or_else(|| "/".to_owned());
    // Of what speaks no HTTP no path can be asked, and of another port than the one with the
    // traffic none is known.
    let asked = match url.url.split_once("://") {
        Some(("tcp", _)) => url.url,
        Some((_, address)) if url.port.is_some() => format!("tcp://{address}"),
        _ => format!("{}{path}", url.url.trim_end_matches('/')),
    };
    ProbeTarget {
        service: url.service,
        url: asked,
        trust: url.trust,
        host: health.and_then(|health| health.host.clone()),
        rate: probe.rate,
        timeout: probe.timeout,
    }
}
