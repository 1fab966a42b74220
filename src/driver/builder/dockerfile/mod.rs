//! The builder for Dockerfiles: `docker` or `buildah` follows it, and the image comes out of it
//! layer by layer.
//!
//! The tool gets an archive with exactly the files that were counted, and a Dockerfile whose images
//! are named by the digests that the plan saw. What it made is read back and written as every other
//! image here: the same annotations, layers that a base has already are the base's own, and fixed
//! times where the tool put the clock's. [`text`] reads the Dockerfile, [`ignore`] and [`context`]
//! list what it may copy, [`unpack`] reads what the tool made.

mod context;
mod ignore;
mod secrets;
mod text;
mod tool;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::driver::builder::dockerfile::secrets::Secrets;
use crate::driver::builder::dockerfile::text::Text;
use crate::driver::builder::dockerfile::tool::{buildkit, local, needs_buildkit, save};
use crate::driver::builder::files::{self, clean, hash_all};
use crate::driver::builder::{blocking, command, image, io, misplaced, unmoved};
use crate::model::build::{BuildSpec, DockerfileSpec, Inputs, Tool, an_hour};
use crate::model::{ContentHash, Platform};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::registry::{BaseImages, Bases, Built, BuiltImage, asked};
use crate::port::{Builder, Progress};

/// What tools say when a step's program is not one for this machine.
const FOREIGN: [&str; 2] = ["exec format error", "runtime execution on platform"];

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
    let path = spec.context.join(&spec.dockerfile);
    let missing = || io("reading", &root.join(&path))(std::io::ErrorKind::NotFound.into());
    let text = files::text(root, &path, LIMIT)?.ok_or_else(missing)?;
    let shown = clean(&path);
    Text::parse(&text, &shown, &spec.args)
}

#[async_trait]
impl Builder for Dockerfile {
    async fn bases(&self, root: &Path, spec: &BuildSpec) -> Result<Vec<String>, BuildError> {
        let text = read(root, dockerfile(spec)?)?;
        let names: BTreeSet<String> = text
            .externals
            .into_iter()
            .map(|external| external.name)
            .collect();
        Ok(names.into_iter().collect())
    }

    async fn inputs(
        &self,
        root: &Path,
        spec: &BuildSpec,
        bases: &Bases,
    ) -> Result<Inputs, BuildError> {
        let spec = dockerfile(spec)?;
        inputs(root, spec, &read(root, spec)?, bases).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Built, BuildError> {
        let spec = dockerfile(&request.spec)?;
        let text = read(&request.root, spec)?;
        unmoved(
            request,
            &inputs(&request.root, spec, &text, &request.bases).await?,
        )?;
        let sent = Sent::prepare(request, spec, &text).await?;
        let mut images = Vec::new();
        for platform in asked(&spec.platforms) {
            if !spec.platforms.is_empty() {
                progress(&format!("for {platform}:"));
            }
            let folder = crate::files::temporary::folder()
                .map_err(io("making", Path::new("a temporary folder")))?;
            let built = build(
                request,
                spec,
                &sent,
                &platform,
                folder.path(),
                progress,
                cancel,
            )
            .await;
            let id = built.map_err(|error| explained(error, &text, spec, &platform))?;
            let export = save(spec.tool, &id, folder.path());
            let export = command::Line {
                vector: &export,
                folder: folder.path(),
                env: &BTreeMap::new(),
            };
            command::run(&export, an_hour(), progress, cancel).await?;
            let (request, text, wanted) = (request.clone(), text.clone(), platform.clone());
            let image = blocking(move || finish(&request, &text, &wanted, folder)).await?;
            images.push((platform, image));
        }

        let mut annotations = image::annotations(request);
        if let Some((name, base)) = base(&text, spec, &request.bases) {
            image::annotate_base(&mut annotations, name, &base.digest);
        }
        Ok(image::whole(request, images, &annotations))
    }
}

/// What the tool gets: the context, and the name that the Dockerfile has in it.
struct Sent {
    folder: TempDir,
    name: String,
}

impl Sent {
    async fn prepare(
        request: &BuildRequest,
        spec: &DockerfileSpec,
        text: &Text,
    ) -> Result<Self, BuildError> {
        let folder = crate::files::temporary::folder()
            .map_err(io("making", Path::new("a temporary folder")))?;
        let pinned = text.pinned(&request.bases);
        let (root, spec) = (request.root.clone(), spec.clone());
        blocking(move || {
            let archive = folder.path().join("context.tar");
            let name = context::archive(&root, &spec, &pinned, &archive)?;
            if spec.tool == Tool::Buildah {
                unpack::all(&archive, &folder.path().join("context"))?;
            }
            Ok(Self { folder, name })
        })
        .await
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("context.tar")
    }

    fn context(&self) -> PathBuf {
        self.folder.path().join("context")
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

    if !spec.platforms.is_empty() {
        for_platforms(spec, text, bases).await?;
    }
    let (root, spec, whole) = (root.to_path_buf(), spec.clone(), text.whole.clone());
    blocking(move || {
        let paths = context::list(&root, &spec)?;
        let files = hash_all(&root.join(&spec.context), &paths)?;
        let secrets: Vec<&String> = spec.secrets.keys().collect();
        let what = (
            (
                spec.tool,
                &spec.dockerfile,
                &spec.target,
                &spec.args,
                &spec.labels,
            ),
            (secrets, &whole, &digests, &files, std::env::consts::ARCH),
        );
        let hash = if spec.platforms.is_empty() {
            ContentHash::of_json(&what)
        } else {
            ContentHash::of_json(&(what, &spec.platforms))
        };
        Ok(Inputs {
            hash,
            files,
            bases: digests,
        })
    })
    .await
}

/// Whether the image can be made for every platform that is named, as far as that is known
/// beforehand.
async fn for_platforms(
    spec: &DockerfileSpec,
    text: &Text,
    bases: &Bases,
) -> Result<(), BuildError> {
    if spec.tool == Tool::Docker && !buildkit(spec).await? {
        return Err(needs_buildkit("`platforms`"));
    }
    let Some((name, found)) = base(text, spec, bases) else {
        return Ok(());
    };
    let lacks = spec
        .platforms
        .iter()
        .find(|platform| !found.images.contains_key(platform));
    lacks.map_or(Ok(()), |platform| Err(image::no_base_for(name, platform)))
}

/// Where the image starts from, when that is an image that was found for the platform that is built
/// for; and what it is called.
fn base<'a>(
    text: &'a Text,
    spec: &DockerfileSpec,
    bases: &'a Bases,
) -> Option<(&'a str, &'a BaseImages)> {
    let external = text.base(spec.target.as_deref())?;
    bases
        .get(&external.name)
        .map(|base| (external.name.as_str(), base))
}

fn finish(
    request: &BuildRequest,
    text: &Text,
    platform: &Platform,
    folder: TempDir,
) -> Result<BuiltImage, BuildError> {
    let spec = dockerfile(&request.spec)?;
    let bases = request
        .bases
        .values()
        .filter_map(|base| base.images.get(platform));
    let mut made = unpack::read(
        folder.path(),
        &bases.collect::<Vec<_>>(),
        &image::created(request),
    )?;
    if !spec.platforms.is_empty() {
        // buildah takes cached layers of `FROM scratch` from a build for another platform, with
        // what they say of it.
        if text.base(spec.target.as_deref()).is_none() {
            image::set_platform(&mut made.config, platform);
        }
        must_be_for(platform, &made.config)?;
    }

    let mut annotations = image::annotations(request);
    if let Some((name, base)) = base(text, spec, &request.bases)
        && let Some(base) = base.images.get(platform)
    {
        image::annotate_base(&mut annotations, name, &base.digest);
    }
    image::assemble(&made.config, made.layers, &annotations, folder)
}

/// A base that is for one platform only makes an image for that one, whatever the tool was asked
/// for.
fn must_be_for(platform: &Platform, config: &Value) -> Result<(), BuildError> {
    let says = |key: &str| config[key].as_str().unwrap_or_default();
    let made = Platform::new(says("os"), says("architecture"), config["variant"].as_str());
    if made == *platform {
        return Ok(());
    }
    let help = "look at what its `FROM` names, and at the `--platform` there";
    let reason = format!("the image that was made for {platform} is one for {made}: {help}");
    Err(BuildError::Invalid { reason })
}

/// Lets the tool build; gives the image's id.
async fn build(
    request: &BuildRequest,
    spec: &DockerfileSpec,
    sent: &Sent,
    platform: &Platform,
    folder: &Path,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<String, BuildError> {
    let secrets = Secrets::write(request)?;
    let mut vector = words(spec, sent, platform, folder);
    for (id, file) in &secrets.files {
        vector.extend([
            "--secret".to_owned(),
            format!("id={id},src={}", file.display()),
        ]);
    }

    let mut stdin = Stdio::null();
    let mut env = BTreeMap::new();
    match spec.tool {
        Tool::Docker => {
            let archive = sent.archive();
            stdin = std::fs::File::open(&archive)
                .map_err(io("reading", &archive))?
                .into();
            vector.push("-".to_owned());
            let buildkit = buildkit(spec).await?;
            if !buildkit && !spec.secrets.is_empty() {
                return Err(needs_buildkit("secrets"));
            }
            env.insert("DOCKER_BUILDKIT".to_owned(), u8::from(buildkit).to_string());
            // What says where an image comes from is attached by shipit, to the image that it
            // writes.
            env.insert("BUILDX_NO_DEFAULT_ATTESTATIONS".to_owned(), "1".to_owned());
        }
        Tool::Buildah => vector.push(sent.context().display().to_string()),
    }

    let line = command::Line {
        vector: &vector,
        folder,
        env: &env,
    };
    let progress = |line: &str| {
        if tells_something(line) {
            progress(line);
        }
    };
    command::run_with(&line, stdin, spec.within, &progress, cancel).await?;
    let file = folder.join("id");
    Ok(std::fs::read_to_string(&file)
        .map_err(io("reading", &file))?
        .trim()
        .to_owned())
}

/// BuildKit puts the hash of a step on a line of its own, and an empty line after each.
fn tells_something(line: &str) -> bool {
    let hash = line
        .strip_prefix('#')
        .and_then(|rest| rest.split_once(" sha256:"));
    let is_hash = hash.is_some_and(|(step, hash)| {
        step.chars().all(|c| c.is_ascii_digit()) && hash.chars().all(|c| c.is_ascii_hexdigit())
    });
    !line.trim().is_empty() && !is_hash
}

fn words(spec: &DockerfileSpec, sent: &Sent, platform: &Platform, folder: &Path) -> Vec<String> {
    let mut words: Vec<String> = vec![spec.tool.command().to_owned(), "build".to_owned()];
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("--iidfile", folder.join("id").display().to_string());
    match spec.tool {
        Tool::Docker => add("--file", sent.name.clone()),
        Tool::Buildah => {
            add(
                "--file",
                sent.context().join(&sent.name).display().to_string(),
            );
            add("--timestamp", context::TIME.to_string());
        }
    }

    if !spec.platforms.is_empty() {
        add("--platform", platform.to_string());
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
    for from in &spec.cache_from {
        add("--cache-from", from.clone());
    }
    if let Some(to) = &spec.cache_to {
        add("--cache-to", to.clone());
    }
    if spec.tool == Tool::Docker && !spec.cache_from.is_empty() {
        // The image itself tells other builds of its layers: BuildKit takes them from no other.
        add("--build-arg", "BUILDKIT_INLINE_CACHE=1".to_owned());
    }

    if spec.tool == Tool::Buildah {
        words.push("--layers".to_owned());
    }
    words
}

/// With the Dockerfile's line, where the output tells it.
fn explained(
    error: BuildError,
    text: &Text,
    spec: &DockerfileSpec,
    platform: &Platform,
) -> BuildError {
    let BuildError::Command {
        command,
        status,
        mut log,
    } = error
    else {
        return error;
    };
    if *platform != Platform::own()
        && log
            .iter()
            .any(|line| FOREIGN.iter().any(|said| line.contains(said)))
    {
        log.push(format!(
            "this machine does not run programs for {platform}: install `qemu-user-static` and \
             `binfmt-support`, build on a machine that does, or let a stage `FROM \
             --platform=$BUILDPLATFORM` make the files"
        ));
    }

    if let Some((line, step)) = text.failed_step(&log) {
        log.push(format!(
            "{}:{line}: {step}",
            clean(&spec.context.join(&spec.dockerfile)).display()
        ));
    }

    BuildError::Command {
        command,
        status,
        log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_build_are_its_steps_and_what_they_say() {
        for line in [
            "#4 [1/3] COPY a /a",
            "#4 CACHED",
            "#5 0.2 sha256:abc is what it says",
            "STEP 1/2: FROM scratch",
        ] {
            assert!(tells_something(line), "{line}");
        }
        for line in [
            "",
            "  ",
            "#4 sha256:c40d381007f78fc1e047e161269cce70377f0d43bc2714730b2e1d402e927d3c",
        ] {
            assert!(!tells_something(line), "{line}");
        }
    }
}
