//! Amazon's registry, with what makes it what it should be.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::{RemoteRegistry, Text};
use crate::model::Period;

/// What is said of a key that only an address of the user's own needs.
pub(in crate::config) const NO_ENDPOINT: &str =
    "without an `endpoint` of your own the login goes to Amazon alone";

/// What only Amazon's registry has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EcrRegistry {
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The account's number: twelve digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Whether Amazon's password is sent to `endpoint` although that is none of Amazon's addresses.
    /// It opens every repository of the account that this identity may use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_gets_credentials: bool,
    /// Whether a tag stays where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable_tags: Option<bool>,
    /// Whether images are scanned when they are pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_on_push: Option<bool>,
    /// How long the registry keeps images by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<EcrRetention>,
    /// The whole lifecycle policy, instead of `retention`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy: Option<serde_json::Value>,
    /// Who may do what with the repositories: a policy document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
    /// The key that images are encrypted with; the registry's own without it. It cannot be changed
    /// later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Tags of the repositories.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Text>,
    /// Other registries whose images are fetched through this one and kept, by the prefix of their
    /// repositories here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pull_through: BTreeMap<String, PullThrough>,
    /// Where images are copied to when they are pushed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replication: Vec<Replication>,
}

/// How long Amazon's registry keeps images by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EcrRetention {
    /// How many tagged images of each repository.
    pub tagged: Option<u32>,
    /// How long untagged ones.
    pub untagged: Option<Period>,
}

/// Another registry whose images are fetched through this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PullThrough {
    /// Its address: `registry-1.docker.io`, `quay.io`. Another one means another rule.
    pub upstream: String,
    /// The secret of Secrets Manager that has the user and the password, by its ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Where images are copied to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    /// The region.
    pub to: String,
    /// The account's number; the registry's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The beginnings of the repositories' names; those of the environment without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

impl Replication {
    /// The region and the account, as one text.
    #[must_use]
    pub fn place(&self, registry: &EcrRegistry) -> String {
        let account = self.account.as_ref().or(registry.account.as_ref());
        format!("{}/{}", self.to, account.map_or("", String::as_str))
    }
}

impl EcrRegistry {
    pub(super) fn check(&self, findings: &mut Findings<'_>, remote: &RemoteRegistry) {
        if self.region.is_none() || self.account.is_none() {
            let help = "write `region: eu-central-1` and `account: \"123456789012\"`";
            findings.add(
                &["registry"],
                "nothing says in which region and account",
                help,
            );
        }
        self.check_address(findings, remote);
        self.check_retention(findings);
        self.check_pull_through(findings);
        self.check_replication(findings);
    }

    /// What stands in the address of a registry of Amazon's, and whether it goes there.
    fn check_address(&self, findings: &mut Findings<'_>, remote: &RemoteRegistry) {
        region(findings, "registry", self.region.as_deref());
        let is_account = |account: &String| {
            account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit())
        };
        if self
            .account
            .as_ref()
            .is_some_and(|account| !is_account(account))
        {
            let help = "write `account: \"123456789012\"`";
            findings.add(
                &["registry", "account"],
                "an account has twelve digits",
                help,
            );
        }

        if remote.endpoint.is_none() {
            let keys = ["endpoint_gets_credentials", "plain_http"];
            findings.refuse(&["registry"], &keys, NO_ENDPOINT);
        }
    }

    fn check_retention(&self, findings: &mut Findings<'_>) {
        let Some(retention) = &self.retention else {
            return;
        };
        let path = ["registry", "retention"];
        if self.lifecycle_policy.is_some() {
            findings.add(
                &path,
                "`lifecycle_policy` says this already",
                "keep one of them",
            );
        }
        if retention.tagged.is_none() && retention.untagged.is_none() {
            let help = "write `retention: {tagged: 30, untagged: 7d}`";
            findings.add(&path, "nothing says which images are kept", help);
        }
    }

    fn check_pull_through(&self, findings: &mut Findings<'_>) {
        for (prefix, rule) in &self.pull_through {
            let at = ["registry", "pull_through", prefix];
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
            if prefix != "ROOT" && (!(2..=30).contains(&prefix.len()) || !prefix.chars().all(fits))
            {
                let help = "2 to 30 lower-case letters, digits, `.`, `_`, `-` and `/`; or `ROOT` \
                            for all repositories";
                findings.add(&at, "this cannot begin a repository's name", help);
            }
            if rule.upstream.is_empty() || rule.upstream.contains("://") {
                let help = "write `upstream: registry-1.docker.io`: a host, without `https://`";
                findings.add(&at, "nothing says which registry", help);
            }
            let is_secret = |arn: &String| {
                arn.starts_with("arn:") && arn.contains(":secret:ecr-pullthroughcache/")
            };
            if rule.credential.as_ref().is_some_and(|arn| !is_secret(arn)) {
                let help = "the ARN of a secret whose name begins with `ecr-pullthroughcache/`, as \
                            Amazon wants it";
                let path = ["registry", "pull_through", prefix, "credential"];
                findings.add(&path, "this is no secret for it", help);
            }
        }
    }

    fn check_replication(&self, findings: &mut Findings<'_>) {
        let own = format!(
            "{}/{}",
            self.region.as_deref().unwrap_or_default(),
            self.account.as_deref().unwrap_or_default()
        );
        for (index, rule) in self.replication.iter().enumerate() {
            let at = index.to_string();
            let at = ["registry", "replication", &at];
            let place = rule.place(self);
            if rule.to.is_empty() {
                findings.add(&at, "nothing says where to", "write `to: eu-west-1`");
            } else if place == own {
                let help = "name another region, or another `account`";
                findings.add(&at, "this is where the images are", help);
            }

            let mut before = self.replication[..index].iter();
            if before.any(|other| other.place(self) == place) {
                let help = "write all `repositories` in one of them";
                findings.add(&at, format!("{place} is named twice"), help);
            }
            if rule.repositories.iter().any(|prefix| prefix.len() < 2) {
                let message = "a repository's beginning has two letters or more";
                findings.add(&at, message, "write `[storefront/]`");
            }
        }
    }
}

/// A region becomes a part of a host's name.
pub(in crate::config) fn region(findings: &mut Findings<'_>, at: &str, region: Option<&str>) {
    let is_region = |region: &str| {
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !region.is_empty() && region.bytes().all(is_plain)
    };
    if region.is_some_and(|region| !is_region(region)) {
        findings.add(
            &[at, "region"],
            "this is no region",
            "write `region: eu-central-1`",
        );
    }
}
