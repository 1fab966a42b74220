//! `shipit report-status`

use std::path::PathBuf;

use serde_json::json;

use crate::cli::Cx;
use crate::model::commit_status::{CommitStatus, ForgeKind, StatusState};
use crate::ops::report_status::{Asked, page, report, withhold};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit report-status running --env staging                         before an apply
  shipit report-status success --env staging --description live      after it
  shipit report-status failure --forge github --repository shop/web  outside of GitHub's builds";

/// How it stands.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum State {
    Pending,
    Running,
    Success,
    Failure,
    Error,
}

/// Which forge.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Forge {
    Github,
    Gitlab,
    Gitea,
}

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How it stands.
    #[arg(value_enum)]
    state: State,

    /// What is said about it, in one line; a forge shows 140 characters.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// Where more is to be read; without it the page of the build.
    #[arg(long, value_name = "URL")]
    target_url: Option<String>,

    /// Tells the statuses of a commit apart; without it `shipit/ENVIRONMENT`.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    #[command(flatten)]
    place: PlaceArgs,
}

/// Whose status.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Forge")]
struct PlaceArgs {
    /// Who keeps the commit; without it whoever runs the build. Forgejo is a `gitea`.
    #[arg(long, value_enum)]
    forge: Option<Forge>,

    /// Where the forge's API is, as `https://git.example.com/api/v1`.
    #[arg(long, value_name = "URL")]
    api: Option<String>,

    /// The repository.
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<String>,

    /// The commit's whole hash; without it the one that is built, or checked out.
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,

    /// The variable with the token; without it `GITHUB_TOKEN`, `GITLAB_TOKEN` or `GITEA_TOKEN`.
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    token_variable: Option<String>,

    /// The file with the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl PlaceArgs {
    fn asked(&self) -> Asked {
        Asked {
            forge: self.forge.map(|forge| match forge {
                Forge::Github => ForgeKind::Github,
                Forge::Gitlab => ForgeKind::Gitlab,
                Forge::Gitea => ForgeKind::Gitea,
            }),
            api: self.api.clone(),
            repository: self.repository.clone(),
            commit: self.commit.clone(),
            token_variable: self.token_variable.clone(),
            token_file: self.token_file.clone(),
        }
    }
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let variables = |name: &str| std::env::var(name).ok();
    let asked = args.place.asked();
    withhold(&asked);
    let of_environment = match &cx.env {
        Some(environment) => format!("shipit/{environment}"),
        // The one that any other command would take here; a folder without a project has none.
        None => match cx.session().await {
            Ok(session) => format!("shipit/{}", session.environment),
            Err(_) => "shipit".to_owned(),
        },
    };
    let status = CommitStatus {
        state: match args.state {
            State::Pending => StatusState::Pending,
            State::Running => StatusState::Running,
            State::Success => StatusState::Success,
            State::Failure => StatusState::Failure,
            State::Error => StatusState::Error,
        },
        description: args.description.clone(),
        target_url: args.target_url.clone().or_else(|| page(&variables)),
        context: args.context.clone().unwrap_or(of_environment),
    };

    let redactor = cx.screen.redactor();
    let place = report(&cx.directory, &asked, &status, &variables, redactor).await?;
    if cx.format == Format::Json {
        let document = json!({"place": place, "status": status});
        cx.screen.document(Kind::CommitStatus, &document);
    } else {
        let (context, commit) = (&status.context, &place.commit[..7]);
        cx.screen.show(&Page::of(format!(
            "{} shows {context} beside commit {commit} of {}.",
            place.forge, place.repository
        )));
    }
    Ok(Exit::Done)
}
