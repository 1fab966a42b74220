//! The commands. A file each: arguments, a call into `ops`, a view. Start with [`run`].
//!
//! May use everything; nothing uses it.

mod abort;
mod agent;
mod agent_elsewhere;
mod apply;
mod approve;
mod arguments;
mod ask;
mod check;
mod completions;
mod consent;
mod context;
mod destroy;
mod diff;
mod doctor;
mod door;
mod drift;
mod exec;
mod explain;
mod folder;
mod forms;
mod global;
mod graph;
mod guard;
mod history;
mod images;
mod import;
mod init;
mod logs;
mod notify;
mod open;
mod plan;
mod promote;
mod reference;
mod rehearse;
mod render;
mod report_status;
mod reports;
mod restart;
mod rollback;
mod run;
mod scale;
mod schema;
mod settle;
mod show;
mod signals;
mod since;
mod state;
mod status;
mod task;
mod templates;
mod terminal;
#[cfg(test)]
mod tests;
mod unlock;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use context::Cx;
pub use reference::reference;

use crate::ops::agent::misnamed_directory;
use crate::output::{Exit, Failure, Format, Page, Screen, Verbosity};

/// What people type first.
const EXAMPLES: &str = "\
Examples:
  shipit init            write a shipit.yaml for this folder
  shipit plan            what would be done
  shipit apply           do it
  shipit promote green   give live traffic to what waits in green
  shipit rollback        give it back";

/// One plan from commit to live traffic.
#[derive(Debug, Parser)]
#[command(name = "shipit", version, about, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// The folder with `shipit.yaml`; without it this one, or the nearest above in the same
    /// repository.
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Project",
        env = "SHIPIT_DIRECTORY",
        hide_env_values = true
    )]
    pub directory: Option<PathBuf>,

    /// The environment; without it the current branch's, or the only one.
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Project",
        env = "SHIPIT_ENV",
        hide_env_values = true
    )]
    pub env: Option<String>,

    /// How it prints.
    #[command(flatten)]
    pub print: global::PrintArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How much is printed, from the flags and the variables.
    #[arg(skip)]
    pub verbosity: Verbosity,

    /// Whether `--output` is in the command line itself.
    #[arg(skip)]
    pub is_form_typed: bool,

    /// Whether `--env` is.
    #[arg(skip)]
    pub is_env_typed: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a shipit.yaml for the project in this folder.
    Init(init::Args),
    /// Report every error in the configuration.
    Validate(validate::Args),
    /// Show what `apply` would do, and why.
    Plan(plan::Args),
    /// Show a plan that was saved to a file.
    Show(show::Args),
    /// Show what faults in the steps of a plan would come to, in memory.
    Rehearse(rehearse::Args),
    /// Sign a plan that was saved to a file, where its environment wants approvals.
    Approve(approve::Args),
    /// Carry out a plan: build, deploy and switch live traffic.
    #[command(aliases = ["deploy", "up"])]
    Apply(apply::Args),
    /// Give live traffic to a slot, or promote a release to another environment.
    Promote(promote::Args),
    /// Give live traffic back to an earlier release.
    Rollback(rollback::Args),
    /// Stop the run that is under way, or give up the release that waits.
    Abort(abort::Args),
    /// Show what runs where.
    Status(status::Args),
    /// Show the logs of the services.
    Logs(logs::Args),
    /// Run a command in a running instance.
    Exec(exec::Args),
    /// Run a command by itself, in a release's image with its environment and secrets.
    Run(run::Args),
    /// Start the instances of what runs anew, one service after the other, without a gap.
    Restart(restart::Args),
    /// Run a task of the configuration in the live release.
    Task(task::Args),
    /// Do what has come due since the last run: stop what was retained long enough, and run the
    /// tasks that waited for that.
    Settle(settle::Args),
    /// Tell those who are told of runs: a test, or what could not be delivered before.
    Notify(notify::Args),
    /// Print where a release answers, and open it in a browser.
    Open(open::Args),
    /// Refuse to set a number of instances by hand, and say what sets it.
    Scale(scale::Args),
    /// List the releases.
    History(history::Args),
    /// Compare what runs with what should run, or two environments with each other.
    Diff(diff::Args),
    /// Show what moved since shipit acted last, and who moved it; exit with 2 when something did.
    ///
    /// It writes nothing, builds nothing and starts no agent. It ends with 1 when it could not
    /// look, and with 4 while a run has the lock.
    Drift(drift::Args),
    /// Print what should run, with templates and defaults filled in.
    Render(render::Args),
    /// Delete an environment: its traffic, listeners, slots and objects.
    Destroy(destroy::Args),
    /// Check the current branch against the branch rules.
    Check(check::Args),
    /// Set the status of a commit at GitHub, GitLab or Gitea.
    ReportStatus(report_status::Args),
    /// Check what a run needs: connections, permissions, secrets.
    Doctor(doctor::Args),
    /// List unused images, and delete them.
    Images(images::Args),
    /// Adopt objects of the cluster that others have made.
    Import(import::Args),
    /// Show the state, or repair it.
    State(state::Args),
    /// Take the lock from the run that holds it.
    Unlock(unlock::Args),
    /// Control the agent, which runs the services of this machine.
    Agent(agent::Args),
    /// Serve the front doors: webhooks, Git hooks and commands become jobs, one at a time in an
    /// environment.
    Serve(door::serve::Args),
    /// Have the server of this machine deploy an environment, and watch.
    Trigger(door::trigger::Args),
    /// Be a hook of a Git repository, or write one.
    Hook(door::hook::Args),
    /// Show the server's jobs, stop them, do them again.
    Jobs(door::jobs::Args),
    /// Show what came through the server's doors, and what it meant.
    Deliveries(door::deliveries::Args),
    /// Issue certificates for commands on other machines, list and revoke them.
    Client(door::clients::ClientArgs),
    /// Issue tokens for requests from other machines, list and revoke them.
    Token(door::clients::TokenArgs),
    /// Print the JSON Schema of the configuration.
    Schema(schema::Args),
    /// Print the steps of a plan as a graph, in the DOT language.
    Graph(graph::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Render templates that come through the standard input: what shipit starts for itself.
    #[command(hide = true)]
    Templates,

    /// End the programs of a run that was killed: what shipit starts for itself.
    #[command(hide = true)]
    Guard,
}

/// What has to be done by a process of one thread, before there is a runtime: its exit code.
#[must_use]
pub fn direct(cli: &Cli) -> Option<u8> {
    match &cli.command {
        Command::Agent(args) => agent::direct(args),
        Command::Templates => Some(templates::direct()),
        Command::Guard => Some(guard::direct()),
        _ => {
            guard::begin();
            templates::isolate();
            None
        }
    }
}

/// Reads the command line. A variable that is set to nothing is not set: build servers set many so.
///
/// # Errors
/// It is no command line of this program's, or asks for its help or version.
pub fn parse() -> Result<Cli, clap::Error> {
    global::coloring(global::words()).apply();
    let mut command = without_empty(Cli::command());
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok(Cli {
        verbosity: global::verbosity(&matches, &mut command)?,
        is_form_typed: global::is_typed(&matches, "output"),
        is_env_typed: global::is_typed(&matches, "env"),
        ..cli
    })
}

fn without_empty(command: clap::Command) -> clap::Command {
    let known = command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            arg.env(Resettable::Reset)
        } else {
            arg
        }
    });
    known.mut_subcommands(without_empty)
}

/// Says what is wrong with a command line, or what was asked of its reader: how the program ends
/// then.
#[must_use]
pub fn misused(mut error: clap::Error) -> Exit {
    without_destroying(&mut error);
    let form = global::form(global::words());
    if form == Format::Json && error.use_stderr() {
        Screen::new(Verbosity::Normal, form).fail(&unreadable(&error));
        return Exit::Usage;
    }

    let (screen, plain) = (Screen::default(), error.to_string());
    let page = Page::document(&plain);
    // Its own colours are fine as long as nothing in it has to be made visible.
    if page.plain() == plain {
        let _ = error.print();
    } else {
        screen.say(&page);
    }
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}

/// What is wrong with a command line, for a program.
fn unreadable(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let mut parts = text.trim().split("\n\n");
    let what = parts.next().unwrap_or_default().trim();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let help: Vec<&str> = parts.map(str::trim).collect();
    Failure::say(Exit::Usage, what, help.join("\n"))
}

/// Whoever mistypes a command is not led to the one that deletes everything.
fn without_destroying(error: &mut clap::Error) {
    const NEVER: &str = "destroy";
    let kind = ContextKind::SuggestedSubcommand;
    let rest = match error.get(kind) {
        Some(ContextValue::String(name)) if name == NEVER => Vec::new(),
        Some(ContextValue::Strings(names)) if names.iter().any(|name| name == NEVER) => names
            .iter()
            .filter(|name| *name != NEVER)
            .cloned()
            .collect(),
        _ => return,
    };
    if rest.is_empty() {
        error.remove(kind);
    } else {
        error.insert(kind, ContextValue::Strings(rest));
    }
}

impl Command {
    /// Whether it looks and tells, so that it may end at any moment. Whoever changes something, or
    /// asks a person, listens to signals itself.
    const fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::Plan(_)
                | Self::Show(_)
                | Self::Rehearse(_)
                | Self::Diff(_)
                | Self::Drift(_)
                | Self::Render(_)
                | Self::Check(_)
                | Self::Doctor(_)
                | Self::Graph(_)
        )
    }
}

/// Runs one command, and says why it failed if it did.
pub async fn run(cli: Cli) -> Exit {
    cli.print.color.apply();
    let asked = cli.print.output;
    let form = match forms::chosen(&cli.command, asked, cli.is_form_typed) {
        Ok(form) => form,
        Err(failure) => {
            Screen::new(cli.verbosity, asked).fail(&failure);
            return failure.exit;
        }
    };
    let screen = Screen::new(cli.verbosity, form);
    if let Some(what) = misnamed_directory() {
        let failure = Failure::say(Exit::Usage, what, "write an absolute path");
        screen.fail(&failure);
        return failure.exit;
    }
    let directory = match cli.command {
        // It writes where it is.
        Command::Init(_) => cli.directory.unwrap_or_else(|| ".".into()),
        _ => folder::of_project(cli.directory),
    };

    let cx = Cx {
        directory,
        env: cli.env,
        is_env_typed: cli.is_env_typed,
        format: form,
        screen: screen.clone(),
        opened: Arc::default(),
    };

    let ended = if cli.command.only_looks() {
        // What it has begun ends with it, and what it logged in to is left.
        tokio::select! {
            biased;
            () = signals::first() => Err(Failure::say(
                Exit::Interrupted,
                "interrupted",
                "nothing was changed: run the command again",
            )),
            ended = command(cli.command, &cx) => ended,
        }
    } else {
        command(cli.command, &cx).await
    };
    cx.close().await;
    let ended = ended.and_then(|exit| match screen.trouble() {
        None => Ok(exit),
        Some(error) => Err(unprinted(&error)),
    });
    ended.unwrap_or_else(|failure| {
        screen.fail(&failure);
        failure.exit
    })
}

fn unprinted(error: &std::io::Error) -> Failure {
    Failure::say(
        Exit::Failed,
        format!("the result could not be printed: {error}"),
        "look at where the output goes; what was done is done: `shipit status` shows it",
    )
}

async fn command(command: Command, cx: &Cx) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init::exec(cx, &args).await,
        Command::Validate(args) => validate::exec(cx, &args),
        Command::Plan(args) => plan::exec(cx, &args).await,
        Command::Show(args) => show::exec(cx, &args).await,
        Command::Rehearse(args) => rehearse::exec(cx, &args).await,
        Command::Apply(args) => apply::exec(cx, &args).await,
        Command::Approve(args) => approve::exec(cx, &args).await,
        Command::Promote(args) => promote::exec(cx, &args).await,
        Command::Rollback(args) => rollback::exec(cx, &args).await,
        Command::Abort(args) => abort::exec(cx, &args).await,
        Command::Status(args) => status::exec(cx, &args).await,
        Command::Logs(args) => logs::exec(cx, &args).await,
        Command::Exec(args) => exec::exec(cx, &args).await,
        Command::Run(args) => run::exec(cx, &args).await,
        Command::Restart(args) => restart::exec(cx, &args).await,
        Command::Task(args) => task::exec(cx, &args).await,
        Command::Settle(args) => settle::exec(cx, &args).await,
        Command::Notify(args) => notify::exec(cx, &args).await,
        Command::Open(args) => open::exec(cx, &args).await,
        Command::Scale(args) => scale::exec(cx, &args).await,
        Command::History(args) => history::exec(cx, &args).await,
        Command::Diff(args) => diff::exec(cx, &args).await,
        Command::Drift(args) => drift::exec(cx, &args).await,
        Command::Render(args) => render::exec(cx, &args).await,
        Command::Destroy(args) => destroy::exec(cx, &args).await,
        Command::Check(args) => check::exec(cx, &args).await,
        Command::ReportStatus(args) => report_status::exec(cx, &args).await,
        Command::Doctor(args) => doctor::exec(cx, &args).await,
        Command::Images(args) => images::exec(cx, &args).await,
        Command::Import(args) => import::exec(cx, &args).await,
        Command::State(args) => state::exec(cx, &args).await,
        Command::Unlock(args) => unlock::exec(cx, &args).await,
        Command::Agent(args) => agent::exec(cx, args).await,
        Command::Serve(args) => door::serve::exec(cx, &args).await,
        Command::Trigger(args) => door::trigger::exec(cx, &args).await,
        Command::Hook(args) => door::hook::exec(cx, &args).await,
        Command::Jobs(args) => door::jobs::exec(cx, &args).await,
        Command::Deliveries(args) => door::deliveries::exec(cx, &args).await,
        Command::Client(args) => door::clients::exec_client(cx, &args),
        Command::Token(args) => door::clients::exec_token(cx, &args),
        Command::Schema(args) => schema::exec(cx, &args),
        Command::Graph(args) => graph::exec(cx, &args).await,
        Command::Completions(args) => completions::exec(cx, &args),
        Command::Templates | Command::Guard => Ok(Exit::Done),
    }
}
