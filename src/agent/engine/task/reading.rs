//! Reading what a task writes.

use std::time::Duration;

use futures_util::stream::StreamExt as _;

use crate::agent::engine::task::running::Running;
use crate::files::lines::Splitter;
use crate::model::task::TaskExit;
use crate::port::engine::{CommandInput, CommandOutput, RunningCommand};

/// How long a task has to end once it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// The signal that asks for it.
const SIGTERM: i32 = 15;

/// What is read of a task, line by line. Whoever stops to read and goes on later loses nothing.
pub(super) struct Reading<'a> {
    running: &'a Running,
    out: Splitter,
    err: Splitter,
}

impl<'a> Reading<'a> {
    pub fn of(running: &'a Running) -> Self {
        Self {
            running,
            out: Splitter::default(),
            err: Splitter::default(),
        }
    }

    /// Reads what it writes, to its end.
    pub async fn read(&mut self, command: &mut RunningCommand) -> TaskExit {
        loop {
            let lines = match command.output.next().await {
                Some(Ok(CommandOutput::Out(bytes))) => self.out.push(&bytes),
                Some(Ok(CommandOutput::Err(bytes))) => self.err.push(&bytes),
                Some(Ok(CommandOutput::Ended(code))) => return TaskExit::Code(code),
                _ => return TaskExit::Unseen,
            };
            self.push(lines);
        }
    }

    /// Asks it to end, and reads what it writes until it has, or has had its time for that.
    pub async fn read_its_last(&mut self, command: &mut RunningCommand) {
        let _ = command.input.send(CommandInput::Signal(SIGTERM)).await;
        let _ = tokio::time::timeout(GRACE, self.read(command)).await;
    }

    /// Takes over what has no end.
    pub fn finish(&mut self) {
        let rest = [self.out.finish(), self.err.finish()];
        self.push(rest.into_iter().flatten());
    }

    fn push(&self, lines: impl IntoIterator<Item = String>) {
        lines.into_iter().for_each(|line| self.running.push(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that writes half a line, and the rest of it when it is asked to end.
    fn that_is_asked_to_end() -> RunningCommand {
        let (input, mut inputs) = tokio::sync::mpsc::channel(1);
        let (outputs, output) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let half = |text: &'static str| Ok(CommandOutput::Out(text.into()));
            let _ = outputs.send(half("whole\nhalf of")).await;
            let asked = inputs.recv().await;
            assert!(matches!(asked, Some(CommandInput::Signal(SIGTERM))));
            let _ = outputs.send(half(" a line")).await;
            let _ = outputs.send(Ok(CommandOutput::Ended(0))).await;
        });
        let output = tokio_stream::wrappers::ReceiverStream::new(output).boxed();
        RunningCommand { input, output }
    }

    #[tokio::test]
    async fn a_line_without_an_end_outlives_the_time_of_its_task() {
        let (running, mut command) = (Running::new(), that_is_asked_to_end());
        let mut reading = Reading::of(&running);
        let mut seen = running.seen.subscribe();
        tokio::select! {
            exit = reading.read(&mut command) => panic!("it has ended: {exit:?}"),
            first = seen.wait_for(|seen| seen.0 == 1) => drop(first.expect("a line")),
        }
        reading.read_its_last(&mut command).await;
        reading.finish();
        assert_eq!(running.lines(0).0, ["whole", "half of a line"]);
    }
}
