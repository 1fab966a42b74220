//! Where a secret comes from: one key says the source, and has what it needs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::de::listed;
use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::schema::EnvironmentConfig;
use crate::model::Period;
use crate::model::secret::{
    AwsParameter, AwsSecret, ClusterSecret, ProgramSecret, Rotation, SecretRef, SopsSecret,
    VaultSecret,
};

/// How long a program has to print a secret: a person may have to unlock a keychain.
const PROGRAM: Period = Period::from_secs(30);

/// The keys of which exactly one says the source.
pub(in crate::config) const SOURCES: [&str; 8] = [
    "file",
    "env",
    "run",
    "sops",
    "vault",
    "aws_secret",
    "aws_parameter",
    "kubernetes",
];

/// Where a secret comes from: exactly one of `file`, `env`, `run`, `sops`,
/// `vault`, `aws_secret`, `aws_parameter` and `kubernetes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecretConfig {
    /// A file, relative to the project's folder: its content without the last line end. The agent
    /// reads it again at each start of an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// An environment variable of the process that applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// A program with its arguments, started without a shell in the project's folder: what it
    /// prints, without the last line end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Vec<String>>,
    /// `run`: how long the program may take; 30 seconds without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// A value in a file of the project that is encrypted with SOPS, which the program `sops`
    /// decrypts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sops: Option<SopsSecret>,
    /// A value in a KV store of Vault, or of `OpenBao`. `sources.vault` says where that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultSecret>,
    /// A secret of Amazon's Secrets Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_secret: Option<AwsSecret>,
    /// A parameter of the Parameter Store of Amazon's Systems Manager, by its name or ARN:
    /// `/shop/flags`, or `/shop/flags:3` for a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_parameter: Option<String>,
    /// A Secret of the cluster that somebody else makes. The pods name it, and shipit does not read
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<ClusterSecret>,
    /// Whether another version or value makes a release.
    #[serde(skip_serializing_if = "Rotation::is_release")]
    pub rotation: Rotation,
}

impl SecretConfig {
    /// The source; none when no key or more than one says it, which a checked configuration never
    /// has.
    #[must_use]
    pub fn source(&self) -> Option<SecretRef> {
        let mut sources = self.sources().into_iter();
        let (source, None) = (sources.next()?.1, sources.next()) else {
            return None;
        };
        Some(source)
    }

    /// Every source that a key says, by that key.
    fn sources(&self) -> Vec<(&'static str, SecretRef)> {
        let program = |command: &Vec<String>| {
            SecretRef::Run(ProgramSecret {
                command: command.clone(),
                timeout: self.timeout.unwrap_or(PROGRAM),
            })
        };
        let all = [
            ("file", self.file.clone().map(SecretRef::File)),
            ("env", self.env.clone().map(SecretRef::Env)),
            ("run", self.run.as_ref().map(program)),
            ("sops", self.sops.clone().map(SecretRef::Sops)),
            ("vault", self.vault.clone().map(SecretRef::Vault)),
            (
                "aws_secret",
                self.aws_secret.clone().map(SecretRef::AwsSecret),
            ),
            (
                "aws_parameter",
                self.aws_parameter.as_deref().map(parameter),
            ),
            (
                "kubernetes",
                self.kubernetes.clone().map(SecretRef::Kubernetes),
            ),
        ];
        let said = all.into_iter();
        said.filter_map(|(key, source)| Some((key, source?)))
            .collect()
    }

    /// What is wrong with the secrets of an environment.
    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        for (name, secret) in &environment.secrets {
            secret.one_source(findings, name);
            secret.keys(findings, name);
            if secret.kubernetes.is_some() {
                of_cluster(findings, environment, name, secret);
            }
        }
    }

    fn one_source(&self, findings: &mut Findings<'_>, name: &str) {
        let said: Vec<&str> = self.sources().into_iter().map(|(key, _)| key).collect();
        let (found, help) = match said.as_slice() {
            [_] => return,
            [] => ("there is none".to_owned(), "write `{file: PATH}`, for one"),
            several => {
                let found = format!("there are {}", listed(several));
                (found, "keep one of them")
            }
        };
        let message = format!("one of {} is needed here, and {found}", listed(&SOURCES));
        findings.add(&["secrets", name], message, help);
    }

    fn keys(&self, findings: &mut Findings<'_>, name: &str) {
        self.of_program(findings, name);
        self.of_this_machine(findings, name);
        let file = self.sops.as_ref().map(|sops| &sops.file);
        if let Some(file) = file
            && (file.as_os_str().is_empty() || file.is_absolute())
        {
            findings.add(
                &["secrets", name, "sops", "file"],
                "a path in the project's folder is needed",
                "write `sops: {file: secrets/production.yaml, key: database.url}`",
            );
        }
        if let Some(vault) = &self.vault {
            of_vault(findings, name, vault);
        }
        self.of_amazon(findings, name);
    }

    /// A file or a variable has a name.
    fn of_this_machine(&self, findings: &mut Findings<'_>, name: &str) {
        if self
            .file
            .as_ref()
            .is_some_and(|file| file.as_os_str().is_empty())
        {
            let help = "write `file: /run/secrets/db`";
            findings.add(&["secrets", name, "file"], "there is no path", help);
        }
        let variable = self.env.as_deref();
        if let Some(variable) = variable
            && (variable.is_empty() || variable.contains(['$', '=', '\0', '{', '}']))
        {
            let plain = variable.trim_matches(['$', '{', '}', '=', '\0']);
            let help = format!(
                "write the name alone: `env: {}`",
                if plain.is_empty() { "DB" } else { plain }
            );
            findings.add(
                &["secrets", name, "env"],
                "this is no name of a variable",
                help,
            );
        }
    }

    fn of_program(&self, findings: &mut Findings<'_>, name: &str) {
        let program = self.run.as_ref().map(|command| command.first());
        if let Some(first) = program
            && first.is_none_or(String::is_empty)
        {
            findings.add(
                &["secrets", name, "run"],
                "there is no program",
                "write `run: [op, read, \"op://prod/db/password\"]`",
            );
        }

        let at = ["secrets", name, "timeout"];
        if program.is_none() && self.timeout.is_some() {
            let message = "only a program (`run`) has a time of its own";
            findings.add(&at, message, TAKE_OUT);
        }
        if self.timeout == Some(Period::ZERO) {
            findings.add(&at, "no time at all", "write how long, as `30s`");
        }
    }

    fn of_amazon(&self, findings: &mut Findings<'_>, name: &str) {
        if self
            .aws_secret
            .as_ref()
            .is_some_and(|secret| secret.name.is_empty())
        {
            let at = ["secrets", name, "aws_secret", "name"];
            let help = "write `aws_secret: {name: shop/database}`";
            findings.add(&at, "there is no name", help);
        }
        let named = self.aws_parameter.as_deref();
        if let Some(text) = named.filter(|text| AwsParameter::parse(text).is_none()) {
            findings.add(
                &["secrets", name, "aws_parameter"],
                format!("`{text}` is no name of a parameter"),
                "write `aws_parameter: /shop/flags`, or `/shop/flags:3` for a version; a label is \
                 none",
            );
        }
    }
}

/// A Secret of a cluster is for pods, and nobody reads it who would know of a rotation.
fn of_cluster(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    secret: &SecretConfig,
) {
    if environment.cluster.kubernetes().is_none() {
        findings.add(
            &["secrets", name, "kubernetes"],
            "only pods can have a Secret of a cluster",
            "write another source, as `file` or `vault`, for an environment on a host",
        );
    }
    if !secret.rotation.is_release() {
        let message = "shipit does not read this Secret, and so knows of no rotation";
        findings.add(&["secrets", name, "rotation"], message, TAKE_OUT);
    }
}

/// A checked configuration has no name that is none.
fn parameter(text: &str) -> SecretRef {
    let named = AwsParameter::parse(text);
    SecretRef::AwsParameter(named.unwrap_or_else(|| AwsParameter {
        name: text.to_owned(),
        version: None,
    }))
}

fn of_vault(findings: &mut Findings<'_>, name: &str, vault: &VaultSecret) {
    let parts: Vec<&str> = vault.path.trim_matches('/').split('/').collect();
    let is_plain = |part: &&str| {
        let is_step = matches!(*part, "" | "." | "..");
        !is_step && !part.contains(['?', '#', '\\']) && !part.chars().any(char::is_control)
    };
    if parts.len() < 2 || !parts.iter().all(is_plain) {
        findings.add(
            &["secrets", name, "vault", "path"],
            "a path with its mount is needed",
            "write `vault: {path: secret/storefront, key: database_url}`",
        );
    }
    let mount = vault.mount.as_deref().map(|mount| mount.trim_matches('/'));
    let is_above = |mount: &str| {
        let below = vault.path.trim_matches('/').strip_prefix(mount);
        below.is_some_and(|below| below.starts_with('/'))
    };
    if mount.is_some_and(|mount| !is_above(mount)) {
        findings.add(
            &["secrets", name, "vault", "mount"],
            format!("`{}` does not begin with it", vault.path),
            "`path` has the mount, too: `{path: secret/storefront, mount: secret}`",
        );
    }
    if vault.version == Some(0) {
        let at = ["secrets", name, "vault", "version"];
        findings.add(&at, "versions are counted from 1", TAKE_OUT);
    }
}
