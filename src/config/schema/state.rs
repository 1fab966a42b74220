//! Where history, journal and lock are kept.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::kinds::by_kind;
use crate::config::schema::{ClusterConfig, EnvironmentConfig};

by_kind! {
    /// Where history, journal and lock are kept.
    pub enum StateConfig by default Local {
        /// A folder.
        "local" => Local(local: LocalState),
        /// Objects of the cluster.
        "kubernetes" => Kubernetes(cluster: ClusterState),
        /// Objects of a bucket of S3, or of a store that speaks its language and keeps to its
        /// conditions of a write.
        "s3" => S3(bucket: S3State),
    }
}

/// A folder of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LocalState {
    /// The folder, relative to the project's; `state` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// Objects of the cluster that the environment is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterState {
    /// The namespace; the environment's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The folder for what is recorded about failures, relative to the project's; `state` without
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// Objects of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct S3State {
    /// The bucket's name. It must be there; shipit makes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The bucket's region; that of the environment of AWS (`AWS_REGION`, a profile) without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What the keys begin with; `shipit` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The address of a server that is not Amazon's, as a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path of a URL, and not in its host: most servers that
    /// are not Amazon's want that.
    pub path_style: bool,
    /// The folder for what is recorded about failures, relative to the project's; `state` without
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl S3State {
    fn check(&self, findings: &mut Findings<'_>) {
        match self.bucket.as_deref() {
            None => findings.add(
                &["state"],
                "nothing says which bucket the state is in",
                "write `state: {kind: s3, bucket: NAME}`",
            ),
            Some(name) if !is_bucket(name) => findings.add(
                &["state", "bucket"],
                format!("`{name}` is no name of a bucket"),
                "a bucket has 3 to 63 small letters, digits, dots and dashes; a folder in it is `prefix`",
            ),
            Some(_) => {}
        }

        if let Some(endpoint) = &self.endpoint {
            let is_url = url::Url::parse(endpoint)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !is_url {
                findings.add(
                    &["state", "endpoint"],
                    "this is no address of a server",
                    "write `endpoint: https://s3.example.com`",
                );
            }
        }

        let prefix = self.prefix.as_deref().unwrap_or_default();
        let is_plain =
            |part: &str| part != "." && part != ".." && !part.chars().any(char::is_control);
        if prefix.len() > 512 || !prefix.split('/').all(is_plain) {
            findings.add(
                &["state", "prefix"],
                "keys cannot begin like this",
                "write `prefix: team/shipit`",
            );
        }
    }
}

/// Whether S3 takes this as a bucket's name, as far as the name tells.
fn is_bucket(name: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| is_edge(c) || matches!(c, '.' | '-'))
        && name.starts_with(is_edge)
        && name.ends_with(is_edge)
        && !name.contains("..")
}

impl StateConfig {
    /// The folder that it writes to, relative to the project's.
    #[must_use]
    pub fn path(&self) -> &Path {
        let path = match self {
            Self::Local(local) => &local.path,
            Self::Kubernetes(cluster) => &cluster.path,
            Self::S3(bucket) => &bucket.path,
        };
        path.as_deref().unwrap_or(Path::new("state"))
    }

    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        match (&environment.state, &environment.cluster) {
            (Self::Kubernetes(_), ClusterConfig::Host(_)) => findings.add(
                &["state", "kind"],
                "there is no cluster to keep the state in",
                "`local` keeps it in a folder",
            ),
            (Self::S3(bucket), _) => bucket.check(findings),
            (Self::Local(_), _)
            | (Self::Kubernetes(_), ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..)) => {}
        }
    }
}
