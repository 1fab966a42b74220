//! `import --discover`: a configuration is proposed of what runs already. Nothing is changed.

mod wiring;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config;
use crate::discover::{
    Container, DiscoverError, FoundRepository, Objects, Proposal, files as rendered, of_containers,
    of_file, of_namespace, of_repositories,
};
use crate::files;
use crate::model::EnvironmentName;
use crate::ops::Error;
use crate::port::inventory::{Listed, Sought};
use crate::port::store::StoreError;

/// The largest file that is read.
const LARGEST: u64 = 2 << 20;

/// Where it is looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file of another tool.
    File(PathBuf),
    /// In the same, from the standard input.
    Input,
    /// At this machine's Docker Engine.
    Docker,
    /// In a namespace of a cluster.
    Namespace {
        /// Its name.
        name: String,
        /// The context of the kubeconfig; its current one without it.
        context: Option<String>,
    },
    /// In the ECR of an account.
    Ecr {
        /// The region.
        region: String,
    },
}

/// The files of a configuration that is proposed, by their paths below the project's folder.
pub type Files = Vec<(PathBuf, String)>;

/// Looks, and proposes a configuration that can be read. The folder gives the project its name
/// where nothing else does.
pub async fn discover(
    root: &Path,
    origin: &Origin,
    environment: &EnvironmentName,
) -> Result<Files, Error> {
    let proposal = proposal(root, origin).await?;
    let files = rendered(&proposal, environment);
    is_valid(&files)?;
    Ok(files)
}

async fn proposal(root: &Path, origin: &Origin) -> Result<Proposal, Error> {
    let folder = folder_name(root);
    Ok(match origin {
        Origin::File(path) => {
            // As it was typed: from where its reader stands.
            let read = files::read_text(path, LARGEST);
            let text = read.map_err(|error| unreadable(path, &error.to_string()))?;
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let beside = whole.parent().map(folder_name);
            of_file(path, &beside.unwrap_or(folder), &text)?
        }
        Origin::Input => {
            let path = Path::new("the standard input");
            let mut bytes = Vec::new();
            let input = std::io::stdin().take(LARGEST).read_to_end(&mut bytes);
            input.map_err(|error| unreadable(path, &error.to_string()))?;
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| unreadable(path, "it is no UTF-8 text"))?;
            of_file(path, &folder, &text)?
        }
        Origin::Docker => {
            let running = wiring::containers().await?.into_iter();
            let running: Vec<Container> = running
                .map(|it| Container {
                    inspected: it.inspected,
                    image: it.image,
                })
                .collect();
            of_containers(&running, &folder, "this machine's Docker Engine")?
        }
        Origin::Namespace { name, context } => {
            let found = wiring::objects(root, name, context.as_deref()).await?;
            let objects = objects(found);
            of_namespace(&objects, name, context.as_deref())?
        }
        Origin::Ecr { region } => {
            let found = wiring::repositories(region).await?;
            let account = found
                .first()
                .map(|it| it.account.clone())
                .unwrap_or_default();
            let found: Vec<FoundRepository> = found
                .into_iter()
                .map(|it| FoundRepository {
                    name: it.name,
                    immutable_tags: it.immutable_tags,
                    scan_on_push: it.scan_on_push,
                    newest: it.newest,
                })
                .collect();
            of_repositories((region, &account), &found, &folder)?
        }
    })
}

/// What was found in a namespace, and what could not be looked at.
fn objects(found: BTreeMap<Sought, Listed>) -> Objects {
    let mut objects = Objects::default();
    for (sought, listed) in found {
        let (place, kind) = match sought {
            Sought::Deployment => (&mut objects.deployments, "Deployments"),
            Sought::StatefulSet => (&mut objects.sets, "StatefulSets"),
            Sought::Service => (&mut objects.services, "Services"),
            Sought::Ingress => (&mut objects.ingresses, "Ingresses"),
        };
        match listed {
            Ok(listed) => *place = listed,
            Err(reason) => objects.unseen.push(format!("{kind}: {reason}")),
        }
    }
    objects
}

fn folder_name(folder: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or_default();
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn unreadable(path: &Path, reason: &str) -> Error {
    DiscoverError {
        from: path.display().to_string(),
        reason: format!("it cannot be read: {reason}"),
        help: "give the path of a Compose file, a Kamal `deploy.yml` or a Copilot `manifest.yml`, \
               or - for the standard input"
            .to_owned(),
    }
    .into()
}

/// Whoever gets a proposal can read it with `shipit validate`.
fn is_valid(files: &Files) -> Result<(), Error> {
    let failed = |what: &str, source: std::io::Error| StoreError::Io {
        what: what.to_owned(),
        source,
    };
    let folder = files::temporary::folder().map_err(|error| failed("making a folder", error))?;
    put(folder.path(), files)?;
    match config::load(folder.path()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Usage {
            what: format!("what is proposed is no configuration: {error}"),
            help: "that is a fault of shipit's: report it with the source, without what is secret \
                   in it"
                .to_owned(),
        }),
    }
}

/// Writes a proposal into a folder that is made for it. What is there is never written over.
pub fn write(out: &Path, files: &Files) -> Result<Vec<PathBuf>, Error> {
    let folder = out.to_path_buf();
    let failed = |source: std::io::Error| StoreError::Io {
        what: format!("making the folder {}", out.display()),
        source,
    };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match fs::create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Usage {
                what: format!("{} is there already; nothing was written", out.display()),
                help: "name a new folder with --out; without it the proposal is printed".to_owned(),
            });
        }
        Err(error) => return Err(failed(error).into()),
    }
    put(&folder, files)?;
    Ok(files.iter().map(|(path, _)| out.join(path)).collect())
}

fn put(folder: &Path, files: &Files) -> Result<(), Error> {
    for (path, text) in files {
        let path = folder.join(path);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| files::replace(&path, text.as_bytes()));
        written.map_err(|source| StoreError::Io {
            what: format!("writing {}", path.display()),
            source,
        })?;
    }
    Ok(())
}
