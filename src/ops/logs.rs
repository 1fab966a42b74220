//! `logs`: what the services write.

use futures_util::stream::BoxStream;

use crate::model::ServiceName;
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
