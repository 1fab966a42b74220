//! Tasks, between messages and the words of the port.

use tonic::Status;

use crate::model::Period;
use crate::model::secret::SecretValue;
use crate::port::engine::{Permit, TaskEnd, TaskImage, TaskPlace, TaskRun};
use crate::proto::convert::{decode, encode, parse};
use crate::proto::v1;
use crate::proto::v1::task_output::Output;

/// What asks for a task.
#[must_use]
pub fn request(permit: &Permit, run: &TaskRun) -> v1::TaskRequest {
    v1::TaskRequest {
        permit: Some(permit.into()),
        id: run.id.to_string(),
        slot: run.slot.to_string(),
        service: run.service.to_string(),
        image: match &run.place {
            TaskPlace::Instance => None,
            TaskPlace::OneOff(image) => Some(image_message(image)),
        },
        command: run.command.clone(),
        within_millis: run.within.as_millis(),
        junit: run.junit.clone(),
    }
}

fn image_message(image: &TaskImage) -> v1::TaskImage {
    let secrets = image.secrets.iter();
    v1::TaskImage {
        label_json: encode(&image.label),
        workload_json: encode(&image.workload),
        pull_json: encode(&image.pull),
        secrets: secrets
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
    }
}

/// What is asked for.
///
/// # Errors
/// It is no task.
pub fn run(message: v1::TaskRequest) -> Result<(Permit, TaskRun), Status> {
    let place = match message.image {
        None => TaskPlace::Instance,
        Some(image) => TaskPlace::OneOff(Box::new(TaskImage {
            label: decode("label", &image.label_json)?,
            workload: decode("workload", &image.workload_json)?,
            pull: decode("pull", &image.pull_json)?,
            secrets: image
                .secrets
                .into_iter()
                .map(|(name, value)| (name, SecretValue::new(value)))
                .collect(),
        })),
    };
    let run = TaskRun {
        id: parse("id", &message.id)?,
        slot: parse("slot", &message.slot)?,
        service: parse("service", &message.service)?,
        place,
        command: message.command,
        within: Period::from_millis(message.within_millis),
        junit: message.junit,
    };
    Ok((message.permit.try_into()?, run))
}

/// A line of its output.
#[must_use]
pub const fn line(line: String) -> v1::TaskOutput {
    v1::TaskOutput {
        output: Some(Output::Line(line)),
    }
}

/// How it ended.
#[must_use]
pub fn end(end: &TaskEnd) -> v1::TaskOutput {
    v1::TaskOutput {
        output: Some(Output::EndJson(encode(end))),
    }
}

/// A line of its output, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskPiece {
    /// A line.
    Line(String),
    /// Its end.
    End(TaskEnd),
}

/// What was said of a task.
///
/// # Errors
/// Nothing was.
pub fn piece(message: v1::TaskOutput) -> Result<TaskPiece, Status> {
    match message.output {
        Some(Output::Line(line)) => Ok(TaskPiece::Line(line)),
        Some(Output::EndJson(end)) => Ok(TaskPiece::End(decode("end", &end)?)),
        None => Err(Status::internal("the agent said nothing of a task")),
    }
}
