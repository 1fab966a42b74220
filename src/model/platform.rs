//! What an image runs on, by Go's names: `linux/amd64`, `linux/arm/v7` (image-spec,
//! `image-index.md`).

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::model::Digest;

/// An operating system and an architecture, with its variant where that makes a difference.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", example = &"linux/amd64", example = &"linux/arm64")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// It has another form.
    #[error(
        "`{0}` is not a platform: write the system and the architecture, as `linux/amd64` or \
         `linux/arm/v7`"
    )]
    Form(String),
    /// Its system is another one.
    #[error("`{0}` is for another system: images are made for `linux`")]
    System(String),
    /// Nothing is known by that name.
    #[error("`{given}` is no architecture that is known: {help}")]
    Architecture {
        /// What was written.
        given: String,
        /// What to write.
        help: String,
    },
}

/// The architectures that images are made for.
const KNOWN: [&str; 9] = [
    "amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64le",
];

/// What the same architectures are called elsewhere.
const ELSEWHERE: [(&str, &str); 8] = [
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("x64", "amd64"),
    ("aarch64", "arm64"),
    ("armv7", "arm/v7"),
    ("armhf", "arm/v7"),
    ("i386", "386"),
    ("x86", "386"),
];

impl Platform {
    /// The platform of this machine.
    #[must_use]
    pub fn own() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, None)
    }

    /// From the parts that an image or an index tells. What means the same is the same: `arm64` is
    /// always `v8`, and `arm` alone is `v7`.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = match (architecture, variant.filter(|variant| !variant.is_empty())) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            ("arm", None | Some("7")) => Some("v7"),
            (_, variant) => variant,
        };
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The system.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The architecture's variant: `v7` of `arm`.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Which of an index's images runs here: the one for this very platform, or else for an older
    /// variant of the same architecture.
    pub fn choose<T>(&self, images: impl IntoIterator<Item = (Self, T)>) -> Option<T> {
        let runs = |there: &Self| {
            let same = there.os == self.os && there.architecture == self.architecture;
            // A machine without a variant in its name may have any of its architecture's first one.
            same && there.variant.as_deref().unwrap_or_default()
                <= self.variant.as_deref().unwrap_or_default()
        };

        images
            .into_iter()
            .filter(|(there, _)| runs(there))
            // Of two that are alike the first one counts.
            .reduce(|best, next| {
                if next.0.variant > best.0.variant {
                    next
                } else {
                    best
                }
            })
            .map(|(_, image)| image)
    }
}

/// The images of an index, by the platform that each is for. One that is alone and says none is
/// taken for this machine's: its own configuration says what it is for.
pub fn images(index: &Value) -> impl Iterator<Item = (Platform, Digest)> {
    let entries = index["manifests"].as_array();
    let is_alone = entries.is_some_and(|entries| entries.len() == 1);
    entries.into_iter().flatten().filter_map(move |entry| {
        let platform = &entry["platform"];
        if is_alone && platform.is_null() {
            return Some((Platform::own(), entry["digest"].as_str()?.parse().ok()?));
        }
        let (os, architecture) = (platform["os"].as_str()?, platform["architecture"].as_str()?);
        let platform = Platform::new(os, architecture, platform["variant"].as_str());
        Some((platform, entry["digest"].as_str()?.parse().ok()?))
    })
}

impl FromStr for Platform {
    type Err = PlatformError;
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let mut parts = text.split('/');
        let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        let (Some(os), Some(architecture), None) = (os, architecture, parts.next()) else {
            return Err(PlatformError::Form(text.to_owned()));
        };

        if ![Some(os), Some(architecture), variant]
            .into_iter()
            .flatten()
            .all(plain)
        {
            return Err(PlatformError::Form(text.to_owned()));
        }
        if os != "linux" {
            return Err(PlatformError::System(text.to_owned()));
        }
        if !KNOWN.contains(&architecture) {
            let known = ELSEWHERE.iter().find(|(name, _)| *name == architecture);
            let help = known.map_or_else(
                || format!("one of {}", KNOWN.join(", ")),
                |(_, name)| format!("write `linux/{name}`"),
            );
            return Err(PlatformError::Architecture {
                given: architecture.to_owned(),
                help,
            });
        }
        Ok(Self::new(os, architecture, variant))
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;
    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect(text)
    }

    #[test]
    fn an_image_that_is_alone_need_not_say_what_it_is_for() {
        let digest = Digest::of(b"x");
        let found = |entries: Value| -> Vec<(Platform, Digest)> {
            images(&serde_json::json!({"manifests": entries})).collect()
        };
        let silent = serde_json::json!({"digest": digest});
        let alone = found(serde_json::json!([silent]));
        assert_eq!(alone, [(Platform::own(), digest.clone())]);
        assert_eq!(found(serde_json::json!([silent, silent])), []);
        let other = serde_json::json!({"os": "linux", "architecture": "s390x"});
        let other = serde_json::json!([{"digest": digest, "platform": other}]);
        assert_eq!(found(other), [(platform("linux/s390x"), digest)]);
    }

    #[test]
    fn names_that_mean_the_same_are_the_same() {
        assert_eq!(platform("linux/arm64/v8"), platform("linux/arm64"));
        assert_eq!(platform("linux/arm"), platform("linux/arm/v7"));
        assert_ne!(platform("linux/arm/v6"), platform("linux/arm/v7"));
        for text in ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"] {
            assert_eq!(platform(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_platform_is_told_what_to_write() {
        let said = |text: &str| text.parse::<Platform>().expect_err(text).to_string();
        for text in [
            "",
            "linux",
            "amd64",
            "linux/",
            "linux/amd64/v2/x",
            "linux/a md",
            "/amd64",
        ] {
            assert!(
                said(text).contains("as `linux/amd64`"),
                "{text}: {}",
                said(text)
            );
        }
        assert!(said("windows/amd64").contains("`linux`"));
        assert!(said("linux/aarch64").ends_with("write `linux/arm64`"));
        assert!(said("linux/amd46").contains("one of amd64, arm64"));
    }

    #[test]
    fn the_image_for_a_platform_is_its_own_or_one_of_an_older_variant() {
        let index = |names: &[&str]| -> Vec<(Platform, usize)> {
            names
                .iter()
                .enumerate()
                .map(|(at, name)| (platform(name), at))
                .collect()
        };
        assert_eq!(
            platform("linux/arm64").choose(index(&["linux/amd64", "linux/arm64"])),
            Some(1)
        );
        assert_eq!(
            platform("linux/arm/v7").choose(index(&["linux/arm/v5", "linux/arm/v6"])),
            Some(1)
        );
        assert_eq!(
            platform("linux/arm/v6").choose(index(&["linux/arm/v7", "linux/arm/v5"])),
            Some(1)
        );
        assert_eq!(
            platform("linux/amd64").choose(index(&["linux/amd64/v3"])),
            None,
            "it may not run that"
        );
        let unknown = [(Platform::new("unknown", "unknown", None), 0)];
        assert_eq!(
            platform("linux/amd64").choose(unknown),
            None,
            "an attestation is no image"
        );
    }
}
