//! Where history, journal and lock are kept.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::kinds::by_kind;
use crate::config::schema::{ClusterConfig, EnvironmentConfig};

by_kind! {
    /// Where history, journal and lock are kept.
    pub enum StateConfig by default Local(LocalState) {
        /// A folder.
        "local" => Local(local: LocalState),
        /// Objects of the cluster.
        "kubernetes" => Kubernetes(cluster: ClusterState),
        /// Objects of a bucket of S3, or of a store that speaks its language and keeps to its
        /// conditions of a write.
        "s3" => S3(bucket: S3State),
        /// Documents of the host's agent: one history and one lock for everybody who deploys there.
        "host" => Host(host: HostState),
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

/// Documents of the agent of the host that the environment is on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostState {
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
    /// Whether the bucket's name stands in the path of a URL, and not in its host: most servers
    /// that are not Amazon's want that.
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
                "a bucket has 3 to 63 small letters, digits, dots and dashes; a folder in it is \
                 `prefix`",
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

/// Why a text names no place of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place of a state: `local:FOLDER`, `host:`, `kubernetes:NAMESPACE`, or \
     `s3://BUCKET/PREFIX`, behind which `?region=NAME&endpoint=URL&path_style=true` may stand"
)]
pub struct StatePlaceError(String);

impl FromStr for StateConfig {
    type Err = StatePlaceError;

    /// A place as one word: `local:FOLDER`, `kubernetes:NAMESPACE`, `s3://BUCKET/PREFIX`.
    fn from_str(text: &str) -> Result<Self, StatePlaceError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let named = (!rest.is_empty()).then(|| rest.to_owned());
        match kind {
            "local" => Some(Self::Local(LocalState {
                path: named.map(PathBuf::from),
            })),
            "kubernetes" => Some(Self::Kubernetes(ClusterState {
                namespace: named,
                path: None,
            })),
            "host" if named.is_none() => Some(Self::Host(HostState::default())),
            "s3" => bucket(text).map(Self::S3),
            _ => None,
        }
        .ok_or_else(|| StatePlaceError(text.to_owned()))
    }
}

fn bucket(text: &str) -> Option<S3State> {
    let url = url::Url::parse(text).ok()?;
    let name = url.host_str().filter(|name| is_bucket(name))?;
    let prefix = url.path().trim_matches('/');
    let mut state = S3State {
        bucket: Some(name.to_owned()),
        prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        ..S3State::default()
    };
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "region" => state.region = Some(value.into_owned()),
            "endpoint" => state.endpoint = Some(value.into_owned()),
            "path_style" => state.path_style = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(state)
}

impl StateConfig {
    /// The folder that it writes to, relative to the project's.
    #[must_use]
    pub fn path(&self) -> &Path {
        let path = match self {
            Self::Local(local) => &local.path,
            Self::Kubernetes(cluster) => &cluster.path,
            Self::S3(bucket) => &bucket.path,
            Self::Host(host) => &host.path,
        };
        path.as_deref().unwrap_or(Path::new("state"))
    }

    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        match (&environment.state, &environment.cluster) {
            (Self::Kubernetes(_), ClusterConfig::Host(_)) => findings.add(
                &["state", "kind"],
                "there is no cluster to keep the state in",
                "`host` keeps it with the agent, `local` in a folder",
            ),
            (Self::Host(_), ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..)) => findings
                .add(
                    &["state", "kind"],
                    "a cluster has no agent to keep the state",
                    "`kubernetes` keeps it in the cluster",
                ),
            (Self::S3(bucket), _) => bucket.check(findings),
            (Self::Local(_), _)
            | (Self::Host(_), ClusterConfig::Host(_))
            | (Self::Kubernetes(_), ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_word() {
        let place = |text: &str| text.parse::<StateConfig>();
        assert_eq!(place("local"), Ok(StateConfig::default()));
        let StateConfig::Local(local) = place("local:old/state").expect("a place") else {
            panic!("it is a folder")
        };
        assert_eq!(local.path, Some(PathBuf::from("old/state")));

        let text =
            "s3://shop-1/team/a?region=eu-central-1&endpoint=http://127.0.0.1:9000&path_style=true";
        let StateConfig::S3(bucket) = place(text).expect("a place") else {
            panic!("it is a bucket")
        };
        let expected = S3State {
            bucket: Some("shop-1".to_owned()),
            prefix: Some("team/a".to_owned()),
            region: Some("eu-central-1".to_owned()),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            path_style: true,
            path: None,
        };
        assert_eq!(bucket, expected);

        for wrong in [
            "",
            "folder",
            "s3:",
            "s3://",
            "s3://A",
            "s3://shop-1?x=1",
            "s3://shop-1?path_style=1",
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
