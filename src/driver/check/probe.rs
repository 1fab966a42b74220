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
    let mut under_way: JoinSet<Asked> = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / target.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(Ok(asked)) = under_way.join_next() => count(&mut report, asked),
            _ = ticks.tick() => {
                if under_way.len() < UNDER_WAY {
                    under_way.spawn(ask(client.clone(), target.clone()));
                }
            }
        }
    }

    while let Some(asked) = under_way.join_next().await {
        if let Ok(asked) = asked {
            count(&mut report, asked);
        }
    }
    report
}

/// Whether one request is answered as it should be.
pub(super) async fn answers(client: &Client, target: &ProbeTarget) -> bool {
    let asked = ask(client.clone(), target.clone()).await;
    asked.failure.is_none()
}

struct Asked {
    took: Duration,
    /// Its connection had been closed, and it was sent once more.
    is_second: bool,
    /// It came, and says that the service has failed.
    is_bad: bool,
    failure: Option<String>,
}

async fn ask(client: Client, target: ProbeTarget) -> Asked {
    let since = Instant::now();
    let (url, timeout) = (&target.url, target.timeout.get());
    let late = |reason: String| {
        let after = since.elapsed().as_millis();
        format!("{url}: {reason} after {after} ms")
    };
    let (mut is_bad, mut is_second) = (false, false);
    let failure = if tcp::is_meant(url) {
        tcp::answer(url, timeout).await.err().map(late)
    } else {
        match client.get(url, target.host.as_ref(), timeout).await {
            Ok(answer) => {
                is_bad = answer.status.is_server_error();
                is_second = answer.is_second;
                is_bad.then(|| format!("{url} answered {}", answer.status))
            }
            Err(reason) => Some(late(reason)),
        }
    };
    Asked {
        took: since.elapsed(),
        is_second,
        is_bad,
        failure,
    }
}

fn count(report: &mut ProbeReport, asked: Asked) {
    report.requests += 1;
    report.sent_again += u64::from(asked.is_second);
    report.slowest_micros = report
        .slowest_micros
        .max(u64::try_from(asked.took.as_micros()).unwrap_or(u64::MAX));
    if let Some(failure) = asked.failure {
        report.failures += 1;
        report.bad_answers += u64::from(asked.is_bad);
        if report.examples.len() < 10 {
            report.examples.push(failure);
        }
    }
}
