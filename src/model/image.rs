//! Images that the project has not built: by which name somebody asks for one, and where it is.

use std::fmt;
use std::str::FromStr;

use crate::model::{Digest, ServiceName, endpoint};

/// Where names without a registry are.
const DOCKER_HUB: &str = "docker.io";
/// Docker Hub's own repositories are written without this.
const OFFICIAL: &str = "library/";
/// The tag that a name without one means everywhere else.
pub const LATEST: &str = "latest";
/// The longest tag (distribution-spec, "Pulling manifests").
const LONGEST_TAG: usize = 128;

/// A repository of a registry: `docker.io/library/nginx`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRepository {
    registry: String,
    name: String,
}

/// What an image is asked for by: `nginx:1.27`, `ghcr.io/acme/web@sha256:…`. It has a tag, a digest
/// or both; with a digest the tag is for readers alone.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    /// Where it is.
    pub repository: ImageRepository,
    /// The tag; none for a digest alone.
    pub tag: Option<String>,
    /// The digest; none for a tag, which has to be looked up.
    pub digest: Option<Digest>,
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageHome<'a> {
    /// In the project's registry: this service's images are the project's own.
    Project(&'a ServiceName),
    /// Where somebody else keeps it. Nothing of it is the project's to change.
    Elsewhere(&'a ImageRepository),
}

impl fmt::Display for ImageHome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(service) => fmt::Display::fmt(service, f),
            Self::Elsewhere(repository) => fmt::Display::fmt(repository, f),
        }
    }
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    /// Its form is another.
    #[error("`{text}` is no image: {reason}")]
    Form {
        /// What was written.
        text: String,
        /// Why.
        reason: String,
    },
    /// It says which repository, and not which image of it.
    #[error("`{text}` names no tag, and without one it would be `{LATEST}`")]
    NoTag {
        /// What was written.
        text: String,
    },
}

impl ImageRepository {
    /// The registry: `docker.io`, `registry.example.com:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in it: `library/nginx`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl ImageName {
    /// The same repository, with the tag or the digest that are said apart from it.
    #[must_use]
    pub const fn new(
        repository: ImageRepository,
        tag: Option<String>,
        digest: Option<Digest>,
    ) -> Self {
        Self {
            repository,
            tag,
            digest,
        }
    }

    /// Whether it is whatever is the newest when somebody looks.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref() == Some(LATEST)
    }
}

impl FromStr for ImageRepository {
    type Err = String;

    /// `nginx` is Docker Hub's `library/nginx`, `acme/web` is of Docker Hub, too; a first part with
    /// a dot or a colon in it, or `localhost`, is a registry.
    fn from_str(text: &str) -> Result<Self, String> {
        let first = text.split_once('/');
        let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (registry, name) = match first.filter(|(part, _)| is_registry(part)) {
            Some(("index.docker.io", name)) => (DOCKER_HUB, name),
            Some((registry, name)) => (registry, name),
            None => (DOCKER_HUB, text),
        };
        let name = if registry == DOCKER_HUB && !name.contains('/') {
            format!("{OFFICIAL}{name}")
        } else {
            name.to_owned()
        };

        // Such a host may be there, and no other tool takes it for the part of an image's name.
        let is_odd = registry.contains('_') || registry.split(':').any(|part| part.ends_with('.'));
        let problem = endpoint::problem(registry)
            .or_else(|| is_odd.then_some("a registry has no `_`, and no `.` at its end"))
            .or_else(|| endpoint::repository_problem(&name));
        match problem {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(Self {
                registry: registry.to_owned(),
                name,
            }),
        }
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let form = |reason: String| ImageNameError::Form {
            text: text.to_owned(),
            reason,
        };
        if text.contains("://") {
            return Err(form("an image is named without a scheme".to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let digest = digest.map(str::parse::<Digest>);
        let digest = digest
            .transpose()
            .map_err(|error| form(error.to_string()))?;

        // A colon before the last slash is of the registry's port.
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (rest, None),
        };
        let repository = repository.parse().map_err(form)?;
        if let Some(reason) = tag.and_then(tag_problem) {
            return Err(form(reason.to_owned()));
        }
        if tag.is_none() && digest.is_none() {
            let text = text.to_owned();
            return Err(ImageNameError::NoTag { text });
        }
        let tag = tag.map(str::to_owned);
        Ok(Self::new(repository, tag, digest))
    }
}

/// Why a text is no tag (distribution-spec, "Pulling manifests"). None when it is.
#[must_use]
pub fn tag_problem(tag: &str) -> Option<&'static str> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    if tag.is_empty() || tag.len() > LONGEST_TAG {
        return Some("a tag has 1 to 128 characters");
    }
    let fits = tag.bytes().all(fits) && !tag.starts_with(['.', '-']);
    (!fits).then_some(
        "a tag has letters, digits, `_`, `.` and `-`, and begins with none of the last two",
    )
}

/// As people write it: what every name of Docker Hub has is left out.
impl fmt::Display for ImageRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.registry != DOCKER_HUB {
            return write!(f, "{}/{}", self.registry, self.name);
        }
        let official = self.name.strip_prefix(OFFICIAL);
        f.write_str(official.unwrap_or(&self.name))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageRepository {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// With everything that a program needs to find it.
impl From<ImageRepository> for String {
    fn from(repository: ImageRepository) -> Self {
        format!("{}/{}", repository.registry, repository.name)
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageNameError;
    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::distribution::Reference;
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn whole(repository: &ImageRepository) -> String {
        repository.clone().into()
    }

    #[test]
    fn a_short_name_is_of_docker_hub() {
        for (text, repository, tag) in [
            ("nginx:1.27", "docker.io/library/nginx", Some("1.27")),
            ("acme/web:2", "docker.io/acme/web", Some("2")),
            (
                "docker.io/nginx:1.27",
                "docker.io/library/nginx",
                Some("1.27"),
            ),
            (
                "index.docker.io/acme/web:2",
                "docker.io/acme/web",
                Some("2"),
            ),
            ("ghcr.io/acme/web:v1", "ghcr.io/acme/web", Some("v1")),
            ("localhost/web:v1", "localhost/web", Some("v1")),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b", Some("c")),
            ("[::1]:5000/a:b", "[::1]:5000/a", Some("b")),
        ] {
            let name: ImageName = text.parse().expect(text);
            assert_eq!(whole(&name.repository), repository, "{text}");
            assert_eq!(name.tag.as_deref(), tag, "{text}");
            assert_eq!(name.digest, None, "{text}");
        }
    }

    #[test]
    fn a_digest_stands_alone_or_beside_a_tag() {
        for (text, tag) in [("nginx", None), ("nginx:1.27", Some("1.27"))] {
            let text = format!("{text}@{DIGEST}");
            let name: ImageName = text.parse().expect("an image");
            assert_eq!(name.tag.as_deref(), tag);
            assert_eq!(name.digest.as_ref().map(Digest::as_str), Some(DIGEST));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn what_names_no_image_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "a repository has parts"),
            ("nginx:", "a tag has 1 to 128"),
            ("nginx:-a", "a tag has letters"),
            ("nginx:a b", "a tag has letters"),
            ("Nginx:1", "lower-case"),
            ("https://ghcr.io/a/b:1", "without a scheme"),
            ("kim:pw@ghcr.io/a/b", "is not a digest"),
            ("nginx@sha256:abc", "is not a digest"),
            ("nginx@sha512:00", "is not a digest"),
            ("ghcr.io:x/a:1", "no port"),
            ("ghcr.io/:1", "a repository has parts"),
            ("a/../b:1", "a repository has parts"),
            ("nginx:1.27\n", "a tag has letters"),
        ] {
            let said = text.parse::<ImageName>().expect_err(text).to_string();
            assert!(said.contains(reason), "{text}: {said}");
        }
        assert!(matches!(
            "ghcr.io/acme/web".parse::<ImageName>(),
            Err(ImageNameError::NoTag { .. })
        ));
    }

    #[test]
    fn it_is_written_as_people_write_it_and_read_back_the_same() {
        for text in [
            "nginx:1.27",
            "acme/web:2",
            "ghcr.io/acme/web:v1",
            "localhost:5000/a:b",
        ] {
            let name: ImageName = text.parse().expect(text);
            assert_eq!(name.to_string(), text);
            let json = serde_json::to_string(&name).expect("JSON");
            assert_eq!(
                serde_json::from_str::<ImageName>(&json).expect("a name"),
                name
            );
        }
    }

    proptest! {
        /// What is taken here, the tools take as well, and mean the same by it.
        #[test]
        fn a_name_means_what_it_means_to_other_tools(
            text in "(([a-z]{1,4}\\.io|localhost|a:50)/)?[a-z0-9._/-]{1,9}:[a-zA-Z0-9._-]{1,5}",
        ) {
            if let Ok(name) = text.parse::<ImageName>() {
                let other: Reference = text.parse().expect("another tool takes it");
                prop_assert_eq!(name.repository.registry(), other.registry());
                prop_assert_eq!(name.repository.name(), other.repository());
                prop_assert_eq!(name.tag.as_deref(), other.tag());
            }
        }

        #[test]
        fn no_text_makes_it_fall_over(text in "\\PC{0,60}") {
            let _ = text.parse::<ImageName>();
        }
    }
}
