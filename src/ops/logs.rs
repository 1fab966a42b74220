//! `logs`: what the services write.

use futures_util::stream::BoxStream;

use crate::ops::{Error, Session};
use crate::port::engine::{EngineError, LogLine, LogQuery};

/// The lines, oldest first within an instance.
pub async fn logs(
    session: &Session,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, Error> {
    Ok(session.ports.engine.logs(&session.scope(), query).await?)
}
