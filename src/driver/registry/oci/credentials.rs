//! Credentials that `docker login` or `skopeo login` wrote, or that a credential helper has.

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

use crate::port::registry::RegistryError;

/// The credentials for a registry; nobody's when none were written for it.
pub(super) async fn of(registry: &str) -> Result<RegistryAuth, RegistryError> {
    let name = registry.to_owned();
    // A helper is a program that is waited for.
    let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&name)).await;
    let failed = |reason: String| RegistryError::Io {
        what: format!("reading the credentials for {registry}"),
        source: std::io::Error::other(reason),
    };
    match found.map_err(|panic| failed(panic.to_string()))? {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigReadError,
        ) => Ok(RegistryAuth::Anonymous),
        Err(error) => Err(failed(error.to_string())),
    }
}
