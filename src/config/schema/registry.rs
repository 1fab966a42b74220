//! Where images are kept: in a folder, or in a registry on the network.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::kinds::by_kind;
use crate::config::schema::{EcrRegistry, EnvironmentConfig, ServiceConfig};
use crate::model::endpoint;

by_kind! {
    /// Where images are kept.
    pub enum RegistryConfig by default Layout(LayoutRegistry) {
        /// An OCI image layout folder.
        "layout" => Layout(layout: LayoutRegistry),
        /// Any registry that speaks the OCI distribution protocol.
        "oci" => Oci(remote: RemoteRegistry, oci: OciRegistry),
        /// Amazon ECR.
        "ecr" => Ecr(remote: RemoteRegistry, ecr: EcrRegistry),
    }
}

/// A folder of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LayoutRegistry {
    /// The folder, relative to the project's; `state/registry` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Hosts that may be given a login for the registry of a base image besides that registry's
    /// own: its token server, where that is on another host. A name is for the usual port,
    /// `auth.example.com:8443` for another one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_hosts: Vec<String>,
}

/// A registry on the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // each is a key of its own
pub struct RemoteRegistry {
    /// Where pushes go: `registry.example.com`. With `ecr`, Amazon's own address without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The repository's name, a template; `PROJECT/SERVICE` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// A file with the certificates that may have signed the registry's own, relative to the
    /// project's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether the registry is spoken to without TLS. One on this machine always may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// Hosts that may be given a login for a registry besides that registry's own: its token
    /// server, where that is on another host. A name is for the usual port, `auth.example.com:8443`
    /// for another one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_hosts: Vec<String>,
    /// Whether each image gets a document attached that says where it comes from (in-toto, SLSA).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provenance: bool,
    /// Whether each image gets a document attached that says what is in it (CycloneDX).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sbom: bool,
}

/// What only a registry of the plain protocol has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OciRegistry {
    /// How many images a run leaves in the registry; without it none is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<OciRetention>,
}

/// How many images a run leaves in a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OciRetention {
    /// How many tagged images of each repository, of those that shipit made. A run takes away the
    /// others that nobody needs.
    pub tagged: Option<u32>,
}

impl RegistryConfig {
    /// The layout's folder, relative to the project's. Another kind has none: its builds leave out
    /// the usual one, so that the same files are the same build in every environment.
    #[must_use]
    pub fn path(&self) -> &Path {
        let path = match self {
            Self::Layout(layout) => layout.path.as_deref(),
            Self::Oci(..) | Self::Ecr(..) => None,
        };
        path.unwrap_or(Path::new("state/registry"))
    }

    /// Whether it is a folder of this machine.
    #[must_use]
    pub const fn is_layout(&self) -> bool {
        matches!(self, Self::Layout(_))
    }

    /// What a registry on the network has, whoever runs it.
    #[must_use]
    pub const fn remote(&self) -> Option<&RemoteRegistry> {
        match self {
            Self::Layout(_) => None,
            Self::Oci(remote, _) | Self::Ecr(remote, _) => Some(remote),
        }
    }

    /// What only Amazon's registry has.
    #[must_use]
    pub const fn ecr(&self) -> Option<&EcrRegistry> {
        match self {
            Self::Layout(_) | Self::Oci(..) => None,
            Self::Ecr(_, ecr) => Some(ecr),
        }
    }

    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        match &environment.registry {
            Self::Layout(layout) => {
                let services = &mut environment.services.values();
                let has_own = services.any(ServiceConfig::is_of_the_project);
                if environment.cluster.host().is_none() && has_own {
                    let help = "write `registry: {kind: oci, endpoint: registry.example.com}`";
                    let message = "the nodes of a cluster cannot read a folder";
                    findings.add(&["registry", "kind"], message, help);
                }
                auth_hosts(findings, &layout.auth_hosts);
            }
            Self::Oci(remote, oci) => {
                if remote.endpoint.is_none() {
                    let help = "write `endpoint: registry.example.com`";
                    findings.add(
                        &["registry", "endpoint"],
                        "nothing says where images go",
                        help,
                    );
                }
                remote.check(findings);
                oci.check(findings);
            }
            Self::Ecr(remote, ecr) => {
                remote.check(findings);
                ecr.check(findings, remote);
            }
        }
    }
}

impl RemoteRegistry {
    /// Where a registry and its repositories are: said before the network is asked, which would say
    /// less.
    fn check(&self, findings: &mut Findings<'_>) {
        if let Some(message) = self.endpoint.as_deref().and_then(endpoint::problem) {
            let help = "write `endpoint: registry.example.com`, or `localhost:5000`; what comes \
                        after the host belongs to `repository`, and `plain_http: true` speaks \
                        without TLS";
            findings.add(&["registry", "endpoint"], message, help);
        }

        let name = self.repository.as_deref().and_then(literal);
        if let Some(message) = name.and_then(|name| endpoint::repository_problem(&name)) {
            let help =
                "write `repository: \"shop/{{ service }}\"`: images get their tags by themselves";
            findings.add(&["registry", "repository"], message, help);
        }
        auth_hosts(findings, &self.auth_hosts);
    }
}

impl OciRegistry {
    fn check(&self, findings: &mut Findings<'_>) {
        let counts = self.retention.as_ref().map(|retention| retention.tagged);
        if counts == Some(None) {
            findings.add(
                &["registry", "retention"],
                "nothing says how many images are kept",
                "write `retention: {tagged: 30}`: such a registry does not tell what has no tag",
            );
        }
    }
}

fn auth_hosts(findings: &mut Findings<'_>, hosts: &[String]) {
    for host in hosts {
        if let Some(message) = endpoint::problem(host) {
            findings.add(
                &["registry", "auth_hosts"],
                format!("`{}`: {message}", host.escape_debug()),
                "write `auth_hosts: [auth.example.com]`",
            );
        }
    }
}

/// A template with something short in the place of each value; none for one that has more to it
/// than values.
fn literal(template: &str) -> Option<String> {
    if template.contains("{%") || template.contains("{#") {
        return None;
    }
    let (mut name, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once("{{") {
        name.push_str(before);
        name.push('x');
        rest = after.split_once("}}")?.1;
    }
    name.push_str(rest);
    Some(name)
}
