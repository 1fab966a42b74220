//! Commands and their streams, between messages and the words of the port.

use tonic::Status;

use crate::model::Period;
use crate::model::command::CommandPlace;
use crate::model::secret::SecretValue;
use crate::port::engine::{CommandInput, CommandOutput, CommandRequest, Scope, WindowSize};
use crate::proto::convert::parse;
use crate::proto::v1;
use crate::proto::v1::command_input::Input;
use crate::proto::v1::command_output::Output;

/// The first message.
#[must_use]
pub fn begin(scope: &Scope, request: &CommandRequest) -> v1::CommandInput {
    let begin = v1::CommandRequest {
        scope: Some(scope.into()),
        slot: request.slot.to_string(),
        service: request.service.to_string(),
        one_off: request.place == CommandPlace::OneOff,
        command: request.command.clone(),
        terminal: request.terminal.map(size_message),
        reads: request.reads,
        within_millis: request.within.as_millis(),
        secrets: request
            .secrets
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
    };
    v1::CommandInput {
        input: Some(Input::Begin(begin)),
    }
}

/// What the first message asks for.
///
/// # Errors
/// It asks for nothing, or for something that is none.
pub fn request(message: Option<v1::CommandInput>) -> Result<(Scope, CommandRequest), Status> {
    let Some(Input::Begin(begin)) = message.and_then(|message| message.input) else {
        return Err(Status::invalid_argument(
            "the first message says which command",
        ));
    };
    let request = CommandRequest {
        slot: parse("slot", &begin.slot)?,
        service: parse("service", &begin.service)?,
        place: if begin.one_off {
            CommandPlace::OneOff
        } else {
            CommandPlace::Instance
        },
        command: begin.command,
        terminal: begin.terminal.map(size),
        reads: begin.reads,
        within: Period::from_millis(begin.within_millis),
        secrets: begin
            .secrets
            .into_iter()
            .map(|(name, value)| (name, SecretValue::new(value)))
            .collect(),
    };
    Ok((begin.scope.try_into()?, request))
}

/// What is given to a command that runs.
#[must_use]
pub fn given(input: CommandInput) -> v1::CommandInput {
    let input = match input {
        CommandInput::Data(bytes) => Input::Data(bytes.into()),
        CommandInput::End => Input::End(true),
        CommandInput::Resize(size) => Input::Resize(size_message(size)),
        CommandInput::Signal(number) => Input::Signal(number),
    };
    v1::CommandInput { input: Some(input) }
}

/// What was given; none for what is no input.
#[must_use]
pub fn input(message: v1::CommandInput) -> Option<CommandInput> {
    Some(match message.input? {
        Input::Begin(_) => return None,
        Input::Data(bytes) => CommandInput::Data(bytes.into()),
        Input::End(_) => CommandInput::End,
        Input::Resize(message) => CommandInput::Resize(size(message)),
        Input::Signal(number) => CommandInput::Signal(number),
    })
}

/// What a command says.
#[must_use]
pub fn output(piece: CommandOutput) -> v1::CommandOutput {
    let output = match piece {
        CommandOutput::Out(bytes) => Output::Out(bytes.into()),
        CommandOutput::Err(bytes) => Output::Err(bytes.into()),
        CommandOutput::Ended(code) => Output::Ended(code.into()),
    };
    v1::CommandOutput {
        output: Some(output),
    }
}

/// What was said.
///
/// # Errors
/// Nothing was.
pub fn piece(message: v1::CommandOutput) -> Result<CommandOutput, Status> {
    Ok(match message.output {
        Some(Output::Out(bytes)) => CommandOutput::Out(bytes.into()),
        Some(Output::Err(bytes)) => CommandOutput::Err(bytes.into()),
        Some(Output::Ended(code)) => CommandOutput::Ended(u8::try_from(code).unwrap_or(u8::MAX)),
        None => return Err(Status::internal("the agent said nothing of a command")),
    })
}

fn size(message: v1::WindowSize) -> WindowSize {
    let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    WindowSize {
        columns: small(message.columns),
        rows: small(message.rows),
    }
}

fn size_message(size: WindowSize) -> v1::WindowSize {
    v1::WindowSize {
        columns: size.columns.into(),
        rows: size.rows.into(),
    }
}
