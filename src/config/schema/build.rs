//! How an image is made: from files, or from a Dockerfile.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::findings::Findings;
use crate::config::kinds::by_kind;
use crate::config::schema::{EnvironmentConfig, ServiceConfig, Text};
use crate::config::suggest::suggest;
use crate::model::short::{self, Short};
use crate::model::{Period, Platform};

by_kind! {
    /// How an image is made.
    pub enum BuildConfig {
        /// Run a command, pack files. Needs nothing but shipit.
        "pack" => Pack(any: AnyBuild, pack: PackBuild),
        /// A Dockerfile, by Docker.
        "docker" => Docker(any: AnyBuild, dockerfile: DockerfileBuild),
        /// A Dockerfile, by buildah.
        "buildah" => Buildah(any: AnyBuild, dockerfile: DockerfileBuild, buildah: BuildahBuild),
    }
}

/// What every builder is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnyBuild {
    /// The folder whose files are the build's inputs, relative to the project's.
    #[serde(default = "here")]
    pub context: PathBuf,
    /// Labels of the image, templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    /// What images are made for: `[linux/amd64, linux/arm64]`. The result is an index with an image
    /// for each. Without it the result is one image, for the machine that builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// How long it may take, for each platform.
    #[serde(default = "crate::model::build::an_hour")]
    pub within: Period,
}

/// Files that a command makes, or that are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackBuild {
    /// Which files of the context are inputs, as globs; without it all that Git does not ignore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// The command that makes the files; it runs in the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Command>,
    /// What is copied: from a path in the context to an absolute path in the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copy: BTreeMap<PathBuf, PathBuf>,
    /// What lies below: `scratch`, or an image of the registry.
    #[serde(default = "scratch")]
    pub base: String,
    /// The argument vector that starts the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The user in numbers: `UID` or `UID:GID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Text>,
    /// Where the entrypoint starts, in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// Environment variables of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
}

/// A Dockerfile, whoever builds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DockerfileBuild {
    /// The Dockerfile, relative to the context; `Dockerfile` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<PathBuf>,
    /// The stage that is the image; the last one without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Build arguments, templates. Everybody who has the image can read them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Text>,
    /// Secrets of the environment that a `RUN --mount=type=secret,id=NAME` may read. They come into
    /// no layer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Where layers of other builds are found, templates. `docker`: images that were built with
    /// this key; `buildah`: repositories that `cache_to` has filled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<String>,
}

/// What only buildah is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BuildahBuild {
    /// The repository that layers are kept in for other builds, a template. Docker has no such key:
    /// it takes layers from images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_to: Option<String>,
}

fn here() -> PathBuf {
    ".".into()
}

fn scratch() -> String {
    "scratch".to_owned()
}

impl BuildConfig {
    /// What every builder is told.
    #[must_use]
    pub const fn any(&self) -> &AnyBuild {
        match self {
            Self::Pack(any, _) | Self::Docker(any, _) | Self::Buildah(any, ..) => any,
        }
    }

    pub(in crate::config) fn check(
        findings: &mut Findings<'_>,
        environment: &EnvironmentConfig,
        name: &str,
        service: &ServiceConfig,
    ) {
        let at = ["services", name, "build"];
        let Some(build) = &service.build else {
            return;
        };
        match build {
            Self::Pack(_, pack) => pack.check(findings, &at, !service.command.is_empty()),
            Self::Docker(_, dockerfile) => dockerfile.check(findings, &at, environment),
            Self::Buildah(_, dockerfile, buildah) => {
                dockerfile.check(findings, &at, environment);
                buildah.check(findings, &at, dockerfile);
            }
        }
    }
}

impl PackBuild {
    fn check(&self, findings: &mut Findings<'_>, at: &[&str], has_command: bool) {
        if self.copy.is_empty() {
            let help = "add `copy: {target/release/app: /app}`";
            findings.add(at, "nothing is copied into the image", help);
        }
        let is_started = !self.entrypoint.is_empty() || has_command;
        if !is_started && self.base == "scratch" {
            let message = "nothing says how the service is started";
            findings.add(at, message, "add `entrypoint: [/app]`");
        }
        if self.entrypoint.first().is_some_and(String::is_empty) {
            let message = "the program has no name";
            findings.add(
                &[at, &["entrypoint"]].concat(),
                message,
                "write `entrypoint: [/app]`",
            );
        }
        for glob in &self.inputs {
            if let Err(error) = globset::Glob::new(glob) {
                let message = format!("`{glob}` is not a glob: {}", error.kind());
                let help = "write a path, or a pattern as `src/**`";
                findings.add(&[at, &["inputs"]].concat(), message, help);
            }
        }
        self.check_user(findings, at);
        self.check_copy(findings, at);
    }

    fn check_user(&self, findings: &mut Findings<'_>, at: &[&str]) {
        let Some(Text(user)) = &self.user else {
            return;
        };
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        if [uid, gid]
            .iter()
            .any(|number| number.parse::<u32>().is_err())
        {
            findings.add(
                &[at, &["user"]].concat(),
                format!("`{user}` is not a user in numbers"),
                "write `65532`, or `65532:65532`: the image has no list of names",
            );
        }
    }

    fn check_copy(&self, findings: &mut Findings<'_>, at: &[&str]) {
        for (from, to) in &self.copy {
            if !is_below(from) {
                let shown = from.to_string_lossy();
                findings.add(
                    &[at, &["copy", &shown]].concat(),
                    "only what is in the context can be copied",
                    "write a path below it; `.` is all of it, and `build.context` names another \
                     folder",
                );
            }
            let is_plain = to.components().all(|part| part != Component::ParentDir);
            if !to.is_absolute() || !is_plain {
                let from = from.to_string_lossy();
                findings.add(
                    &[at, &["copy", &from]].concat(),
                    format!("{} is not an absolute path in the image", to.display()),
                    "a path in the image starts with `/` and has no `..`",
                );
            }
        }
    }
}

/// Whether a path is one below a folder, or the folder itself.
fn is_below(path: &Path) -> bool {
    let mut depth = 0_usize;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !path.as_os_str().is_empty()
}

impl DockerfileBuild {
    fn check(&self, findings: &mut Findings<'_>, at: &[&str], environment: &EnvironmentConfig) {
        let known: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
        let unknown = |secret: &&String| !known.contains(&secret.as_str());
        for secret in self.secrets.iter().filter(unknown) {
            findings.add(
                &[at, &["secrets"]].concat(),
                format!("there is no secret `{secret}` in this environment"),
                suggest(secret, &known, "secrets"),
            );
        }
    }
}

impl BuildahBuild {
    /// Docker takes layers from images, buildah from repositories that it fills itself.
    fn check(&self, findings: &mut Findings<'_>, at: &[&str], dockerfile: &DockerfileBuild) {
        let from = dockerfile
            .cache_from
            .iter()
            .map(|from| ("cache_from", from));
        let to = self.cache_to.iter().map(|to| ("cache_to", to));
        for (key, place) in from.chain(to) {
            let last = place.rsplit('/').next().unwrap_or_default();
            if !last.contains("{{") && last.contains([':', '@']) {
                findings.add(
                    &[at, &[key]].concat(),
                    format!("`{place}` names an image, and buildah keeps layers in a repository"),
                    "write it without the tag: `registry.example.com/shop/cache`",
                );
            }
        }
    }
}

/// A command: a list is an argument vector, a text is split at blanks without a shell, and `{shell:
/// "…"}` is given to `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// Split at blanks.
    Line(String),
    /// As it is.
    Vector(Vec<String>),
    /// By a shell.
    Shell(Shell),
}

/// A command for `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    /// The command.
    pub shell: String,
}

impl Short for Command {
    type Long = Shell;

    const EXPECTED: &'static str = "a command: a text, a list, or a map with `shell`";

    fn long(long: Shell) -> Self {
        Self::Shell(long)
    }

    fn text(text: String) -> Self {
        Self::Line(text)
    }

    fn list(list: Vec<String>) -> Option<Self> {
        Some(Self::Vector(list))
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

impl Command {
    /// As an argument vector.
    #[must_use]
    pub fn vector(&self) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
            Self::Vector(vector) => vector.clone(),
            Self::Shell(Shell { shell }) => vec!["sh".to_owned(), "-c".to_owned(), shell.clone()],
        }
    }
}
