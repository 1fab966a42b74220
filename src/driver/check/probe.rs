//! The prober: an open loop, so that a slow answer does not hide the requests that would have come
//! meanwhile.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::driver::check::http::Client;
use crate::driver::check::tcp;
use crate::model::outcome::ProbeReport;
use crate::port::checker::ProbeTarget;

/// The most requests under way at once; more than that are left out and counted as nothing.
const UNDER_WAY: usize = 512;

pub(super) async fn probe(
    client: &Client,
    target: ProbeTarget,
    stop: CancellationToken,
) -> ProbeReport {
    let mut report = ProbeReport::default();
    let mut under_way: JoinSet<Answer> = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / target.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(Ok(answer)) = under_way.join_next() => count(&mut report, answer),
            _ = ticks.tick() => {
                if under_way.len() < UNDER_WAY {
                    under_way.spawn(ask(client.clone(), target.clone()));
                }
            }
        }
    }

    while let Some(answer) = under_way.join_next().await {
        if let Ok(answer) = answer {
            count(&mut report, answer);
        }
    }
    report
}

/// Whether one request is answered as it should be.
pub(super) async fn answers(client: &Client, target: &ProbeTarget) -> bool {
    let answer = ask(client.clone(), target.clone()).await;
    answer.failure.is_none()
}

struct Answer {
    took: Duration,
    /// It came, and says that the service has failed.
    is_bad: bool,
    failure: Option<String>,
}

async fn ask(client: Client, target: ProbeTarget) -> Answer {
    let since = Instant::now();
    let (url, timeout) = (&target.url, target.timeout.get());
    let late = |reason: String| {
        let after = since.elapsed().as_millis();
        format!("{url}: {reason} after {after} ms")
    };
    let mut is_bad = false;
    let failure = if tcp::is_meant(url) {
        tcp::answer(url, timeout).await.err().map(late)
    } else {
        match client.get(url, target.host.as_ref(), timeout).await {
            Ok((status, _)) if status.is_server_error() => {
                is_bad = true;
                Some(format!("{url} answered {status}"))
            }
            Ok(_) => None,
            Err(reason) => Some(late(reason)),
        }
    };
    Answer {
        took: since.elapsed(),
        is_bad,
        failure,
    }
}

fn count(report: &mut ProbeReport, answer: Answer) {
    report.requests += 1;
    report.slowest_micros = report
        .slowest_micros
        .max(u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX));
    if let Some(failure) = answer.failure {
        report.failures += 1;
        report.bad_answers += u64::from(answer.is_bad);
        if report.examples.len() < 10 {
            report.examples.push(failure);
        }
    }
}
