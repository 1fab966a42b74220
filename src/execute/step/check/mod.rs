//! Checks: what must hold before a switch and after it, and what the prober saw in between.

mod scan;
mod signature;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::execute::step::unless_stopped;
use crate::model::Role;
use crate::model::check::{Check, Stage};
use crate::model::event::Event;
use crate::model::journal::Direction;
use crate::model::outcome::Url;
use crate::model::plan::Step;
use crate::port::checker::{CheckFailed, CheckTarget};
use crate::rollout::probe_failure_reverts;

pub(super) async fn check(
    run: &Arc<Run>,
    step: &Step,
    stage: Stage,
    checks: &[Check],
) -> Result<Done, StepError> {
    let role = match stage {
        Stage::Before => Role::Preview,
        Stage::After => Role::Active,
    };

    let hold = async {
        if !checks.is_empty() {
            hold_all(run, step, role, checks).await?;
        }
        Ok(())
    };

    unless_stopped(run, Direction::Forward, hold).await?;
    match stage {
        Stage::Before => Ok(Done::say(held(checks))),
        Stage::After => verdict(run, checks).await,
    }
}

fn held(checks: &[Check]) -> String {
    match checks.len() {
        0 => "nothing to check".to_owned(),
        1 => "1 check holds".to_owned(),
        count => format!("{count} checks hold"),
    }
}

async fn hold_all(
    run: &Arc<Run>,
    step: &Step,
    role: Role,
    checks: &[Check],
) -> Result<(), StepError> {
    let target = check_target(run, role).await?;
    let say = run.teller(step);
    for check in checks {
        match check {
            Check::Scan(scan) => scan::scanned(run, check, scan, &say).await?,
            Check::Signature(wanted) => signature::signed(run, check, wanted, &say).await?,
            Check::Http(_) | Check::Tcp(_) | Check::Run(_) => {
                for target in targets(run, role, check, &target).await? {
                    let acting = run.acting().await?;
                    acting
                        .checker
                        .check(check, &target, &say, &run.soft)
                        .await?;
                }
            }
        }
        say(&format!("✓ {check}"));
    }

    Ok(())
}

async fn check_target(run: &Run, role: Role) -> Result<CheckTarget, StepError> {
    let urls = run.engine().reachable_urls(run.scope(), role).await?;
    let mut env = BTreeMap::from([(
        "SHIPIT_ENVIRONMENT".to_owned(),
        run.plan().environment.to_string(),
    )]);
    if let Some(target) = &run.plan().target {
        env.insert("SHIPIT_SLOT".to_owned(), target.slot.to_string());
        env.insert("SHIPIT_RELEASE".to_owned(), target.release.to_string());
    }
    Ok(CheckTarget {
        urls,
        root: run.job.root.clone(),
        env,
    })
}

/// What one check is made against: what all are, or each place where the port is that it names.
async fn targets(
    run: &Run,
    role: Role,
    check: &Check,
    all: &CheckTarget,
) -> Result<Vec<CheckTarget>, StepError> {
    let Some((service, port)) = check.port() else {
        return Ok(vec![all.clone()]);
    };
    let failed = |reason: String| CheckFailed {
        check: check.to_string(),
        reason,
        detail: Vec::new(),
    };
    let service = service.ok_or_else(|| failed("say which `service` is meant".to_owned()))?;
    let engine = run.engine();
    let found = engine.port_addresses(run.scope(), role, (service, port));
    let found = found.await?;

    let slot = run.plan().target.as_ref().map(|target| target.slot);
    let slot = slot.or_else(|| all.urls.first().map(|url| url.slot));
    let targets = found.into_iter().zip(slot.into_iter().cycle());
    let targets = targets.map(|(address, slot)| CheckTarget {
        urls: vec![Url {
            service: service.clone(),
            port: None,
            slot,
            url: format!("http://{address}"),
            trust: Vec::new(),
        }],
        ..all.clone()
    });
    let targets: Vec<CheckTarget> = targets.collect();
    if targets.is_empty() {
        return Err(failed(format!("{service} answers nowhere at its port {port}")).into());
    }
    Ok(targets)
}

/// What the prober saw from before the switch until now.
async fn verdict(run: &Arc<Run>, checks: &[Check]) -> Result<Done, StepError> {
    let linger = run.plan().probe.linger.get();
    let stay = async {
        if run.probe.is_on() {
            tokio::time::sleep(linger).await;
        }
        Ok(())
    };
    unless_stopped(run, Direction::Forward, stay).await?;
    let Some(report) = run.probe.stop(run).await else {
        return Ok(Done::say(held(checks)));
    };

    run.say(Event::Probed {
        report: report.clone(),
    });
    if report.failures > 0 && probe_failure_reverts(run.plan()) {
        let (failures, requests, examples) = (report.failures, report.requests, report.examples);
        return Err(StepError::Lost {
            failures,
            requests,
            examples,
        });
    }

    Ok(Done::say(format!(
        "{}, {} of {} requests failed",
        held(checks),
        report.failures,
        report.requests
    )))
}
