//! Servers that keep secrets, and how to log in to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::EnvironmentConfig;
use crate::model::secret::{AddressFault, Credential, VaultAuth, VaultServer};

/// Servers that keep secrets, and how to log in to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourcesConfig {
    /// A Vault, or an `OpenBao`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultServer>,
    /// Amazon's Secrets Manager and Parameter Store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsSource>,
}

/// Amazon's Secrets Manager and Parameter Store. Credentials come from where every AWS tool takes
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsSource {
    /// The region; that of the environment of AWS (`AWS_REGION`, a profile) without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl SourcesConfig {
    /// The variables that open a source: no program of the project's sees them.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        let auth = self.vault.as_ref().and_then(|vault| vault.auth.as_ref());
        let credential = auth.and_then(|auth| match auth {
            VaultAuth::Token(token) => Some(token),
            VaultAuth::Approle(role) => Some(&role.secret_id),
            VaultAuth::Kubernetes(_) => None,
            VaultAuth::Jwt(role) => Some(&role.token),
        });
        let variable = credential.and_then(|credential| match credential {
            Credential::Env(name) => Some(name.clone()),
            Credential::File(_) => None,
        });
        variable.into_iter()
    }

    /// What is wrong with the sources of an environment.
    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        let Some(vault) = &environment.sources.vault else {
            return;
        };
        let Some(address) = &vault.address else {
            return;
        };
        let at = ["sources", "vault", "address"];
        match vault.address_of(address) {
            Ok(_) => {}
            Err(fault @ AddressFault::Login) => {
                findings.add_hiding(&at, address, fault.to_string(), fault.help());
            }
            Err(fault @ (AddressFault::Malformed | AddressFault::InClear)) => {
                findings.add(&at, fault.to_string(), fault.help());
            }
        }
    }
}
