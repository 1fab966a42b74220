//! In which forms each command prints: every one but those whose result is for one kind of reader
//! has a document for programs.

use crate::cli::{Command, agent};
use crate::output::{Exit, Failure, Format};

/// For people, for programs, and for a comment on a change request.
const ALL: &[Format] = &[Format::Human, Format::Json, Format::Markdown];
/// For people and for programs.
pub(super) const TWO: &[Format] = &[Format::Human, Format::Json];
/// What is printed is a program's own already, or nothing.
pub(super) const ONE: &[Format] = &[Format::Human];

/// The forms of a command.
pub(super) const fn of(command: &Command) -> &'static [Format] {
    match command {
        Command::Plan(_)
        | Command::Show(_)
        | Command::Apply(_)
        | Command::Promote(_)
        | Command::Rollback(_)
        | Command::Task(_)
        | Command::Abort(_)
        | Command::Destroy(_)
        | Command::Diff(_)
        | Command::Drift(_)
        | Command::Rehearse(_)
        | Command::Status(_)
        | Command::History(_)
        | Command::Images(_)
        | Command::Check(_) => ALL,
        Command::Init(_)
        | Command::Approve(_)
        | Command::Validate(_)
        | Command::Logs(_)
        | Command::Render(_)
        | Command::Doctor(_)
        | Command::Import(_)
        | Command::ReportStatus(_)
        | Command::State(_)
        | Command::Unlock(_)
        | Command::Restart(_)
        | Command::Settle(_)
        | Command::Notify(_)
        | Command::Open(_)
        | Command::Scale(_)
        | Command::Trigger(_)
        | Command::Jobs(_)
        | Command::Deliveries(_)
        | Command::Client(_)
        | Command::Token(_)
        | Command::Graph(_) => TWO,
        Command::Serve(args) => args.forms(),
        Command::Hook(args) => args.forms(),
        Command::Agent(args) => match args.command {
            agent::What::Status
            | agent::What::Stop { .. }
            | agent::What::Logs { .. }
            | agent::What::Unit => TWO,
            _ => ONE,
        },
        Command::Exec(_)
        | Command::Run(_)
        | Command::Schema(_)
        | Command::Completions(_)
        | Command::Templates
        | Command::Guard => ONE,
    }
}

/// The form that a command prints in. One that a variable asks all commands for is not meant where
/// there is none.
///
/// # Errors
/// The command was asked for a form that it does not have.
pub(super) fn chosen(command: &Command, asked: Format, is_typed: bool) -> Result<Format, Failure> {
    let forms = of(command);
    if forms.contains(&asked) {
        return Ok(asked);
    }
    if !is_typed {
        return Ok(Format::Human);
    }

    let has: Vec<String> = forms
        .iter()
        .map(|form| format!("`{}`", form.word()))
        .collect();
    Err(Failure::say(
        Exit::Usage,
        format!("this command has no output in the form `{}`", asked.word()),
        match forms {
            [_] => "its output is one thing only: leave --output away".to_owned(),
            _ => format!("it has {}", has.join(" and ")),
        },
    ))
}
