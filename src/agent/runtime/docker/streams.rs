//! A command in a container, or in one of its own, that somebody looks on.

use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder,
    ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder, StartContainerOptions,
};
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use rustix::process::Signal;

use crate::agent::runtime::Launch;
use crate::agent::runtime::attached::{Attach, Attached, Control};
use crate::agent::runtime::docker::body::body;
use crate::agent::runtime::docker::container::remove;
use crate::agent::runtime::docker::{exec, trouble};
use crate::agent::trouble::Trouble;
use crate::port::engine::{CommandOutput, WindowSize};

/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(50);

/// A command in the container that was started so.
pub(super) async fn inside(
    docker: &Docker,
    launch: &Launch,
    attach: &Attach,
) -> Result<Attached, Trouble> {
    let failed = |error: Error| trouble("starting a command in the container", &error);
    let name = launch
        .contained
        .as_ref()
        .map(|contained| contained.name.clone());
    let has_terminal = attach.terminal.is_some();
    let options = CreateExecOptions {
        attach_stdin: Some(attach.reads),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(has_terminal),
        cmd: Some(attach.command.clone()),
        ..CreateExecOptions::default()
    };
    let made = docker.create_exec(&name.unwrap_or_default(), options).await;
    let id = made.map_err(failed)?.id;
    let start = StartExecOptions {
        tty: has_terminal,
        ..StartExecOptions::default()
    };
    let started = docker.start_exec(&id, Some(start)).await.map_err(failed)?;
    let StartExecResults::Attached { output, input } = started else {
        return Err(Trouble::Local("Docker does not attach to it".to_owned()));
    };

    let control = Inside {
        docker: docker.clone(),
        id: id.clone(),
    };
    if let Some(size) = attach.terminal {
        control.resize(size).await;
    }
    let docker = docker.clone();
    Ok(Attached {
        input: attach.reads.then(|| Box::new(input) as _),
        output: pieces(output),
        ended: Box::pin(async move {
            let ended = exec::ended(&docker, &id).await.map_err(failed)?;
            Ok(code(Some(ended)))
        }),
        control: Box::new(control),
    })
}

/// A command in a container of its own, which goes with it.
pub(super) async fn alone(
    docker: &Docker,
    launch: &Launch,
    attach: &Attach,
) -> Result<Attached, Trouble> {
    let failed = |error: Error| trouble("starting a container for the command", &error);
    let name = launch
        .contained
        .as_ref()
        .map(|contained| contained.name.clone());
    let name = name.unwrap_or_default();
    let mut body = body(&Launch {
        command: attach.command.clone(),
        ..launch.clone()
    });
    body.tty = Some(attach.terminal.is_some());
    body.open_stdin = Some(attach.reads);
    body.stdin_once = Some(true);
    body.attach_stdin = Some(attach.reads);

    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let made = docker.create_container(Some(options), body).await;
    made.map_err(failed)?;
    let control = Alone {
        docker: docker.clone(),
        name: name.clone(),
    };
    let options = AttachContainerOptionsBuilder::default()
        .stdin(attach.reads)
        .stdout(true)
        .stderr(true)
        .stream(true)
        .build();
    let streams = docker.attach_container(&name, Some(options)).await;
    let streams = streams.map_err(failed)?;
    let started = docker.start_container(&name, None::<StartContainerOptions>);
    started.await.map_err(failed)?;
    if let Some(size) = attach.terminal {
        control.resize(size).await;
    }

    let docker = docker.clone();
    Ok(Attached {
        input: attach.reads.then(|| Box::new(streams.input) as _),
        output: pieces(streams.output),
        ended: Box::pin(async move {
            loop {
                let found = docker
                    .inspect_container(&name, None)
                    .await
                    .map_err(failed)?;
                let state = found.state.unwrap_or_default();
                if state.running == Some(false) {
                    return Ok(code(state.exit_code));
                }
                tokio::time::sleep(LOOK).await;
            }
        }),
        control: Box::new(control),
    })
}

fn code(code: Option<i64>) -> u8 {
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

fn pieces(
    output: impl Stream<Item = Result<LogOutput, Error>> + Send + 'static,
) -> BoxStream<'static, std::io::Result<CommandOutput>> {
    let piece = |piece: Result<LogOutput, Error>| match piece {
        Ok(LogOutput::StdErr { message }) => Ok(CommandOutput::Err(message)),
        Ok(
            LogOutput::StdOut { message }
            | LogOutput::StdIn { message }
            | LogOutput::Console { message },
        ) => Ok(CommandOutput::Out(message)),
        Err(error) => Err(std::io::Error::other(error)),
    };
    output.map(piece).boxed()
}

/// A command beside the service. Dropping it ends the command, as far as this process may: the
/// engine has no call for it.
struct Inside {
    docker: Docker,
    id: String,
}

#[async_trait]
impl Control for Inside {
    async fn resize(&self, size: WindowSize) {
        let options = ResizeExecOptionsBuilder::default()
            .w(size.columns.into())
            .h(size.rows.into())
            .build();
        // A command that has ended has no terminal to look at.
        let _ = self.docker.resize_exec(&self.id, options).await;
    }

    async fn signal(&self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            exec::signal(&self.docker, &self.id, signal).await;
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let (docker, id) = (self.docker.clone(), self.id.clone());
        tokio::spawn(async move { exec::end(&docker, &id).await });
    }
}

/// A container for one command. Dropping it removes the container; one that an agent which died has
/// left is removed by the next.
struct Alone {
    docker: Docker,
    name: String,
}

#[async_trait]
impl Control for Alone {
    async fn resize(&self, size: WindowSize) {
        let options = ResizeContainerTTYOptionsBuilder::default()
            .w(size.columns.into())
            .h(size.rows.into())
            .build();
        let _ = self.docker.resize_container_tty(&self.name, options).await;
    }

    async fn signal(&self, number: i32) {
        let options = KillContainerOptionsBuilder::default()
            .signal(&number.to_string())
            .build();
        let _ = self.docker.kill_container(&self.name, Some(options)).await;
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let (docker, name) = (self.docker.clone(), self.name.clone());
        tokio::spawn(async move { remove(&docker, &name).await });
    }
}
