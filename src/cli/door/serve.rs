//! `shipit serve`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;

use crate::cli::door::ConfigArg;
use crate::cli::{Cx, forms, signals};
use crate::config::server::LoadedServer;
use crate::ops::doors::{DoorError, run_job, setup, wiring};
use crate::output::{Exit, Failure, Format, Kind, Page};
use crate::serve::{Listeners, serve};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit serve init                          write a server.yaml, and say what to do next
  shipit serve check                         see whether it could serve
  shipit serve --config /etc/shipit/server.yaml  serve until it is stopped";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<What>,

    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum What {
    /// Write a server.yaml for a project.
    #[command(
        after_help = "Examples:\n  shipit serve init --config server.yaml --project shop \
                      --repository /srv/git/shop.git"
    )]
    Init {
        /// The project's name, as in its shipit.yaml.
        #[arg(long, default_value = "storefront")]
        project: String,

        /// The repository's URL, or its folder on this machine.
        #[arg(long, value_name = "URL", default_value = "/srv/git/storefront.git")]
        repository: String,

        /// Write over a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Check what serving needs: the configuration, the secrets, the folder, Git.
    #[command(after_help = "Examples:\n  shipit serve check --config server.yaml")]
    Check,
    /// Be the process of a job: what the server starts for each.
    #[command(hide = true)]
    RunJob {
        /// The job's folder.
        #[arg(long)]
        folder: PathBuf,

        /// Which attempt.
        #[arg(long)]
        attempt: u32,
    },
}

impl Args {
    /// The forms in which it prints.
    pub(in crate::cli) const fn forms(&self) -> &'static [Format] {
        match self.command {
            Some(What::Init { .. } | What::Check) => forms::TWO,
            None | Some(What::RunJob { .. }) => forms::ONE,
        }
    }
}

pub(in crate::cli) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        None => run(cx, args).await,
        Some(What::Init {
            project,
            repository,
            force,
        }) => init(cx, args, (project, repository), *force),
        Some(What::Check) => check(cx, args).await,
        Some(What::RunJob { folder, attempt }) => {
            let stop = signals::listen(&cx.screen).interrupted;
            let ended = run_job::run(folder.clone(), *attempt, stop).await;
            ended.map_err(|error| {
                Failure::say(
                    Exit::Failed,
                    format!("the job cannot be run: {error}"),
                    "the server starts this itself",
                )
            })?;
            Ok(Exit::Done)
        }
    }
}

fn failed(error: &DoorError) -> Failure {
    Failure::say(
        Exit::Failed,
        error.to_string(),
        "`shipit serve check` looks at everything that serving needs",
    )
}

async fn run(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let LoadedServer { config, path } = args.config.load()?;
    wiring::log(&config, cx.screen.redactor());
    let (doors, _lock) =
        wiring::open(config, cx.screen.redactor()).map_err(|error| failed(&error))?;
    let listeners = Listeners::open(&doors)
        .await
        .map_err(|error| failed(&error))?;

    let web = listeners
        .web_address()
        .map(|address| format!(" and {address}"));
    cx.screen.say(&Page::of(format!(
        "shipit {} serves {} at {}{}.",
        env!("CARGO_PKG_VERSION"),
        path.display(),
        doors.config.listen.socket.path.display(),
        web.unwrap_or_default()
    )));
    let stop = signals::listen(&cx.screen).interrupted;
    serve(Arc::new(doors), listeners, stop).await;
    Ok(Exit::Done)
}

fn init(cx: &Cx, args: &Args, of: (&str, &str), force: bool) -> Result<Exit, Failure> {
    let written = setup::init(&args.config.config, of, force).map_err(|error| {
        let help = "--config names another file, --force writes over one that is there";
        Failure::say(Exit::Failed, error.to_string(), help)
    })?;
    if cx.format == Format::Json {
        cx.screen.document(
            Kind::Init,
            &json!({"files": written.files, "next": written.next}),
        );
    } else {
        for file in &written.files {
            cx.screen
                .show(&Page::of(format!("wrote {}", file.display())));
        }
        for line in &written.next {
            cx.screen.say(&Page::of(format!("next: {line}")));
        }
    }
    Ok(Exit::Done)
}

async fn check(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let LoadedServer { config, .. } = args.config.load()?;
    let found = setup::check(&config).await;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Checks, &json!({"checks": found}));
    } else {
        cx.screen.show(&crate::cli::doctor::human(&found));
    }
    let is_well = found.iter().all(|one| one.fault.is_none());
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}
