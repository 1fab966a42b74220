//! Tasks: asked for, and followed to their end; and those that run by themselves.

use crate::driver::host::{HostEngine, LONG, SHORT, request};
use crate::model::TaskName;
use crate::model::schedule::ScheduleFacts;
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit, Scope, TaskEnd, TaskRun};
use crate::proto::convert::decode;
use crate::proto::tasks::{self, TaskPiece};
use crate::proto::v1;

/// Runs a task, or goes on with one that was begun before.
pub(super) async fn run(
    engine: &HostEngine,
    permit: &Permit,
    run: &TaskRun,
    progress: Progress<'_>,
) -> Result<TaskEnd, EngineError> {
    let limit = run.within.get().saturating_add(LONG);
    let message = tasks::request(permit, run);
    let mut client = engine.client().await?;
    let begun = client.run_task(request(message, limit)).await;
    if let Err(status) = &begun
        && status.code() == tonic::Code::Unimplemented
    {
        return Err(EngineError::Refused {
            reason: "the agent is of an earlier version and runs no tasks".to_owned(),
            help: "`shipit agent stop` ends it and leaves the services running; the next \
                   command starts one of this version"
                .to_owned(),
        });
    }

    let mut pieces = begun?.into_inner();
    while let Some(message) = pieces.message().await? {
        match tasks::piece(message)? {
            TaskPiece::Line(line) => progress(&line),
            TaskPiece::End(end) => return Ok(end),
        }
    }
    Err(EngineError::Failed {
        what: format!("waiting for {}", run.id),
        reason: "the agent has ended before it".to_owned(),
    })
}

/// The tasks that run by themselves.
pub(super) async fn schedules(
    engine: &HostEngine,
    scope: &Scope,
    task: Option<&TaskName>,
) -> Result<Vec<ScheduleFacts>, EngineError> {
    let message = v1::SchedulesRequest {
        scope: Some(scope.into()),
        task: task.map(ToString::to_string),
    };
    let Some(mut client) = engine.reader(scope).await? else {
        return Ok(Vec::new());
    };
    let reply = client.schedules(request(message, SHORT)).await?;
    Ok(decode("schedules", &reply.into_inner().schedules_json)?)
}
