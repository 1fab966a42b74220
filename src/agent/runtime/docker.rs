//! The runtime `docker`: a container of the Docker Engine for each instance.
//!
//! The engine listens on this machine only: a free port of loopback leads to the port that the
//! service listens on inside. Images are fetched by digest and named `shipit.local/AGENT:DIGEST`,
//! so that the next start needs no registry. AGENT is of the agent's folder: two agents of one
//! engine do not take each other's names away. Containers carry the labels that objects of a
//! cluster carry, and the folder of the agent that made them: what a dead agent left and nobody
//! takes back is removed by the next one.

mod body;
mod container;
mod exec;
mod streams;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ImportImageOptionsBuilder,
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions,
    StartContainerOptions, TagImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio::sync::OnceCell;
use tokio_util::io::ReaderStream;

use crate::agent::Directory;
use crate::agent::engine::record::ProcessRecord;
use crate::agent::identity;
use crate::agent::rootfs::ImageMeta;
use crate::agent::runtime::attached::{Attach, Attached};
use crate::agent::runtime::docker::body::body;
use crate::agent::runtime::docker::container::{DockerContainer, follow, remove};
use crate::agent::runtime::{Launch, Running, Runtime};
use crate::agent::trouble::Trouble;
use crate::files::login::{self, Credentials, Places};
use crate::files::process::started;
use crate::model::command::CommandPlace;
use crate::model::{Digest, chain};
use crate::port::engine::Pull;

/// How long the engine may take for one answer.
const ANSWER: u64 = 60;
/// How long its first answer may take.
const FIRST: Duration = Duration::from_secs(8);
/// How long an image may take to arrive.
const FETCH: Duration = Duration::from_mins(30);
/// How long an image that was fetched and is not used yet is kept.
const SOON: Duration = Duration::from_hours(1);
/// Which agent made a container.
const AGENT: &str = "shipit.dev/agent";

/// The label that says the folder of that agent, for people.
const FOLDER: &str = "shipit.dev/agent-directory";

/// The label that says the name that a container was made with.
const NAME: &str = "shipit.dev/container";

/// The runtime.
#[derive(Default)]
pub struct DockerRuntime {
    engine: OnceCell<Docker>,
    /// When images were asked for: one that was asked for a moment ago is about to be used.
    prepared: Mutex<HashMap<Digest, Instant>>,
}

fn said(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => chain(other),
    }
}

fn failed(what: &str, error: &Error) -> io::Error {
    io::Error::other(format!("{what}: {}", said(error)))
}

/// An engine that does not answer, or has trouble of its own, says nothing about a container. A
/// port that somebody took meanwhile is this machine's matter.
fn trouble(what: &str, error: &Error) -> Trouble {
    let reason = format!("{what}: {}", said(error));
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } if *status_code < 500 || !is_local(message) => Trouble::Instance(reason),
        _ => Trouble::Local(reason),
    }
}

/// What the engine's own server errors say when the machine lacks something: it has no codes for
/// it.
fn is_local(message: &str) -> bool {
    [
        "port is already allocated",
        "address already in use",
        "too many open files",
        "no space left on device",
        "cannot allocate memory",
        "resource temporarily unavailable",
        "context deadline exceeded",
    ]
    .iter()
    .any(|lack| message.to_ascii_lowercase().contains(lack))
}

fn no_answer(error: &io::Error) -> Trouble {
    Trouble::Local(error.to_string())
}

fn is_gone(error: &Error) -> bool {
    matches!(
        error,
        Error::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

/// The name by which an agent's image is known to the engine from then on.
pub(in crate::agent) fn local_name(directory: &Directory, image: &Digest) -> String {
    format!("{}:{}", local_repository(directory), image.hex())
}

/// The repository of all names that an agent gives.
fn local_repository(directory: &Directory) -> String {
    format!("shipit.local/{}", identity::of(directory.path()))
}

impl DockerRuntime {
    async fn engine(&self) -> io::Result<&Docker> {
        let connect = async {
            let help = "is it running, and may this user speak to it? DOCKER_HOST says where it is";
            let lost = |error: Error| {
                io::Error::other(format!("Docker does not answer: {} ({help})", said(&error)))
            };
            let docker = Docker::connect_with_defaults().map_err(lost)?;
            let docker = docker.with_timeout(Duration::from_secs(ANSWER));
            let silent = |_| {
                let seconds = FIRST.as_secs();
                io::Error::other(format!(
                    "Docker does not answer: connected, no answer within {seconds} s ({help})"
                ))
            };
            let first = tokio::time::timeout(FIRST, docker.negotiate_version()).await;
            first.map_err(silent)?.map_err(lost)
        };
        self.engine.get_or_try_init(|| connect).await
    }

    /// Makes a container and starts it.
    async fn begin(
        &self,
        docker: &Docker,
        name: &str,
        launch: &Launch,
    ) -> Result<Box<dyn Running>, Trouble> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = docker.create_container(Some(options), body(launch)).await;
        made.map_err(|error| trouble("making the container", &error))?;
        let begun = docker
            .start_container(name, None::<StartContainerOptions>)
            .await;
        begun.map_err(|error| trouble("starting the container", &error))?;
        match self.running(name, &launch.log, 0).await? {
            Some(running) => Ok(running),
            // It has ended already; how, and its last words, are told as of any other.
            None => Ok(Box::new(DockerContainer {
                docker: docker.clone(),
                name: name.to_owned(),
                pid: 0,
                ticks: 0,
                log: Some(follow(docker.clone(), name.to_owned(), &launch.log, 0)?),
                reason: None,
                is_removed: false,
            })),
        }
    }

    /// Takes a container that runs back.
    async fn running(
        &self,
        name: &str,
        log: &Path,
        since: i64,
    ) -> Result<Option<Box<dyn Running>>, Trouble> {
        let docker = self.engine().await.map_err(|error| no_answer(&error))?;
        let found = match docker.inspect_container(name, None).await {
            Ok(found) => found,
            Err(error) if is_gone(&error) => return Ok(None),
            // Whatever it is, the container may run.
            Err(error) => return Err(no_answer(&failed("looking at the container", &error))),
        };

        let state = found.state.unwrap_or_default();
        if state.status != Some(ContainerStateStatusEnum::RUNNING) {
            return Ok(None);
        }
        let pid = state
            .pid
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_default();
        Ok(Some(Box::new(DockerContainer {
            docker: docker.clone(),
            name: name.to_owned(),
            pid,
            ticks: started(pid).unwrap_or_default(),
            log: Some(follow(docker.clone(), name.to_owned(), log, since)?),
            reason: None,
            is_removed: false,
        })))
    }

    async fn has(&self, name: &str) -> io::Result<bool> {
        match self.engine().await?.inspect_image(name).await {
            Ok(_) => Ok(true),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(failed("looking for the image", &error)),
        }
    }

    async fn tag(&self, from: &str, directory: &Directory, image: &Digest) -> io::Result<()> {
        let options = TagImageOptionsBuilder::default()
            .repo(&local_repository(directory))
            .tag(image.hex())
            .build();
        let tagged = self.engine().await?.tag_image(from, Some(options)).await;
        tagged.map_err(|error| failed("naming the image", &error))
    }

    async fn pull(
        &self,
        directory: &Directory,
        repository: &str,
        image: &Digest,
    ) -> io::Result<()> {
        let reference = format!("{repository}@{image}");
        let credentials = credentials(repository).await;
        let options = CreateImageOptionsBuilder::default()
            .from_image(&reference)
            .build();
        let mut said = self
            .engine()
            .await?
            .create_image(Some(options), None, credentials);
        while let Some(line) = said.next().await {
            line.map_err(|error| failed(&format!("pulling {reference}"), &error))?;
        }
        self.tag(&reference, directory, image).await
    }

    /// Gives the engine an image of a layout, in the form that `docker load` reads.
    async fn load(&self, directory: &Directory, layout: &Path, image: &Digest) -> io::Result<()> {
        let (layout, image, folder) = (layout.to_owned(), image.clone(), directory.images());
        let name = local_name(directory, &image);
        let packed = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            let mut file = tempfile::tempfile_in(&folder)?;
            crate::agent::rootfs::archive(&layout, &image, &name, &mut file)
                .map_err(io::Error::other)?;
            io::Seek::rewind(&mut file)?;
            Ok::<_, io::Error>(file)
        });

        let file = packed.await.map_err(io::Error::other)??;
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10);
        let docker = self.engine().await?;
        let options = ImportImageOptionsBuilder::default().build();
        let mut said = docker.import_image_stream(options, stream, None);
        while let Some(line) = said.next().await {
            line.map_err(|error| failed("loading the image", &error))?;
        }
        Ok(())
    }
}

/// What `docker login` wrote for a repository's registry.
async fn credentials(repository: &str) -> Option<DockerCredentials> {
    let places = Places::of_environment();
    let (registry, rest) = repository.split_once('/').unwrap_or((repository, ""));
    let found = login::find(&places, &login::scope(&places, registry, rest)).await;
    found.credentials.map(|credentials| match credentials {
        Credentials::Password { user, password } => DockerCredentials {
            username: Some(user),
            password: Some(password),
            ..Default::default()
        },
        Credentials::Identity(token) => DockerCredentials {
            identitytoken: Some(token),
            ..Default::default()
        },
        Credentials::Token(token) => DockerCredentials {
            registrytoken: Some(token),
            ..Default::default()
        },
    })
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn prepare(
        &self,
        directory: &Directory,
        pull: &Pull,
        image: &Digest,
    ) -> io::Result<ImageMeta> {
        self.prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(image.clone(), Instant::now());
        if !self.has(&local_name(directory, image)).await? {
            let fetch = async {
                match pull {
                    Pull::Repository(repository) => self.pull(directory, repository, image).await,
                    Pull::Layout(layout) => self.load(directory, layout, image).await,
                }
            };
            let late = |_| io::Error::other(format!("the image did not arrive within {FETCH:?}"));
            tokio::time::timeout(FETCH, fetch).await.map_err(late)??;
        }

        Ok(ImageMeta::default())
    }

    fn meta(&self, _: &Directory, _: &Digest) -> Result<ImageMeta, String> {
        Ok(ImageMeta::default())
    }

    async fn start(&self, launch: &Launch) -> Result<Box<dyn Running>, Trouble> {
        let docker = self.engine().await.map_err(|error| no_answer(&error))?;
        let name = launch
            .contained
            .as_ref()
            .map(|contained| contained.name.clone())
            .unwrap_or_default();
        let begun = self.begin(docker, &name, launch).await;
        if begun.is_err() {
            // The engine may have done what it did not answer: another try has another name.
            remove(docker, &name).await;
        }
        begun
    }

    async fn adopt(
        &self,
        _: &Directory,
        record: &ProcessRecord,
        log: &Path,
    ) -> Result<Option<Box<dyn Running>>, Trouble> {
        let Some(name) = &record.container else {
            return Ok(None);
        };
        let modified = std::fs::metadata(log).and_then(|meta| meta.modified()).ok();
        let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .unwrap_or(0);
        self.running(name, log, since).await
    }

    async fn exec(&self, launch: &Launch, command: &[String], _: Duration) -> Result<(), Trouble> {
        let name = launch
            .contained
            .as_ref()
            .map(|contained| contained.name.clone())
            .unwrap_or_default();
        let docker = self.engine().await.map_err(|error| no_answer(&error))?;
        exec::run(docker, &name, command).await
    }

    async fn attach(&self, launch: &Launch, attach: &Attach) -> Result<Attached, Trouble> {
        let docker = self.engine().await.map_err(|error| no_answer(&error))?;
        match attach.place {
            CommandPlace::Instance => streams::inside(docker, launch, attach).await,
            CommandPlace::OneOff => streams::alone(docker, launch, attach).await,
        }
    }

    async fn remove_strays(&self, agent: &str, known: &[String]) {
        let Ok(docker) = self.engine().await else {
            return;
        };

        let agent = identity::of(Path::new(agent));
        let filters = HashMap::from([("label", vec![format!("{AGENT}={agent}")])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        for found in docker
            .list_containers(Some(options))
            .await
            .unwrap_or_default()
        {
            let names = found.names.unwrap_or_default();
            let mut names = names.iter().map(|name| name.trim_start_matches('/'));
            let labels = found.labels.unwrap_or_default();
            // An image that somebody makes of a container has its labels, and what is started
            // from that is theirs.
            let made = labels.get(NAME);
            let made = made.filter(|made| names.any(|name| name == *made));
            let is_stray = made.is_some_and(|made| !known.contains(made));
            if let (true, Some(id)) = (is_stray, found.id) {
                remove(docker, &id).await;
            }
        }
    }

    async fn sweep(&self, directory: &Directory, used: &[Digest]) {
        let local = local_repository(directory);
        let Ok(docker) = self.engine().await else {
            return;
        };

        let filters = HashMap::from([("reference", vec![local.as_str()])]);
        let options = ListImagesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let images = docker.list_images(Some(options)).await.unwrap_or_default();
        let names = images.into_iter().flat_map(|image| image.repo_tags);
        let kept: Vec<String> = {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.retain(|_, since| since.elapsed() < SOON);
            let kept = used.iter().chain(prepared.keys());
            kept.map(|image| format!("{local}:{}", image.hex()))
                .collect()
        };
        // One image may have other names, too, which are somebody else's.
        let ours = |name: &String| {
            name.rsplit_once(':')
                .is_some_and(|(repository, _)| repository == local)
        };
        for name in names.filter(ours) {
            if !kept.contains(&name) {
                let _ = docker
                    .remove_image(&name, None::<RemoveImageOptions>, None)
                    .await;
            }
        }
    }
}
