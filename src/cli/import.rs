//! `shipit import`

use std::path::PathBuf;

use serde_json::json;

use crate::cli::Cx;
use crate::model::EnvironmentName;
use crate::ops::discover::{self, Origin};
use crate::ops::import::{candidates, import};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit import                                     list what could be adopted
  shipit import Deployment/web                      adopt one
  shipit import --all                               adopt all of them
  shipit import --discover --from compose.yaml      propose a configuration of a file
  docker compose config | shipit import --discover --from -
  shipit import --discover --docker --out shop      of the containers here, into a new folder
  shipit import --discover --namespace shop         of a namespace
  shipit import --discover --ecr eu-central-1       of the repositories of an account";

/// What is said of the files that are read.
const FROM: &str = "Discover";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("origin").args(["from", "docker", "namespace", "ecr"]))]
pub struct Args {
    /// Which objects, as KIND/NAME; without any the candidates are listed.
    #[arg(value_name = "KIND/NAME")]
    objects: Vec<String>,
    /// Every candidate.
    #[arg(long, conflicts_with = "objects")]
    all: bool,

    /// Propose a configuration of what runs already, and change nothing. What looks like a secret
    /// becomes a reference, and is never printed.
    #[arg(long, requires = "origin", conflicts_with_all = ["objects", "all"], help_heading = FROM)]
    discover: bool,
    /// A Compose file, a Kamal `deploy.yml` or a Copilot `manifest.yml`; - is the standard input.
    #[arg(long, value_name = "FILE", requires = "discover", help_heading = FROM)]
    from: Option<PathBuf>,
    /// The containers that run here. `DOCKER_HOST` says where the engine is.
    #[arg(long, requires = "discover", help_heading = FROM)]
    docker: bool,
    /// The Deployments, `StatefulSet`s, Services and Ingresses of a namespace.
    #[arg(long, value_name = "NAME", requires = "discover", help_heading = FROM)]
    namespace: Option<String>,
    /// The context of the kubeconfig; its current one without it.
    #[arg(long, value_name = "NAME", requires = "namespace", help_heading = FROM)]
    context: Option<String>,
    /// The ECR repositories of a region, by the AWS credentials of the environment.
    #[arg(long, value_name = "REGION", requires = "discover", help_heading = FROM)]
    ecr: Option<String>,
    /// Write the proposal into this folder, which must not be there; without it it is printed.
    #[arg(long, value_name = "DIR", requires = "discover", help_heading = FROM)]
    out: Option<PathBuf>,
}

impl Args {
    /// Where it is looked; none without `--discover`.
    fn origin(&self) -> Option<Origin> {
        if let Some(path) = &self.from {
            let is_input = path.as_os_str() == "-";
            return Some(if is_input {
                Origin::Input
            } else {
                Origin::File(path.clone())
            });
        }
        if self.docker {
            return Some(Origin::Docker);
        }
        if let Some(name) = &self.namespace {
            return Some(Origin::Namespace {
                name: name.clone(),
                context: self.context.clone(),
            });
        }
        let region = self.ecr.clone()?;
        Some(Origin::Ecr { region })
    }
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    if let Some(origin) = args.origin() {
        return propose(cx, &origin, args.out.as_ref()).await;
    }
    if !args.all && args.objects.is_empty() {
        return list(cx).await;
    }
    adopt(cx, args).await
}

/// Proposes a configuration, for the environment that `--env` names, or for `production`.
async fn propose(cx: &Cx, origin: &Origin, out: Option<&PathBuf>) -> Result<Exit, Failure> {
    let name = cx.env.as_deref().unwrap_or("production");
    let environment: EnvironmentName =
        name.parse()
            .map_err(|error: crate::model::name::NameError| {
                Failure::say(
                    Exit::Usage,
                    error.to_string(),
                    "--env names an environment".to_owned(),
                )
            })?;
    let files = discover::discover(&cx.directory, origin, &environment).await?;
    let written = match out {
        Some(out) => Some(discover::write(out, &files)?),
        None => None,
    };

    if cx.format == Format::Json {
        let proposed = files
            .iter()
            .map(|(path, text)| json!({"path": path, "text": text}));
        let document = json!({"proposed": proposed.collect::<Vec<_>>(), "written": written});
        cx.screen.document(Kind::Import, &document);
        return Ok(Exit::Done);
    }
    let mut page = Page::new();
    match (written, out) {
        (Some(written), Some(out)) => {
            for path in written {
                page.line(format!("  {} written", path.display()));
            }
            page.line(format!(
                "Read what is said there of what is left out, then: shipit -C {} validate",
                out.display()
            ));
        }
        _ => {
            for (number, (path, text)) in files.iter().enumerate() {
                if number > 0 {
                    page.blank();
                }
                page.line(format!("# {}", path.display()));
                for line in text.lines() {
                    page.line(line);
                }
            }
        }
    }
    cx.screen.show(&page);
    Ok(Exit::Done)
}

/// Lists what could be adopted.
async fn list(cx: &Cx) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let found = candidates(&session).await?;
    if cx.format == Format::Json {
        cx.screen
            .document(Kind::Import, &json!({"candidates": found}));
        return Ok(Exit::Done);
    }
    let mut page = Page::new();
    for one in &found {
        page.line(format!("  {}  belongs to {}", one.key, one.manager));
    }
    page.line(if found.is_empty() {
        "Nothing that the configuration names belongs to others."
    } else {
        "`shipit import KIND/NAME` takes one over, `shipit import --all` all of them. What they \
         say stays as it is."
    });
    cx.screen.show(&page);
    Ok(Exit::Done)
}

/// Takes objects over.
async fn adopt(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let taken = import(&session, &args.objects).await?;
    if cx.format == Format::Json {
        let taken = taken.iter();
        let imported = taken.map(|(key, from)| json!({"key": key, "from": from}));
        let document = json!({"imported": imported.collect::<Vec<_>>()});
        cx.screen.document(Kind::Import, &document);
        return Ok(Exit::Done);
    }

    let mut page = Page::new();
    for (key, managers) in &taken {
        let from = if managers.is_empty() {
            String::new()
        } else {
            format!(", with the fields of {}", managers.join(", "))
        };
        page.line(format!("  {key} is shipit's{from}"));
    }

    if taken.is_empty() {
        page.line("Nothing that the configuration names belongs to others.");
    } else {
        page.line("`shipit plan` shows what the configuration changes about them.");
    }

    cx.screen.show(&page);
    Ok(Exit::Done)
}
