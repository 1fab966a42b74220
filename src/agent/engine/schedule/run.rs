//! One time of a task: begun, read to its end, and recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::engine::Agent;
use crate::agent::engine::command;
use crate::agent::engine::schedule::file::ScheduleFile;
use crate::agent::engine::schedule::{Due, Key, OfTime};
use crate::agent::engine::task::{Ended, read_to_its_end};
use crate::agent::instance::InstanceSpec;
use crate::model::command::CommandPlace;
use crate::model::schedule::ScheduledOutcome;
use crate::model::task::TaskProgram;
use crate::model::{Digest, Period};
use crate::port::engine::{CommandRequest, EngineError, RunningCommand, Scope};

/// How much longer than the task itself its command may take: its time is told here.
const SLACK: Duration = Duration::from_mins(1);

/// Runs it.
pub(super) async fn run(agent: Arc<Agent>, key: Key, one: OfTime) {
    let outcome = to_its_end(&agent, &key.0, &one).await;
    let (log, _) = one.running.lines(0);
    if !outcome.is_ok() {
        tracing::error!(task = %key.1, scope = %key.0, due = %one.due, "{outcome}");
    }

    let (scope, name) = &key;
    let alone = agent.schedules.files();
    if let Some(mut file) = ScheduleFile::load(agent.folder(), scope, name) {
        file.end(one.due, outcome, log);
        if let Err(error) = file.save(agent.folder(), scope, name) {
            tracing::error!(task = %name, %scope, %error, "how it ended cannot be written down");
        }
    }
    drop(alone);
    agent.schedules.running().remove(&key);
}

async fn to_its_end(agent: &Arc<Agent>, scope: &Scope, one: &OfTime) -> ScheduledOutcome {
    // Its files stay while it runs, whatever its slot has by then.
    let image = image(agent, scope, &one.of);
    let _kept = image.as_ref().map(|digest| agent.tasks.expect(digest));
    let command = match begin(agent, scope, &one.of).await {
        Ok(command) => command,
        Err(error) => return ScheduledOutcome::NotBegun(error.to_string()),
    };
    let within = one.of.task.timeout;
    match read_to_its_end(&one.running, command, within).await {
        Ended::With(exit, _) => ScheduledOutcome::Ended(exit),
        Ended::Stopped => ScheduledOutcome::NotBegun("it was stopped".to_owned()),
    }
}

fn image(agent: &Agent, scope: &Scope, of: &Due) -> Option<Digest> {
    let record = agent.known(scope)?.state.record();
    let workload = record.slots.get(&of.slot)?.workloads.get(&of.service)?;
    workload.spec.image.value().cloned()
}

async fn begin(agent: &Arc<Agent>, scope: &Scope, of: &Due) -> Result<RunningCommand, EngineError> {
    let place = match &of.task.program {
        TaskProgram::Run(_) => CommandPlace::OneOff,
        TaskProgram::Exec { .. } => CommandPlace::Instance,
    };
    let request = CommandRequest {
        slot: of.slot,
        service: of.service.clone(),
        place,
        command: of.task.program.command().to_vec(),
        terminal: None,
        reads: false,
        within: Period::from(of.task.timeout.get().saturating_add(SLACK)),
        secrets: BTreeMap::new(),
    };
    let mut spec = command::spec(agent, scope, &request).await?;
    in_network(&mut spec, of);
    command::run_as(agent, scope, spec, request).await
}

fn in_network(spec: &mut InstanceSpec, of: &Due) {
    if let (Some(network), Some(container)) = (&of.task.network, &mut spec.process.container) {
        container.network = Some(network.clone());
    }
}
