//! Where an image comes from, as others read it: a statement by in-toto (v1) with a predicate by
//! SLSA (provenance v1).
//!
//! It says what was built, from which commit, files and base images, by which shipit. No secret is
//! in it: a build's secrets are named, and where their values come from is left out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::build::BuildSpec;
use crate::model::source::Source;
use crate::model::{ContentHash, Digest};

/// What kind of document it is, as an artifact of a registry.
pub const ARTIFACT: &str = "application/vnd.in-toto+json";

/// What is stated.
#[derive(Debug)]
pub struct Statement<'a> {
    /// The image's repository.
    pub repository: &'a str,
    /// The image.
    pub image: &'a Digest,
    /// How it was built.
    pub spec: &'a BuildSpec,
    /// From what.
    pub source: &'a Source,
    /// From which files and arguments.
    pub inputs: &'a ContentHash,
    /// The base images, by reference.
    pub bases: BTreeMap<&'a str, &'a Digest>,
    /// The run that built it.
    pub run: &'a str,
}

impl Statement<'_> {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut how = serde_json::to_value(self.spec).unwrap_or_default();
        if let Some(secrets) = how.get_mut("secrets").and_then(Value::as_object_mut) {
            let names: Vec<String> = secrets.keys().cloned().collect();
            how["secrets"] = json!(names);
        }
        let mut dependencies: Vec<Value> = Vec::new();
        if let Some(commit) = &self.source.commit {
            let origin = self.source.origin.clone().unwrap_or_default();
            let dirty = if self.source.dirty {
                json!({"uncommitted_changes": true})
            } else {
                json!({})
            };
            dependencies.push(json!({"uri": format!("git+{origin}"), "digest": {"gitCommit": commit}, "annotations": dirty}));
        }

        for (reference, digest) in &self.bases {
            dependencies.push(
                json!({"uri": format!("oci://{reference}"), "digest": {"sha256": digest.hex()}}),
            );
        }

        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": self.repository, "digest": {"sha256": self.image.hex()}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://shipit.dev/build/v1",
                    "externalParameters": how,
                    "internalParameters": {"inputs": self.inputs},
                    "resolvedDependencies": dependencies,
                },
                "runDetails": {
                    "builder": {"id": "https://shipit.dev", "version": {"shipit": env!("CARGO_PKG_VERSION")}},
                    "metadata": {"invocationId": self.run},
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::{DockerfileSpec, Tool, an_hour};
    use crate::model::secret::SecretRef;

    #[test]
    fn it_says_what_was_built_from_what_and_nothing_of_secrets() {
        let spec = BuildSpec::Dockerfile(DockerfileSpec {
            tool: Tool::Docker,
            context: "app".into(),
            dockerfile: "Dockerfile".into(),
            target: None,
            args: BTreeMap::new(),
            secrets: BTreeMap::from([(
                "token".to_owned(),
                SecretRef::File("/run/secrets/token".into()),
            )]),
            cache_from: Vec::new(),
            cache_to: None,
            labels: BTreeMap::new(),
            leave_out: Vec::new(),
            platforms: Vec::new(),
            within: an_hour(),
        });
        let (image, base) = (Digest::of(b"image"), Digest::of(b"base"));
        let source = Source {
            commit: Some("3f2c1ab".to_owned()),
            ..Source::default()
        };
        let statement = Statement {
            repository: "registry.example.com/shop/web",
            image: &image,
            spec: &spec,
            source: &source,
            inputs: &ContentHash::of(b"inputs"),
            bases: BTreeMap::from([("docker.io/library/debian:12", &base)]),
            run: "run-1",
        };
        let json = statement.json();
        assert_eq!(json["subject"][0]["digest"]["sha256"], image.hex());
        let built = &json["predicate"]["buildDefinition"];
        assert_eq!(
            built["resolvedDependencies"][0]["digest"]["gitCommit"],
            "3f2c1ab"
        );
        assert_eq!(
            built["resolvedDependencies"][1]["digest"]["sha256"],
            base.hex()
        );
        assert_eq!(built["externalParameters"]["secrets"], json!(["token"]));
        assert!(!json.to_string().contains("/run/secrets"), "{json}");
    }
}
