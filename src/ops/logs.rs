//! `logs`: what the services write.

use futures_util::stream::BoxStream;

use crate::model::schedule::ScheduleFacts;
use crate::model::{ServiceName, TaskName};
use crate::ops::{Error, Session};
use crate::port::engine::{EngineError, LogLine, LogQuery};

/// The lines, oldest first within an instance.
pub async fn logs(
    session: &Session,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, Error> {
    let (engine, scope) = (&session.ports.engine, session.scope());
    if let Some(service) = &query.service {
        let configured = &session.configuration()?.services;
        // What is not configured any more may still run.
        if !configured.contains_key(service) {
            let facts = engine.observe(&scope).await?;
            let mut slots = facts.slots.values();
            if !slots.any(|there| there.workloads.contains_key(service)) {
                let known: Vec<&str> = configured.keys().map(ServiceName::as_str).collect();
                return Err(Error::Usage {
                    what: format!("there is no service {service}"),
                    help: format!("the services are: {}", known.join(", ")),
                });
            }
        }
    }
    Ok(engine.logs(&scope, query).await?)
}

/// What became of the last times of a task that runs by itself, with its output, the last one
/// first.
pub async fn of_task(session: &Session, task: &TaskName) -> Result<ScheduleFacts, Error> {
    let (engine, scope) = (&session.ports.engine, session.scope());
    let found = engine.schedules(&scope, Some(task)).await?;
    if let Some(found) = found.into_iter().next() {
        return Ok(found);
    }
    let all = engine.schedules(&scope, None).await?;
    let known: Vec<String> = all.iter().map(|one| one.task.to_string()).collect();
    Err(Error::Usage {
        what: format!("no task {task} runs by itself in {}", session.environment),
        help: if known.is_empty() {
            "the live release has no task with a `schedule`; what a task of a plan wrote is in \
             `shipit history --output json`"
                .to_owned()
        } else {
            format!("those that do are: {}", known.join(", "))
        },
    })
}
