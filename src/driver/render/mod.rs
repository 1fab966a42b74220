//! Manifests that a tool of the user's own renders: `kustomize` (or `kubectl kustomize`) and `helm
//! template`. The tool is started without a shell, and only what it writes counts.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ignore::WalkBuilder;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;

use crate::files::beneath::{BeneathError, Links, Root};
use crate::files::environment;
use crate::model::kind::Capabilities;

/// How long a tool may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// The most that a tool may write.
const LIMIT: u64 = 64 << 20;

/// What is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// A folder with a `kustomization.yaml`.
    Kustomize {
        /// The folder, below the project's.
        folder: PathBuf,
    },
    /// A chart.
    Helm {
        /// The chart's folder below the project's, or its reference.
        chart: String,
        /// The file of values, below the project's folder.
        values: Option<PathBuf>,
        /// The name of the release, as Helm counts them.
        name: String,
        /// The namespace that the chart sees.
        namespace: String,
        /// Values that shipit knows, as `shipit.KEY`.
        set: Vec<(String, String)>,
        /// Whether the definitions in `crds/` are rendered as well.
        has_crds: bool,
        /// What the chart is told about the cluster; without it what Helm takes one for.
        capabilities: Option<Capabilities>,
    },
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
/// When the tool is not there, says no, takes too long or writes too much.
pub async fn render(root: &Path, recipe: &Recipe) -> Result<String, RenderError> {
    let (folder, read) = (root.to_path_buf(), recipe.clone());
    tokio::task::spawn_blocking(move || keep_inside(&folder, &read))
        .await
        .map_err(|error| refused(recipe, &error))??;
    match recipe {
        Recipe::Kustomize { folder } => kustomize(root, folder).await,
        Recipe::Helm { chart, .. } => {
            let what = format!("helm {chart}");
            let text = run(root, &what, "helm", &helm(recipe)).await?;
            text.ok_or_else(|| RenderError {
                what,
                reason: "helm is not in PATH".to_owned(),
                help: "install it where shipit runs, or write plain manifests".to_owned(),
            })
        }
    }
}

async fn kustomize(root: &Path, folder: &Path) -> Result<String, RenderError> {
    let what = format!("kustomize {}", folder.display());
    let folder = folder.to_string_lossy().into_owned();
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

/// What Helm is called with; nothing for what is no chart.
fn helm(recipe: &Recipe) -> Vec<String> {
    let Recipe::Helm {
        chart,
        values,
        name,
        namespace,
        set,
        has_crds,
        capabilities,
    } = recipe
    else {
        return Vec::new();
    };

    let mut args = ["template", name, chart, "--namespace", namespace]
        .map(str::to_owned)
        .to_vec();
    if let Some(values) = values {
        args.extend(["--values".to_owned(), values.to_string_lossy().into_owned()]);
    }
    for (key, value) in set {
        args.extend(["--set-string".to_owned(), format!("shipit.{key}={value}")]);
    }
    if *has_crds {
        args.push("--include-crds".to_owned());
    }
    if let Some(Capabilities { version, apis }) = capabilities {
        args.extend(["--kube-version".to_owned(), version.clone()]);
        args.extend(apis.iter().map(|api| format!("--api-versions={api}")));
    }
    args
}

fn refused(recipe: &Recipe, reason: &dyn std::fmt::Display) -> RenderError {
    let what = match recipe {
        Recipe::Kustomize { folder } => format!("kustomize {}", folder.display()),
        Recipe::Helm { chart, .. } => format!("helm {chart}"),
    };
    RenderError {
        what,
        reason: reason.to_string(),
        help: "copy it into the project: what is rendered comes from the project alone".to_owned(),
    }
}

/// Refuses what a tool would read from outside of the project. Helm follows every link in a chart.
fn keep_inside(root: &Path, recipe: &Recipe) -> Result<(), RenderError> {
    let says = |error: BeneathError| refused(recipe, &error);
    let project = Root::open(root, Links::StayBeneath).map_err(|error| refused(recipe, &error))?;
    let folder = match recipe {
        Recipe::Kustomize { folder } => folder.clone(),
        Recipe::Helm { chart, values, .. } => {
            if let Some(values) = values {
                project.file(values).map_err(says)?;
            }
            PathBuf::from(chart)
        }
    };

    match project.real(&folder) {
        // A chart's reference, or a mistake that the tool names better.
        Err(error) if error.is_missing() => return Ok(()),
        real => real.map_err(says)?,
    };
    let walk = WalkBuilder::new(root.join(&folder))
        .standard_filters(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    for entry in walk.flatten() {
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        match project.real(path) {
            Err(error) if !error.is_missing() => return Err(says(error)),
            _ => {}
        }
    }
    Ok(())
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
    let spawned = environment::program(program)
        .args(args)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("{program} cannot be started: {error}"))),
    };
    let Written { text, said, status } = written(child, program).await.map_err(failed)?;

    if !status.success() {
        let said = String::from_utf8_lossy(&said);
        return Err(failed(format!(
            "{program} ended with {status}: {}",
            said.trim()
        )));
    }
    if text.len() as u64 > LIMIT {
        return Err(failed(format!(
            "{program} wrote more than {} MiB",
            LIMIT >> 20
        )));
    }
    Ok(Some(text))
}

/// What a program wrote until it ended.
struct Written {
    text: String,
    said: Vec<u8>,
    status: ExitStatus,
}

async fn written(mut child: Child, program: &str) -> Result<Written, String> {
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(format!("{program} has no output"));
    };
    let (mut text, mut said) = (String::new(), Vec::new());
    let mut out = out.take(LIMIT + 1);
    let mut err = err.take(64 << 10);

    let work = async {
        let (read, heard, ended) = tokio::join!(
            out.read_to_string(&mut text),
            err.read_to_end(&mut said),
            child.wait()
        );
        read.and(heard).and(ended)
    };
    let status = tokio::time::timeout(DEADLINE, work)
        .await
        .map_err(|_| format!("{program} has not ended within {DEADLINE:?}"))?
        .map_err(|error| format!("{program}: {error}"))?;
    Ok(Written { text, said, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_is_given_nothing_from_outside_of_the_project() {
        let machine = tempfile::tempdir().expect("a folder");
        let root = machine.path().join("project");
        for folder in ["chart/templates", "shared", "base"] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        std::fs::write(machine.path().join("values.yaml"), "a: TOPSECRET").expect("a file");
        std::fs::write(root.join("values.yaml"), "a: 1").expect("a file");
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.join(name)).expect("a link");
        };
        link("../shared", "chart/shared");
        let helm = |chart: &str, values: &str| Recipe::Helm {
            chart: chart.to_owned(),
            values: Some(values.into()),
            name: "web".to_owned(),
            namespace: "shop".to_owned(),
            set: Vec::new(),
            has_crds: true,
            capabilities: None,
        };
        let says = |recipe: &Recipe| keep_inside(&root, recipe).map_err(|error| error.reason);
        assert_eq!(says(&helm("chart", "values.yaml")), Ok(()));
        assert_eq!(
            says(&helm("oci://charts.example/web", "values.yaml")),
            Ok(())
        );

        link("../values.yaml", "linked.yaml");
        link("/etc/hostname", "chart/templates/secret");
        link("/etc", "base/etc");
        for recipe in [
            helm("shared", "../values.yaml"),
            helm("shared", "linked.yaml"),
            helm("chart", "values.yaml"),
            helm("../project/chart", "values.yaml"),
            Recipe::Kustomize {
                folder: "base".into(),
            },
            Recipe::Kustomize {
                folder: "../project".into(),
            },
            Recipe::Kustomize {
                folder: "/etc".into(),
            },
        ] {
            let reason = says(&recipe).expect_err("leads out");
            assert!(reason.contains("outside of"), "{recipe:?}: {reason}");
        }
    }

    #[tokio::test]
    async fn a_tool_that_is_not_there_is_said_so_and_one_that_fails_is_quoted() {
        let root = std::env::temp_dir();
        assert_eq!(
            run(&root, "x", "no-such-program-here", &[]).await.ok(),
            Some(None)
        );
        let failed = run(&root, "x", "ls", &["/no/such/folder".to_owned()])
            .await
            .expect_err("fails");
        assert!(failed.reason.contains("/no/such/folder"), "{failed}");
        let written = run(&root, "x", "echo", &["a: 1".to_owned()])
            .await
            .expect("runs");
        assert_eq!(written.as_deref(), Some("a: 1\n"));
    }
}
