//! What is in an image, as others read it: a bill of materials by CycloneDX (1.5, JSON).
//!
//! It names what was found, and says what was not looked into. The same image gives the same bytes:
//! there is neither a serial number nor a time in it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use cyclonedx_bom::models::bom::BomReference;
use cyclonedx_bom::models::component::Classification;
use cyclonedx_bom::models::composition::{AggregateType, Composition, Compositions};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::{Tool, Tools};
use cyclonedx_bom::prelude::{Bom, Component, Components, Metadata, Purl, SpecVersion};
use purl::GenericPurlBuilder;

use crate::model::Digest;

/// What kind of document it is, as an artifact of a registry.
pub const ARTIFACT: &str = "application/vnd.cyclonedx+json";

/// What was found in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The operating system that its `os-release` names.
    pub system: Option<System>,
    /// What its own package databases say.
    pub packages: BTreeSet<Package>,
    /// The files that the build copied in, by their path.
    pub files: BTreeMap<String, Digest>,
    /// What was not looked into, and why, in words.
    pub gaps: BTreeSet<String>,
}

/// An operating system, by its `os-release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// `ID`: `debian`.
    pub id: String,
    /// `VERSION_ID`: `13`.
    pub version: Option<String>,
}

/// Who installed a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
}

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For which architecture it was built.
    pub architecture: Option<String>,
    /// The package that it was built from, where that has another name.
    pub source: Option<String>,
    /// Who installed it.
    pub manager: Manager,
}

/// What is listed.
#[derive(Debug)]
pub struct Bill<'a> {
    /// The image's repository.
    pub repository: &'a str,
    /// The image.
    pub image: &'a Digest,
    /// What it was built on, by reference.
    pub bases: BTreeMap<&'a str, &'a Digest>,
    /// What was found in it.
    pub contents: &'a Contents,
}

impl Bill<'_> {
    /// As JSON.
    ///
    /// # Errors
    /// What the format does not take, in words.
    pub fn json(&self) -> Result<Vec<u8>, String> {
        let contents = self.contents;
        let mut components: Vec<Component> = self
            .bases
            .iter()
            .map(|(name, digest)| base(name, digest))
            .collect();
        components.extend(contents.system.as_ref().map(System::component));
        components.extend(
            contents
                .packages
                .iter()
                .map(|package| package.component(contents.system.as_ref())),
        );
        components.extend(
            contents
                .files
                .iter()
                .map(|(path, digest)| file(path, digest)),
        );
        let bom = Bom {
            version: 1,
            serial_number: None,
            spec_version: SpecVersion::V1_5,
            metadata: Some(self.metadata()),
            components: Some(Components(components)),
            compositions: Some(Compositions(vec![self.whole()])),
            ..Bom::default()
        };

        let mut bytes = Vec::new();
        bom.output_as_json_v1_5(&mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn metadata(&self) -> Metadata {
        let mut image = Component::new(
            Classification::Container,
            self.repository,
            self.image.as_str(),
            Some(IMAGE.to_owned()),
        );
        image.hashes = Some(hashes(self.image));
        let gaps = self
            .contents
            .gaps
            .iter()
            .map(|gap| Property::new("shipit:not-looked-into", gap));
        let looked = Property::new(
            "shipit:looked-for",
            "packages of dpkg and apk, and files that `pack` copied in",
        );
        Metadata {
            tools: Some(Tools::List(vec![Tool::new(
                "shipit",
                "shipit",
                env!("CARGO_PKG_VERSION"),
            )])),
            component: Some(image),
            properties: Some(Properties(std::iter::once(looked).chain(gaps).collect())),
            ..Metadata::default()
        }
    }

    /// Nobody knows whether a list is whole that packages and copied files make up.
    fn whole(&self) -> Composition {
        let aggregate = if self.contents.gaps.is_empty() {
            AggregateType::Unknown
        } else {
            AggregateType::Incomplete
        };
        let assemblies = Some(vec![BomReference::new(IMAGE)]);
        Composition {
            bom_ref: None,
            aggregate,
            assemblies,
            dependencies: None,
            vulnerabilities: None,
            signature: None,
        }
    }
}

/// By what the image is named within the document.
const IMAGE: &str = "image";

fn hashes(digest: &Digest) -> Hashes {
    Hashes(vec![Hash {
        alg: HashAlgorithm::SHA_256,
        content: HashValue(digest.hex().to_owned()),
    }])
}

fn base(reference: &str, digest: &Digest) -> Component {
    let named = Some(format!("base:{reference}"));
    let mut component =
        Component::new(Classification::Container, reference, digest.as_str(), named);
    component.hashes = Some(hashes(digest));
    component
}

fn file(path: &str, digest: &Digest) -> Component {
    let mut component =
        Component::new(Classification::File, path, "", Some(format!("file:{path}")));
    component.version = None;
    component.hashes = Some(hashes(digest));
    component
}

impl System {
    fn component(&self) -> Component {
        let version = self.version.as_deref().unwrap_or_default();
        let named = Some("operating-system".to_owned());
        let mut component =
            Component::new(Classification::OperatingSystem, &self.id, version, named);
        component.version = component.version.filter(|_| self.version.is_some());
        component
    }
}

impl Package {
    fn component(&self, system: Option<&System>) -> Component {
        let url = self.url(system);
        let architecture = self.architecture.as_deref().unwrap_or_default();
        let named = Some(format!(
            "{}:{}@{}:{architecture}",
            self.manager.kind(),
            self.name,
            self.version
        ));
        let mut component =
            Component::new(Classification::Library, &self.name, &self.version, named);
        component.purl = url.and_then(|url| Purl::from_str(&url).ok());
        component
    }

    /// Its package URL (purl-spec), as scanners look it up.
    fn url(&self, system: Option<&System>) -> Option<String> {
        let mut builder =
            GenericPurlBuilder::new(self.manager.kind().to_owned(), self.name.as_str())
                .with_version(self.version.as_str());
        let distribution = system.map(|system| match &system.version {
            Some(version) => format!("{}-{version}", system.id),
            None => system.id.clone(),
        });
        if let Some(system) = system {
            builder = builder.with_namespace(system.id.as_str());
        }

        let qualifiers = [
            ("arch", self.architecture.clone()),
            ("distro", distribution),
            ("upstream", self.source.clone()),
        ];
        for (name, value) in qualifiers {
            if let Some(value) = value {
                builder = builder.with_qualifier(name, value).ok()?;
            }
        }
        Some(builder.build().ok()?.to_string())
    }
}

impl Manager {
    /// The type of its package URLs.
    const fn kind(self) -> &'static str {
        match self {
            Self::Dpkg => "deb",
            Self::Apk => "apk",
        }
    }

    /// The packages that its database says are installed.
    #[must_use]
    pub fn installed(self, database: &str) -> Vec<Package> {
        let entries = database.split("\n\n");
        entries
            .filter_map(|entry| self.package(&fields(entry)))
            .collect()
    }

    fn package(self, fields: &BTreeMap<&str, &str>) -> Option<Package> {
        let (name, version, architecture, source) = match self {
            Self::Dpkg => ("Package", "Version", "Architecture", "Source"),
            Self::Apk => ("P", "V", "A", "o"),
        };
        // Debian keeps what was removed and still has its configuration; images without dpkg say
        // nothing of it.
        if fields
            .get("Status")
            .is_some_and(|status| !status.ends_with(" installed"))
        {
            return None;
        }

        let of = |key: &str| {
            fields
                .get(key)
                .map(|text| (*text).to_owned())
                .filter(|text| !text.is_empty())
        };
        let name = of(name)?;
        let source = of(source).map(|text| text.split(' ').next().unwrap_or_default().to_owned());
        Some(Package {
            version: of(version)?,
            architecture: of(architecture),
            source: source.filter(|source| *source != name),
            manager: self,
            name,
        })
    }
}

/// The fields of an entry; lines that go on another are left out.
fn fields(entry: &str) -> BTreeMap<&str, &str> {
    let lines = entry.lines().filter(|line| !line.starts_with([' ', '\t']));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect()
}

impl System {
    /// What an `os-release` says (os-release(5)).
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let of = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
        };
        Some(Self {
            id: of("ID")?,
            version: of("VERSION_ID"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cyclonedx_bom::prelude::Validate as _;

    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: \
        amd64\nSource: glibc (2.41)\nVersion: 2.41-12\nDescription: C library\n It goes on: \
        here\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: \
        tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2025b-4+deb13u1\n";

    #[test]
    fn databases_say_what_is_installed() {
        let packages = Manager::Dpkg.installed(STATUS);
        let names: Vec<&str> = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(names, ["libc6", "tzdata"], "what was removed is not there");
        assert_eq!(packages[0].source.as_deref(), Some("glibc"));
        let apk = "C:Q1abc\nP:musl\nV:1.2.5-r9\nA:x86_64\no:musl\nF:lib\nR:ld.so\n\nP:libcrypto3\nV:3.5.0-r0\nA:x86_64\no:openssl\n";
        let packages = Manager::Apk.installed(apk);
        assert_eq!(packages.len(), 2);
        assert_eq!(
            (packages[0].source.clone(), packages[1].source.as_deref()),
            (None, Some("openssl"))
        );
        assert!(
            Manager::Dpkg
                .installed("no database at all\n\u{0}\n")
                .is_empty()
        );
    }

    #[test]
    fn an_os_release_names_the_system() {
        let debian = System::read("PRETTY_NAME=\"Debian 13\"\nVERSION_ID=\"13\"\nID=debian\n")
            .expect("a system");
        assert_eq!(
            (debian.id.as_str(), debian.version.as_deref()),
            ("debian", Some("13"))
        );
        assert_eq!(System::read("NAME=x\n"), None);
    }

    #[test]
    fn the_bill_is_valid_and_the_same_every_time() {
        let (image, base) = (Digest::of(b"image"), Digest::of(b"base"));
        let contents = Contents {
            system: Some(System {
                id: "debian".to_owned(),
                version: Some("13".to_owned()),
            }),
            packages: Manager::Dpkg.installed(STATUS).into_iter().collect(),
            files: BTreeMap::from([("/app/message.txt".to_owned(), Digest::of(b"v1"))]),
            gaps: BTreeSet::from(["layer 1 is too large".to_owned()]),
        };
        let bill = Bill {
            repository: "registry.example.com/shop/web",
            image: &image,
            bases: BTreeMap::from([("docker.io/library/debian:13", &base)]),
            contents: &contents,
        };
        let bytes = bill.json().expect("a document");
        assert_eq!(bytes, bill.json().expect("a document"));
        let bom = Bom::parse_from_json_v1_5(bytes.as_slice()).expect("it can be read");
        assert!(
            bom.validate_version(SpecVersion::V1_5).passed(),
            "{:?}",
            bom.validate_version(SpecVersion::V1_5)
        );
        let text = String::from_utf8(bytes).expect("text");
        for said in [
            "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc",
            base.hex(),
            "/app/message.txt",
            Digest::of(b"v1").hex(),
            "layer 1 is too large",
            "incomplete",
        ] {
            assert!(text.contains(said), "{said} is not in {text}");
        }
        assert!(
            !text.contains("serialNumber") && !text.contains("timestamp"),
            "{text}"
        );
    }
}
