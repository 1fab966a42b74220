//! `shipit agent`

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::agent_elsewhere::{self, Elsewhere};
use crate::cli::{Cx, signals};
use crate::ops::agent::{self, RunningTasks};
use crate::output::{Exit, Failure, Format, Kind, Page, Screen, agent as view};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit agent status            what it manages
  shipit agent stop              the services run on
  shipit agent stop --services   they do not
  shipit agent install --at ssh://deploy@10.0.0.5
  shipit agent unit              units for systemd, with the listeners' sockets";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: What,

    /// The agent's folder; without it `SHIPIT_AGENT_DIR`, or the user's own.
    #[arg(long, global = true, value_name = "DIR")]
    agent_directory: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// Run the agent in the foreground; without one the other commands start it.
    #[command(after_help = "Examples:\n  shipit agent run --agent-directory /var/lib/shipit")]
    Run {
        /// Take off what it has from the shell that it is started from: niceness, signals that it
        /// ignores.
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// Show whether an agent runs, and what it manages.
    #[command(after_help = "Examples:\n  shipit agent status --output json")]
    Status,
    /// Stop the agent; the services run on, and the next agent adopts them.
    #[command(after_help = "Examples:\n  shipit agent stop --services")]
    Stop {
        /// Stop the services too.
        #[arg(long)]
        services: bool,

        /// End tasks that run, too; without it the agent goes on while there are any.
        #[arg(long)]
        end_tasks: bool,
    },
    /// Put an agent on another machine by ssh, and start it.
    #[command(after_help = "Examples:\n  \
        shipit agent install --at ssh://deploy@10.0.0.5\n  \
        shipit agent install --at ssh://deploy@10.0.0.5 --sudo")]
    Install(Elsewhere),
    /// Replace the agent of another machine by this version; its services run on.
    #[command(after_help = "Examples:\n  shipit agent upgrade --at ssh://deploy@10.0.0.5")]
    Upgrade {
        #[command(flatten)]
        elsewhere: Elsewhere,
        /// Go on even where connections are refused for a moment.
        #[arg(long)]
        auto_approve: bool,
    },
    /// Show the log of the agent itself.
    #[command(after_help = "Examples:\n  shipit agent logs --tail 200")]
    Logs {
        /// How many of the last lines.
        #[arg(short = 'n', long, default_value_t = 50)]
        tail: usize,
    },
    /// Wait to be told what to start, and become it: how the agent starts each process of a
    /// service.
    #[command(hide = true)]
    Launch,
    /// Become a user, `UID:GID`, and a program: how a unit of systemd is its image's user.
    #[command(hide = true)]
    Become {
        /// The user and the group, in numbers.
        user: String,
        /// The program and its arguments.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Run a container to its end: the agent starts this beside each.
    #[command(hide = true)]
    Contain {
        /// The container's folder.
        bundle: PathBuf,
    },
    /// Have a container for a command alone: the agent, for `shipit run`.
    #[command(hide = true)]
    ContainHold {
        /// The container's folder.
        bundle: PathBuf,
    },
    /// Run a command in a container for somebody who looks on: the agent, for `shipit exec`.
    #[command(hide = true)]
    ContainAttach {
        /// The container's folder.
        bundle: PathBuf,
        /// The command.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Run a command in a container: the agent's health checks.
    #[command(hide = true)]
    ContainExec {
        /// How long it may take.
        #[arg(long)]
        within_millis: u64,
        /// The container's folder.
        bundle: PathBuf,
        /// The command.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Take a container's folder away: the agent, for what the container's users left.
    #[command(hide = true)]
    ContainRemove {
        /// The container's folder.
        bundle: PathBuf,
    },
    /// See whether containers can be made without root.
    #[command(hide = true)]
    ContainProbe {
        /// A folder to try it in.
        folder: PathBuf,
    },
    /// Make a namespace of users: what a container of a root agent is in.
    #[command(hide = true)]
    ContainUsers,
    /// See whether containers of a root agent can have users of their own.
    #[command(hide = true)]
    ContainUsersProbe {
        /// The folder with the images' files.
        folder: PathBuf,
        /// The folders and files of the machine that are mounted into them.
        volumes: Vec<PathBuf>,
    },
    /// Print a systemd unit with socket activation, so that a restart refuses no connection.
    #[command(after_help = "Examples:\n  shipit agent unit > shipit.units")]
    Unit,
}

/// What has to be done by a process of one thread; its exit code.
pub(super) fn direct(args: &Args) -> Option<u8> {
    let say = |text: String| Screen::default().say(&Page::document(&text));
    let done = match &args.command {
        What::Run { detached: true } => {
            agent::calm();
            return None;
        }
        What::Launch => return Some(agent::launch()),
        What::Become { user, command } => {
            say(agent::become_user(user, command));
            // As a shell's, for what cannot be executed.
            return Some(126);
        }
        What::Contain { bundle } => agent::contain(bundle),
        What::ContainHold { bundle } => agent::contain_hold(bundle),
        What::ContainAttach { bundle, command } => agent::contain_attach(bundle, command),
        What::ContainExec {
            within_millis,
            bundle,
            command,
        } => agent::contain_exec(bundle, command, Duration::from_millis(*within_millis)),
        What::ContainRemove { bundle } => agent::contain_remove(bundle),
        What::ContainUsers => agent::contain_users(),
        What::ContainProbe { folder } => return Some(probed(agent::contain_probe(folder))),
        What::ContainUsersProbe { folder, volumes } => {
            return Some(probed(agent::contain_users_probe(folder, volumes)));
        }
        _ => return None,
    };

    Some(done.unwrap_or_else(|reason| {
        say(format!("the container cannot be run: {reason}"));
        125
    }))
}

/// What a probe found, for the agent to read.
fn probed(outcome: Result<u8, String>) -> u8 {
    outcome.unwrap_or_else(|reason| {
        Screen::default().say(&Page::document(&reason));
        1
    })
}

pub(super) async fn exec(cx: &Cx, args: Args) -> Result<Exit, Failure> {
    let directory = args.agent_directory;
    match args.command {
        What::Run { .. } => {
            let stop = signals::listen_for_the_agent(&cx.screen).interrupted;
            agent::run(directory, stop).await?;
        }
        What::Status => {
            let found = agent::status(directory).await?;
            let page = || view::human(&found);
            show(cx, Kind::Agent, &json!(found), page);
        }
        What::Stop {
            services,
            end_tasks,
        } => {
            let tasks = if end_tasks {
                RunningTasks::End
            } else {
                RunningTasks::Keep
            };
            let stopped = agent::stop(directory, services.into(), tasks).await?;
            let document = json!({"stopped": stopped.is_some(), "services": services});
            let page = || Page::of(stopped.unwrap_or("No agent runs."));
            show(cx, Kind::Agent, &document, page);
        }
        What::Install(elsewhere) => {
            return agent_elsewhere::install(cx, &elsewhere, directory).await;
        }
        What::Upgrade {
            elsewhere,
            auto_approve,
        } => {
            return agent_elsewhere::upgrade(cx, &elsewhere, directory, auto_approve).await;
        }
        What::Logs { tail } => {
            for line in agent::logs(directory, tail) {
                show_line(cx, &line);
            }
        }
        // Done before there is a runtime of many threads: `direct`.
        What::Launch
        | What::Become { .. }
        | What::Contain { .. }
        | What::ContainHold { .. }
        | What::ContainAttach { .. }
        | What::ContainExec { .. }
        | What::ContainRemove { .. }
        | What::ContainUsers
        | What::ContainUsersProbe { .. }
        | What::ContainProbe { .. } => {}
        What::Unit => {
            let units = agent::unit(directory).await?;
            let page = || Page::document(&units);
            show(cx, Kind::AgentUnits, &json!({"units": units}), page);
        }
    }

    Ok(Exit::Done)
}

fn show(cx: &Cx, kind: Kind, document: &Value, page: impl Fn() -> Page) {
    match cx.format {
        Format::Json => cx.screen.document(kind, document),
        _ => cx.screen.show(&page()),
    }
}

fn show_line(cx: &Cx, line: &str) {
    match cx.format {
        Format::Json => cx.screen.document_line(Kind::Log, &json!({"text": line})),
        _ => cx.screen.show(&Page::document(line)),
    }
}
