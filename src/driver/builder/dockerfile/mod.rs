//! The builder for Dockerfiles: `docker` or `buildah` follows it, and the image comes out of it layer by layer.
//!
//! The tool gets an archive with exactly the files that were counted, and a Dockerfile whose images are named by the
//! digests that the plan saw. What it made is read back and written as every other image here: the same annotations,
//! layers that a base has already are the base's own, and fixed times where the tool put the clock's. [`text`] reads
//! the Dockerfile, [`ignore`] and [`context`] list what it may copy, [`unpack`] reads what the tool made.

mod context;
mod ignore;
mod text;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::driver::builder::dockerfile::text::Text;
use crate::driver::builder::files::{clean, hash_all};
use crate::driver::builder::{blocking, command, image, io, misplaced, unmoved};
use crate::model::build::{BuildSpec, DockerfileSpec, Inputs, Tool, an_hour};
use crate::model::{ContentHash, Digest};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::registry::{Bases, BuiltImage};
use crate::port::{Builder, Progress};

/// The largest Dockerfile.
const LIMIT: u64 = 1 << 20;

/// The builder.
#[derive(Debug, Default, Clone, Copy)]
pub struct Dockerfile;

fn dockerfile(spec: &BuildSpec) -> Result<&DockerfileSpec, BuildError> {
    match spec {
        BuildSpec::Dockerfile(spec) => Ok(spec),
        BuildSpec::Pack(_) => Err(misplaced()),
    }
}

fn read(root: &Path, spec: &DockerfileSpec) -> Result<Text, BuildError> {
    let path = root.join(&spec.context).join(&spec.dockerfile);
    let size = std::fs::metadata(&path).map_err(io("reading", &path))?.len();
    if size > LIMIT {
        let reason = format!("{} has {size} bytes: no Dockerfile is that large", path.display());
        return Err(BuildError::Invalid { reason });
    }
    let text = std::fs::read_to_string(&path).map_err(io("reading", &path))?;
    let shown = clean(&spec.context.join(&spec.dockerfile));
    Text::parse(&text, &shown, &spec.args)
}

#[async_trait]
impl Builder for Dockerfile {
    async fn bases(&self, root: &Path, spec: &BuildSpec) -> Result<Vec<String>, BuildError> {
        let text = read(root, dockerfile(spec)?)?;
        let names: BTreeSet<String> = text.externals.into_iter().map(|external| external.name).collect();
        Ok(names.into_iter().collect())
    }

    async fn inputs(&self, root: &Path, spec: &BuildSpec, bases: &Bases) -> Result<Inputs, BuildError> {
        let spec = dockerfile(spec)?;
        inputs(root, spec, &read(root, spec)?, bases).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        let spec = dockerfile(&request.spec)?.clone();
        let text = read(&request.root, &spec)?;
        unmoved(request, &inputs(&request.root, &spec, &text, &request.bases).await?)?;
        let folder = tempfile::tempdir().map_err(io("making", Path::new("a temporary folder")))?;
        let pinned = text.pinned(&request.bases);
        let (root, sent, archive) = (request.root.clone(), spec.clone(), folder.path().join("context.tar"));
        let name = blocking(move || context::archive(&root, &sent, &pinned, &archive)).await?;
        let built = build(request, &spec, &name, folder.path(), progress, cancel).await;
        let id = built.map_err(|error| explained(error, &text, &spec))?;
        let export = save(spec.tool, &id, folder.path());
        let export = command::Line { vector: &export, folder: folder.path(), env: &BTreeMap::new() };
        command::run(&export, an_hour(), progress, cancel).await?;
        let request = request.clone();
        blocking(move || finish(&request, &text, folder)).await
    }
}

/// What a build depends on, with the Dockerfile that was read.
async fn inputs(
    root: &Path,
    spec: &DockerfileSpec,
    text: &Text,
    bases: &Bases,
) -> Result<Inputs, BuildError> {
    let mut digests = BTreeMap::new();
    for external in &text.externals {
        let digest = match bases.get(&external.name) {
            Some(base) => base.digest.clone(),
            None => local(spec.tool, &external.name).await?,
        };
        digests.insert(external.name.clone(), digest);
    }
    let (root, spec, whole) = (root.to_path_buf(), spec.clone(), text.whole.clone());
    blocking(move || {
        let paths = context::list(&root, &spec)?;
        let files = hash_all(&root.join(&spec.context), &paths)?;
        let secrets: Vec<&String> = spec.secrets.keys().collect();
        let what = (
            (spec.tool, &spec.dockerfile, &spec.target, &spec.args, &spec.labels),
            (secrets, &whole, &digests, &files, std::env::consts::ARCH),
        );
        Ok(Inputs { hash: ContentHash::of_json(&what), files, bases: digests })
    })
    .await
}

/// Where the last stage starts from, when that is an image that was found; and what it is called.
fn base<'a>(text: &'a Text, bases: &'a Bases) -> Option<(&'a str, &'a Digest)> {
    let last = text.externals.iter().filter(|external| external.stage.is_some()).max_by_key(|it| it.stage)?;
    bases.get(&last.name).map(|base| (last.name.as_str(), &base.digest))
}

fn finish(request: &BuildRequest, text: &Text, folder: TempDir) -> Result<BuiltImage, BuildError> {
    let made = unpack::read(folder.path(), &request.bases, &image::created(request))?;
    let mut annotations = image::annotations(request);
    if let Some((name, digest)) = base(text, &request.bases) {
        image::annotate_base(&mut annotations, name, digest);
    }
    image::assemble(&made.config, made.layers, &annotations, folder)
}

/// Lets the tool build; gives the image's id.
async fn build(
    request: &BuildRequest,
    spec: &DockerfileSpec,
    name: &str,
    folder: &Path,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<String, BuildError> {
    let secrets = Secrets::write(request)?;
    let mut vector = words(spec, name, folder);
    for (id, file) in &secrets.files {
        vector.extend(["--secret".to_owned(), format!("id={id},src={}", file.display())]);
    }
    let archive = folder.join("context.tar");
    let mut stdin = Stdio::null();
    let context = match spec.tool {
        Tool::Docker => {
            stdin = std::fs::File::open(&archive).map_err(io("reading", &archive))?.into();
            "-".to_owned()
        }
        Tool::Buildah => {
            let context = folder.join("context");
            let (from, to) = (archive.clone(), context.clone());
            blocking(move || unpack::all(&from, &to)).await?;
            context.display().to_string()
        }
    };
    vector.push(context);
    let env = match spec.tool {
        Tool::Docker => BTreeMap::from([("DOCKER_BUILDKIT".to_owned(), buildkit(spec).await?)]),
        Tool::Buildah => BTreeMap::new(),
    };
    let line = command::Line { vector: &vector, folder, env: &env };
    command::run_with(&line, stdin, spec.within, progress, cancel).await?;
    let file = folder.join("id");
    Ok(std::fs::read_to_string(&file).map_err(io("reading", &file))?.trim().to_owned())
}

fn words(spec: &DockerfileSpec, name: &str, folder: &Path) -> Vec<String> {
    let mut words: Vec<String> = vec![spec.tool.command().to_owned(), "build".to_owned()];
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("--iidfile", folder.join("id").display().to_string());
    match spec.tool {
        Tool::Docker => add("--file", name.to_owned()),
        Tool::Buildah => {
            add("--file", folder.join("context").join(name).display().to_string());
            add("--timestamp", context::TIME.to_string());
        }
    }
    if let Some(target) = &spec.target {
        add("--target", target.clone());
    }
    for (name, value) in &spec.args {
        add("--build-arg", format!("{name}={value}"));
    }
    for (name, value) in &spec.labels {
        add("--label", format!("{name}={value}"));
    }
    for image in &spec.cache_from {
        add("--cache-from", image.clone());
    }
    if spec.tool == Tool::Buildah {
        words.push("--layers".to_owned());
    }
    words
}

/// Whether Docker's command can build by BuildKit: since version 23 that is a plugin, which may not be there.
async fn buildkit(spec: &DockerfileSpec) -> Result<String, BuildError> {
    let version = asked(spec.tool, &["version", "--format", "{{.Client.Version}}"]).await?;
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let there = major < 23 || asked(spec.tool, &["buildx", "version"]).await.is_ok();
    if !there && !spec.secrets.is_empty() {
        let reason =
            "secrets need BuildKit, and Docker's plugin for it is not there: install `docker-buildx`";
        return Err(BuildError::Invalid { reason: reason.to_owned() });
    }
    Ok(u8::from(there).to_string())
}

fn save(tool: Tool, id: &str, folder: &Path) -> Vec<String> {
    let file = folder.join(unpack::ARCHIVE).display().to_string();
    let words: Vec<String> = match tool {
        Tool::Docker => vec!["docker".into(), "save".into(), "--output".into(), file, id.into()],
        Tool::Buildah => vec!["buildah".into(), "push".into(), id.into(), format!("docker-archive:{file}")],
    };
    words
}

/// An image that no registry has may be one that the tool made itself.
async fn local(tool: Tool, name: &str) -> Result<Digest, BuildError> {
    let looked = || format!("neither in its registry, if that answers, nor with {}", tool.command());
    let missing = || BuildError::NoBase { reference: name.to_owned(), looked: looked() };
    let id = match tool {
        Tool::Docker => asked(tool, &["image", "inspect", "--format", "{{.Id}}", name]).await,
        Tool::Buildah => {
            asked(tool, &["inspect", "--type", "image", "--format", "{{.FromImageID}}", name]).await
        }
    };
    let id = id.map_err(|_| missing())?;
    let id = if id.starts_with("sha256:") { id } else { format!("sha256:{id}") };
    id.parse().map_err(|_| missing())
}

/// What a tool answers to a question.
async fn asked(tool: Tool, words: &[&str]) -> Result<String, BuildError> {
    let shown = || format!("{} {}", tool.command(), words.join(" "));
    let output = Command::new(tool.command()).args(words).stdin(Stdio::null()).kill_on_drop(true).output();
    let limit = std::time::Duration::from_secs(30);
    let late = |_| BuildError::Invalid { reason: format!("`{}` gave no answer in {limit:?}", shown()) };
    let output = tokio::time::timeout(limit, output).await.map_err(late)?;
    let output = output.map_err(|source| BuildError::Start { command: shown(), source })?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
        return Err(BuildError::Command { command: shown(), status: output.status.to_string(), log });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// With the Dockerfile's line, where the output tells it.
fn explained(error: BuildError, text: &Text, spec: &DockerfileSpec) -> BuildError {
    let BuildError::Command { command, status, mut log } = error else { return error };
    if let Some((line, step)) = text.failed_step(&log) {
        log.push(format!("{}:{line}: {step}", clean(&spec.context.join(&spec.dockerfile)).display()));
    }
    BuildError::Command { command, status, log }
}

/// Secrets in files of their own, for as long as the build lasts; in memory where the machine has a place for it.
struct Secrets {
    files: BTreeMap<String, std::path::PathBuf>,
    _folder: Option<TempDir>,
}

impl Secrets {
    fn write(request: &BuildRequest) -> Result<Self, BuildError> {
        if request.secrets.is_empty() {
            return Ok(Self { files: BTreeMap::new(), _folder: None });
        }
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = made.map_err(io("making a folder in", memory))?;
        let mut files = BTreeMap::new();
        for (number, (id, value)) in request.secrets.iter().enumerate() {
            let path = folder.path().join(number.to_string());
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(value.expose().as_bytes()))
                .map_err(io("writing", &path))?;
            files.insert(id.clone(), path);
        }
        Ok(Self { files, _folder: Some(folder) })
    }
}
