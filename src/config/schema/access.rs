//! Who may do what inside of Amazon's cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::findings::Findings;
use crate::model::short::{self, Short};

/// What a role or user may do inside of an EKS cluster. A key that is not given is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessEntry {
    /// Amazon's policies: `AmazonEKSClusterAdminPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<AccessPolicy>>,
    /// The groups of Kubernetes that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// A policy for inside of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessPolicy {
    /// In the whole cluster.
    Everywhere(String),
    /// In some namespaces.
    Within(PolicyWithin),
}

/// A policy that holds in some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyWithin {
    /// Its name: `AmazonEKSEditPolicy`.
    pub policy: String,
    /// The namespaces.
    pub namespaces: Vec<String>,
}

impl Short for AccessPolicy {
    type Long = PolicyWithin;

    const EXPECTED: &'static str = "a policy's name, or a map with `policy` and `namespaces`";

    fn long(long: PolicyWithin) -> Self {
        Self::Within(long)
    }

    fn text(text: String) -> Self {
        Self::Everywhere(text)
    }
}

impl<'de> Deserialize<'de> for AccessPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

impl AccessPolicy {
    /// Its name without Amazon's prefix.
    #[must_use]
    pub fn name(&self) -> String {
        let (Self::Everywhere(name) | Self::Within(PolicyWithin { policy: name, .. })) = self;
        name.rsplit(":cluster-access-policy/")
            .next()
            .unwrap_or(name)
            .to_owned()
    }

    /// The namespaces in which it holds; all of them when there are none.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        match self {
            Self::Everywhere(_) => &[],
            Self::Within(within) => &within.namespaces,
        }
    }
}

impl AccessEntry {
    /// What Amazon refuses of access entries, said before anything was done.
    pub(super) fn check(&self, findings: &mut Findings<'_>, principal: &str) {
        let at = ["cluster", "access", principal];
        let fields: Vec<&str> = principal.splitn(6, ':').collect();
        let is_principal = matches!(fields[..], ["arn", _, "iam", _, _, who]
            if who == "root" || who.starts_with("role/") || who.starts_with("user/"));
        if !is_principal {
            let help = "write `arn:aws:iam::123456789012:role/NAME`; a session is its role's";
            findings.add(&at, "this is no role or user of IAM", help);
        }

        for group in self.groups.iter().flatten() {
            let kept = ["system:", "eks:", "aws:", "amazon:", "iam:"];
            if kept.iter().any(|prefix| group.starts_with(prefix)) {
                findings.add(
                    &[&at[..], &["groups"]].concat(),
                    format!("Amazon keeps the group {group} for itself"),
                    "bind a group of your own to the role, or use `policies`",
                );
            }
        }
        self.check_policies(findings, &[&at[..], &["policies"]].concat());
    }

    fn check_policies(&self, findings: &mut Findings<'_>, at: &[&str]) {
        let policies = self.policies.as_deref().unwrap_or_default();
        for (index, policy) in policies.iter().enumerate() {
            let name = policy.name();
            if policies[..index].iter().any(|other| other.name() == name) {
                let help = "write all of its namespaces in one";
                findings.add(at, format!("{name} is named twice"), help);
            }
            if let AccessPolicy::Within(within) = policy
                && within.namespaces.is_empty()
            {
                let policy = &within.policy;
                findings.add(
                    at,
                    format!("{policy} holds in no namespace"),
                    format!("name some, or write `{policy}` alone: then it holds in all of them"),
                );
            }
        }
    }
}
