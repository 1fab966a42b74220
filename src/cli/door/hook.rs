//! `shipit hook`

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::SocketArg;
use super::client::{Client, Unserved};
use super::follow::{Followed, Go, Listener, follow};
use super::trigger::WaitArgs;
use crate::cli::{Cx, forms};
use crate::files::outputs;
use crate::model::ProjectName;
use crate::ops::doors::intake::{Push, Taken};
use crate::ops::doors::pushed::{self, Spool};
use crate::output::{Exit, Failure, Format, Kind, Line, Page, Screen};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit hook install --project storefront --bare /srv/git/storefront.git
  shipit hook install --project storefront --gitolite ~git/local";

/// How long whoever pushed may take to read a line: past that nobody reads.
const READER: Duration = Duration::from_secs(2);

/// The longest line, in characters: what a pipe takes at once.
const LONGEST: usize = 500;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Be a post-receive hook: tell the server what was pushed, and show how it goes.
    #[command(
        name = "post-receive",
        after_help = "Examples:\n  shipit hook post-receive --project storefront --wait 10m"
    )]
    PostReceive {
        #[command(flatten)]
        project: ProjectArg,

        #[command(flatten)]
        wait: WaitArgs,

        #[command(flatten)]
        server: SocketArg,
    },
    /// Be a pre-receive hook: refuse a push whose configuration has faults.
    #[command(
        name = "pre-receive",
        after_help = "Examples:\n  shipit hook pre-receive --project storefront"
    )]
    PreReceive {
        #[command(flatten)]
        project: ProjectArg,

        /// The project's folder in the repository; the top without it.
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Write the hooks of a repository of this machine.
    #[command(
        after_help = "Examples:\n  shipit hook install --project storefront --bare \
                      /srv/git/storefront.git"
    )]
    Install {
        #[command(flatten)]
        project: ProjectArg,

        /// The bare repository: its `hooks/post-receive` and `hooks/pre-receive` are written.
        #[arg(long, value_name = "DIR", required_unless_present_any = ["gitolite", "script"])]
        bare: Option<PathBuf>,

        /// gitolite's `LOCAL_CODE`: both hooks are written into its `hooks/repo-specific`, and
        /// what the repository's configuration has to say is printed.
        #[arg(long, value_name = "DIR", conflicts_with = "bare")]
        gitolite: Option<PathBuf>,

        /// A file for the post-receive hook alone.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["bare", "gitolite"])]
        script: Option<PathBuf>,

        /// Have the hooks watch nothing: a push returns at once.
        #[arg(long)]
        detach: bool,

        /// Write over hooks of others.
        #[arg(long)]
        force: bool,

        #[command(flatten)]
        server: SocketArg,
    },
}

impl Args {
    /// The forms in which it prints.
    pub(in crate::cli) const fn forms(&self) -> &'static [Format] {
        match self.command {
            What::Install { .. } => forms::TWO,
            What::PostReceive { .. } | What::PreReceive { .. } => forms::ONE,
        }
    }
}

/// The project.
#[derive(Debug, clap::Args)]
struct ProjectArg {
    /// The project, as in server.yaml.
    #[arg(long, value_name = "NAME")]
    project: ProjectName,
}

pub(in crate::cli) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        What::PostReceive {
            project,
            wait,
            server,
        } => {
            // The ref has been taken: whatever comes of it is no reason to say that the push
            // failed.
            let told = post_receive(cx, &project.project, wait, server).await;
            if let Err(reason) = told {
                say(&cx.screen, Line::from("shipit: ").quote(reason));
            }
            Ok(Exit::Done)
        }
        What::PreReceive { project, folder } => {
            let folder = folder.clone().unwrap_or_default();
            pre_receive(cx, &project.project, &folder).await
        }
        What::Install {
            project,
            bare,
            gitolite,
            script,
            detach,
            force,
            server,
        } => {
            let hooks = pushed::Hooks {
                project: &project.project,
                socket: &server.socket,
                detaches: *detach,
                is_forced: *force,
            };
            let written = match (bare, gitolite, script) {
                (Some(bare), _, _) => hooks.install(bare),
                (None, Some(local), _) => hooks.write_for_gitolite(local),
                (None, None, Some(script)) => {
                    hooks.write_script(script).map(|()| vec![script.clone()])
                }
                (None, None, None) => Ok(Vec::new()),
            };
            let options = gitolite.as_ref().map(|_| hooks.gitolite_options());
            installed(cx, written, options.as_ref().map_or(&[], |it| it))
        }
    }
}

/// Says what was written, and what gitolite has to be told of it.
fn installed(
    cx: &Cx,
    written: std::io::Result<Vec<PathBuf>>,
    options: &[String],
) -> Result<Exit, Failure> {
    let files = written.map_err(|error| {
        let help = "--force writes over a hook of others; gitolite's own go by --gitolite";
        Failure::say(Exit::Failed, error.to_string(), help)
    })?;
    if cx.format == Format::Json {
        let document = json!({"files": files, "options": options});
        cx.screen.document(Kind::Init, &document);
    } else {
        for file in &files {
            cx.screen
                .show(&Page::of(format!("wrote {}", file.display())));
        }
        if !options.is_empty() {
            let note = "gitolite takes them for a repository with";
            cx.screen.show(&Page::of(note.to_owned()));
        }
        for option in options {
            cx.screen.show(&Page::of(format!("  {option}")));
        }
    }
    Ok(Exit::Done)
}

/// Tells the server of a push. Where there is none, it is written down for the next one.
async fn post_receive(
    cx: &Cx,
    project: &ProjectName,
    wait: &WaitArgs,
    server: &SocketArg,
) -> Result<(), String> {
    let push =
        pushed::read(project).map_err(|error| format!("the push cannot be read: {error}"))?;
    if push.refs.is_empty() {
        return Ok(());
    }
    let (client, spool) = (Client::new(&server.socket), Spool::of_hook());
    let push = spool.announced(push);
    for earlier in spool.waiting() {
        if client.post::<Taken>("/push", &earlier.push).await.is_ok() {
            earlier.done();
        }
    }

    let taken: Taken = match client.post("/push", &push).await {
        Ok(taken) => taken,
        Err(Unserved::Refused(reason)) => {
            spool.arrived(&push);
            return Err(format!("the server refused it: {reason}"));
        }
        Err(Unserved::Away(reason)) => return away(&cx.screen, &spool, &push, &reason),
    };
    spool.arrived(&push);
    for reason in &taken.ignored {
        say(&cx.screen, Line::from("shipit: ").quote(reason));
    }
    for job in &taken.jobs {
        say(
            &cx.screen,
            format!("shipit: {} is job {}", job.lane, job.number).into(),
        );
    }
    if !wait.detach {
        watch(&cx.screen, &client, &taken, wait).await;
    }
    Ok(())
}

fn away(screen: &Screen, spool: &Spool, push: &Push, reason: &str) -> Result<(), String> {
    say(
        screen,
        Line::from("shipit: the server cannot be asked: ").quote(reason),
    );
    spool.put(push).map_err(|error| {
        format!(
            "the push cannot be written down for it either: {error}; `shipit trigger {}` \
                 deploys it later",
            push.project
        )
    })?;
    spool.arrived(push);
    say(
        screen,
        "shipit: the push is written down, and deployed once the server is back".into(),
    );
    Ok(())
}

async fn watch(screen: &Screen, client: &Client, taken: &Taken, wait: &WaitArgs) {
    let deadline = wait.deadline();
    for job in &taken.jobs {
        let number = job.number;
        let mut shown = Pushed { screen };
        let words = match follow(client, number, deadline, &mut shown).await {
            Ok(None) => return,
            Ok(Some(Followed::Ended(ending))) => {
                let reason = ending.reason();
                let colon = if reason.is_empty() { "" } else { ": " };
                Line::from(format!("shipit: job {number} {}{colon}", ending.word())).quote(reason)
            }
            Ok(Some(Followed::Late)) => {
                format!("shipit: job {number} goes on: `shipit jobs logs {number} -f` shows it")
                    .into()
            }
            Err(_) => format!("shipit: the server went away; job {number} goes on").into(),
        };
        if say(screen, words) == Go::Away {
            return;
        }
    }
}

/// Who has pushed, as long as they read.
struct Pushed<'a> {
    screen: &'a Screen,
}

impl Listener for Pushed<'_> {
    fn lines(&mut self, lines: &[String]) -> Go {
        let mut told = lines.iter().map(|line| {
            let short: String = line.chars().take(LONGEST).collect();
            say(self.screen, Line::from("  ").quote(short))
        });
        told.find(|go| *go == Go::Away).unwrap_or(Go::On)
    }

    /// A connection on which nothing is said is cut by what is on its way.
    fn waits(&mut self, words: &str) -> Go {
        say(self.screen, format!("shipit: waiting: {words}").into())
    }
}

/// Says a line to whoever has pushed. A pipe that nobody reads any more would be waited for for
/// ever.
fn say(screen: &Screen, line: Line) -> Go {
    if !outputs::takes_messages(READER) {
        return Go::Away;
    }
    screen.say(&Page::of(line));
    Go::On
}

async fn pre_receive(
    cx: &Cx,
    project: &ProjectName,
    folder: &std::path::Path,
) -> Result<Exit, Failure> {
    let help = "nothing was pushed: mend it, commit, and push again";
    let push = pushed::read(project).map_err(|error| {
        Failure::say(
            Exit::Refused,
            format!("the push cannot be read: {error}"),
            help,
        )
    })?;
    let faults = pushed::faults(&push, folder)
        .await
        .map_err(|reason| Failure::say(Exit::Refused, reason, help))?;
    for fault in &faults {
        say(&cx.screen, Line::from("shipit: ").quote(fault));
    }
    if faults.is_empty() {
        // Whoever pushes may go away before the next hook, which Git then never calls.
        if let Err(error) = Spool::of_hook().announce(&push) {
            let reason = format!("the push cannot be announced: {error}");
            say(&cx.screen, Line::from("shipit: ").quote(reason));
        }
        return Ok(Exit::Done);
    }
    Err(Failure::say(
        Exit::Refused,
        "the configuration has faults",
        help,
    ))
}
