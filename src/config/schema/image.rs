//! The image of a service that is not built: one of a registry, by its name, or the one that is
//! live in another environment.

use schemars::JsonSchema;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::Text;
use crate::model::EnvironmentName;
use crate::model::image::{ImageName, ImageNameError, ImageRepository, LATEST, tag_problem};
use crate::model::short::{self, Short};

/// An image that is there already: its name, or a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ImageConfig {
    /// Its name with a tag, a digest or both, a template: `nginx:1.27`,
    /// `ghcr.io/acme/web:{{ commit }}`. A tag is looked up when a plan is made. One without a
    /// registry is of Docker Hub.
    Name(String),
    /// The same in parts, or another environment's image.
    Parts(ImageParts),
}

/// An image in parts. Exactly one of `name` and `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageParts {
    /// Its name without tag and digest, a template: `nginx`, `ghcr.io/acme/web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its tag, a template. Here, and only here, it may be `latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Text>,
    /// Its digest, a template: `sha256:…`. With it the tag is for readers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Text>,
    /// The environment whose live release has the image of this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<EnvironmentName>,
}

impl Short for ImageConfig {
    type Long = ImageParts;

    const EXPECTED: &'static str = "an image's name (`nginx:1.27`), or a map with `name` or `from`";

    fn long(long: ImageParts) -> Self {
        Self::Parts(long)
    }

    fn text(text: String) -> Self {
        Self::Name(text)
    }
}

impl<'de> Deserialize<'de> for ImageConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

/// What is wrong with an image's name, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageProblem {
    /// The key that it is about, below `image`; none for the whole.
    pub key: Option<&'static str>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl ImageProblem {
    fn new(key: Option<&'static str>, what: impl Into<String>, help: impl Into<String>) -> Self {
        let (what, help) = (what.into(), help.into());
        Self { key, what, help }
    }
}

impl ImageConfig {
    /// The environment whose image it is, if it is one's.
    #[must_use]
    pub const fn from(&self) -> Option<&EnvironmentName> {
        match self {
            Self::Name(_) => None,
            Self::Parts(parts) => parts.from.as_ref(),
        }
    }

    /// The texts that it is named by, which may be templates.
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Name(name) => vec![name],
            Self::Parts(parts) => {
                let texts = [&parts.tag, &parts.digest];
                let texts = texts.into_iter().flatten().map(|text| text.0.as_str());
                parts.name.as_deref().into_iter().chain(texts).collect()
            }
        }
    }

    /// What it names, once no template is in it.
    ///
    /// # Errors
    /// It names nothing, or what only a part of its own may say.
    pub fn name(&self) -> Result<ImageName, ImageProblem> {
        match self {
            Self::Name(text) => named(text),
            Self::Parts(parts) => parts.name(),
        }
    }

    pub(in crate::config) fn check(&self, findings: &mut Findings<'_>, at: &[&str]) {
        if let Self::Parts(parts) = self
            && let Some(problem) = parts.form()
        {
            return findings.add(at, problem.what, problem.help);
        }
        let is_template = |text: &&str| text.contains("{{") || text.contains("{%");
        let is_open = self.texts().iter().any(is_template);
        if self.from().is_some() || is_open {
            return;
        }
        if let Err(problem) = self.name() {
            let at: Vec<&str> = at.iter().copied().chain(problem.key).collect();
            findings.add(&at, problem.what, problem.help);
        }
    }
}

/// An image by one text.
fn named(text: &str) -> Result<ImageName, ImageProblem> {
    let name = text.parse::<ImageName>().map_err(|error| match error {
        ImageNameError::Form { .. } => {
            let help = "write `nginx:1.27`, `ghcr.io/acme/web:v1` or `nginx@sha256:…`";
            ImageProblem::new(None, error.to_string(), help)
        }
        ImageNameError::NoTag { .. } => {
            let what = format!("{error}, which is another image each time that somebody pushes");
            ImageProblem::new(None, what, latest_help(text))
        }
    })?;
    if name.is_latest() {
        let what = format!("`{text}` is another image each time that somebody pushes");
        let repository = text.trim_end_matches(LATEST).trim_end_matches(':');
        return Err(ImageProblem::new(None, what, latest_help(repository)));
    }
    Ok(name)
}

fn latest_help(repository: &str) -> String {
    format!(
        "name a version, as `{repository}:1.2.3`, or a digest; `image: {{name: {repository}, tag: \
         latest}}` if it shall be whatever is the newest when a plan is made"
    )
}

impl ImageParts {
    /// What is wrong with which of its keys are there.
    fn form(&self) -> Option<ImageProblem> {
        let has_more = self.tag.is_some() || self.digest.is_some();
        let problem = |what, help| Some(ImageProblem::new(None, what, help));
        match (&self.name, &self.from) {
            (None, None) => problem(
                "nothing says which image",
                "write `name: nginx` and a `tag`, or `from: staging`",
            ),
            (Some(_), Some(_)) => problem(
                "`name` and `from` are both given",
                "keep one of them; `null` takes the other one away",
            ),
            (None, Some(_)) if has_more => problem(
                "another environment's image has its own digest",
                "take `tag` and `digest` out, or name the image under `name`",
            ),
            (Some(_), None) if !has_more => problem(
                "neither `tag` nor `digest` says which image it is",
                "add `tag: \"1.27\"`; `tag: latest` is whatever is the newest when a plan is made",
            ),
            _ => None,
        }
    }

    fn name(&self) -> Result<ImageName, ImageProblem> {
        if let Some(problem) = self.form() {
            return Err(problem);
        }
        let text = self.name.as_deref().unwrap_or_default();
        let repository: ImageRepository = text.parse().map_err(|reason| {
            let help = "write it without tag and digest: `nginx`, `ghcr.io/acme/web`";
            let what = format!("`{text}` is no image: {reason}");
            ImageProblem::new(Some("name"), what, help)
        })?;

        let tag = self.tag.as_ref().map(|tag| tag.0.clone());
        if let Some((tag, reason)) = tag.as_ref().and_then(|tag| Some((tag, tag_problem(tag)?))) {
            let what = format!("`{tag}` is no tag: {reason}");
            return Err(ImageProblem::new(
                Some("tag"),
                what,
                "write `tag: \"1.27\"`",
            ));
        }
        let digest = self.digest.as_ref().map(|digest| digest.0.parse());
        let digest = digest.transpose().map_err(|error| {
            let help = "`skopeo inspect` shows an image's digest";
            ImageProblem::new(Some("digest"), format!("{error}"), help)
        })?;
        Ok(ImageName::new(repository, tag, digest))
    }
}
