//! Manifests that a tool of the user's own renders: `kustomize` (or `kubectl kustomize`) and `helm
//! template`. The tool is started without a shell, and only what it writes counts.

mod bases;
mod chart;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ignore::WalkBuilder;

use crate::driver::render::chart::{Copied, copied, defined, word};
use crate::files::beneath::{Links, Root};
use crate::files::environment;
use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};
use crate::model::kind::Capabilities;

/// What a tool may take and write.
const BOUNDS: Bounds = Bounds {
    within: Duration::from_mins(1),
    answer: Keep::Whole(64 << 20),
    beside: 64 << 10,
    left_behind: LeftBehind::Ends,
};

/// The variables that the tools have of their own: where Helm keeps its repositories and logins.
const VARIABLES: [&str; 3] = ["HELM_*", "KUSTOMIZE_*", "DOCKER_CONFIG"];

/// What is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// A folder with a `kustomization.yaml`.
    Kustomize {
        /// The folder, below the project's.
        folder: PathBuf,
    },
    /// A chart.
    Helm(Chart),
}

/// A chart, and what it is rendered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The chart's folder below the project's, or its reference.
    pub chart: String,
    /// The file of values, below the project's folder.
    pub values: Option<PathBuf>,
    /// The name of the release, as Helm counts them.
    pub name: String,
    /// The namespace that the chart sees.
    pub namespace: String,
    /// Values that shipit knows, as `shipit.KEY`.
    pub set: Vec<(String, String)>,
    /// Whether the definitions in `crds/` are rendered as well.
    pub has_crds: bool,
    /// What the chart is told about the cluster; without it what Helm takes one for.
    pub capabilities: Option<Capabilities>,
}

/// Why nothing was rendered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct RenderError {
    /// What was being rendered.
    pub what: String,
    /// Why it was not.
    pub reason: String,
    /// What to do.
    pub help: String,
}

/// Renders manifests in the project's folder.
///
/// # Errors
/// When the tool is not there, says no, takes too long or writes too much, or something that it
/// would read is not the project's.
pub async fn render(root: &Path, recipe: &Recipe) -> Result<String, RenderError> {
    match recipe {
        Recipe::Kustomize { folder } => {
            let what = format!("kustomize {}", folder.display());
            let (own, named) = (root.to_path_buf(), folder.clone());
            let folder = looked(&what, move || kustomization(&own, &named)).await?;
            kustomize(root, what, &folder).await
        }
        Recipe::Helm(chart) => {
            let what = format!("helm {}", chart.chart);
            let (own, wanted) = (root.to_path_buf(), chart.clone());
            let copied = looked(&what, move || copied(&own, &wanted)).await?;
            let words = helm(chart, &copied);
            let text = run(copied.folder.path(), &what, "helm", &words).await?;
            text.ok_or_else(|| RenderError {
                what,
                reason: "helm is not in PATH".to_owned(),
                help: "install it where shipit runs, or write plain manifests".to_owned(),
            })
        }
    }
}

/// What is found in the project's files, beside what is awaited meanwhile.
async fn looked<Found: Send + 'static>(
    what: &str,
    look: impl FnOnce() -> Result<Found, Refusal> + Send + 'static,
) -> Result<Found, RenderError> {
    let looking = tokio::task::spawn_blocking(look);
    let found = looking.await.unwrap_or_else(|error| Err(error.into()));
    found.map_err(|Refusal { reason, help }| RenderError {
        what: what.to_owned(),
        reason,
        help: help.to_owned(),
    })
}

/// Why a tool is not given what it would read.
#[derive(Debug)]
struct Refusal {
    reason: String,
    help: &'static str,
}

impl<E: std::fmt::Display> From<E> for Refusal {
    fn from(reason: E) -> Self {
        Self {
            reason: reason.to_string(),
            help: "copy it into the project: what is rendered comes from the project alone",
        }
    }
}

async fn kustomize(root: &Path, what: String, folder: &Path) -> Result<String, RenderError> {
    let folder = word(folder);
    let own = ["build".to_owned(), folder.clone()];
    let found = match run(root, &what, "kustomize", &own).await? {
        Some(text) => Some(text),
        None => run(root, &what, "kubectl", &["kustomize".to_owned(), folder]).await?,
    };
    found.ok_or_else(|| RenderError {
        what,
        reason: "neither kustomize nor kubectl is in PATH".to_owned(),
        help: "install one of them where shipit runs, or write plain manifests".to_owned(),
    })
}

/// What Helm is called with: options first, and after `--` nothing is one.
fn helm(chart: &Chart, copied: &Copied) -> Vec<String> {
    let mut args = ["template", "--namespace", &chart.namespace]
        .map(str::to_owned)
        .to_vec();
    if let Some(values) = &copied.values {
        args.extend(["--values".to_owned(), values.clone()]);
    }
    for (key, value) in &chart.set {
        args.extend(["--set-string".to_owned(), format!("shipit.{key}={value}")]);
    }
    if chart.has_crds {
        args.push("--include-crds".to_owned());
    }
    if let Some(Capabilities { version, apis }) = &chart.capabilities {
        args.extend(["--kube-version".to_owned(), version.clone()]);
        let own = if chart.has_crds {
            defined(copied)
        } else {
            BTreeSet::new()
        };
        let all: BTreeSet<&String> = apis.union(&own).collect();
        args.extend(all.into_iter().map(|api| format!("--api-versions={api}")));
    }
    args.extend(["--".to_owned(), chart.name.clone(), copied.chart.clone()]);
    args
}

/// The folder of a kustomization, when all that it is made of is the project's.
fn kustomization(root: &Path, folder: &Path) -> Result<PathBuf, Refusal> {
    let project = Root::open(root, Links::StayBeneath)?;
    let real = project.of_project(folder)?.ok_or_else(|| Refusal {
        reason: format!("there is no folder {} in the project", folder.display()),
        help: "name a folder with a kustomization.yaml",
    })?;

    bases::stay_inside(&project, &real)?;
    let walk = WalkBuilder::new(root.join(&real))
        .standard_filters(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    for entry in walk {
        let entry = entry?;
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        project.of_project(path)?;
    }
    Ok(real)
}

/// What a program writes; none when there is no such program.
async fn run(
    root: &Path,
    what: &str,
    program: &str,
    args: &[String],
) -> Result<Option<String>, RenderError> {
    let failed = |reason: String| RenderError {
        what: what.to_owned(),
        reason,
        help: format!(
            "`{program} {}` in the project's folder shows the same",
            args.join(" ")
        ),
    };
    let mut command = environment::tool(program, &VARIABLES);
    command.args(args).current_dir(root);
    let written = match captured(command, None, &BOUNDS).await {
        Ok(written) => written,
        Err(CaptureError::Start(error)) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(not_captured(program, &error))),
    };

    if !written.status.success() {
        let said = String::from_utf8_lossy(&written.beside);
        let status = written.status;
        return Err(failed(format!(
            "{program} ended with {status}: {}",
            said.trim()
        )));
    }
    let text = String::from_utf8(written.answer);
    text.map(Some)
        .map_err(|_| failed(format!("what {program} wrote is no UTF-8")))
}

fn not_captured(program: &str, error: &CaptureError) -> String {
    match error {
        CaptureError::Start(error) => format!("{program} cannot be started: {error}"),
        CaptureError::Late(limit) => format!("{program} has not ended within {limit:?}"),
        CaptureError::TooMuch(limit) => {
            format!("{program} wrote more than {} MiB", limit >> 20)
        }
        CaptureError::Held => {
            format!("{program} has ended, and something that it started has not")
        }
    }
}
