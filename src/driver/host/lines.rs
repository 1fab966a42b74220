//! What an agent's calls give line by line.

use tonic::{Status, Streaming};

use crate::port::Progress;
use crate::port::engine::{EngineError, LogLine};
use crate::proto::convert::parse;
use crate::proto::v1;

/// Reads a call's progress to its end.
pub(super) async fn follow(
    lines: Result<tonic::Response<Streaming<v1::Progress>>, Status>,
    say: Progress<'_>,
) -> Result<(), EngineError> {
    let mut lines = lines?.into_inner();
    while let Some(line) = lines.message().await? {
        say(&line.line);
    }
    Ok(())
}

/// A line of a log.
pub(super) fn log_line(line: v1::LogLine) -> Result<LogLine, Status> {
    Ok(LogLine {
        slot: parse("slot", &line.slot)?,
        service: parse("service", &line.service)?,
        instance: u16::try_from(line.instance).unwrap_or(u16::MAX),
        text: line.text,
    })
}
