//! Logging in to ECR: a token that Amazon gives for twelve hours, kept in memory and renewed before its end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;

use crate::driver::aws::{Aws, domain, explained};
use crate::driver::registry::oci::remote::{DockerLogin, Login};
use crate::port::registry::RegistryError;

/// How long before its end a token is renewed.
const MARGIN: Duration = Duration::from_mins(10);
/// How long a token is used whose end is unknown, or has passed by a clock that is wrong.
const DOUBTFUL: Duration = Duration::from_mins(5);

/// The address of an account's registry in a region.
#[must_use]
pub fn address(region: &str, account: &str) -> String {
    format!("{account}.dkr.ecr.{region}.{}", domain(region))
}

/// Logs in to one account's registry; to others as `docker login` did.
#[derive(Debug)]
pub struct EcrLogin {
    aws: Arc<Aws>,
    endpoint: String,
}

impl EcrLogin {
    /// For the registry at this endpoint.
    #[must_use]
    pub const fn new(aws: Arc<Aws>, endpoint: String) -> Self {
        Self { aws, endpoint }
    }
}

#[async_trait]
impl Login for EcrLogin {
    async fn credentials(
        &self,
        registry: &str,
    ) -> Result<(RegistryAuth, Option<Instant>), RegistryError> {
        if registry != self.endpoint {
            return DockerLogin.credentials(registry).await;
        }
        let failed = |reason: String, help: String| RegistryError::Remote {
            what: format!("logging in to {registry}"),
            reason,
            help,
        };
        let answer = self
            .aws
            .ecr()
            .await
            .get_authorization_token()
            .send()
            .await
            .map_err(|error| {
                let (reason, help) = explained("ecr:GetAuthorizationToken", &error);
                failed(reason, help)
            })?;
        let data = answer.authorization_data().first();
        let token = data
            .and_then(|data| data.authorization_token())
            .unwrap_or_default();
        let text = STANDARD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = text
            .as_ref()
            .and_then(|text| text.split_once(':'))
            .ok_or_else(|| {
                failed(
                    "the token has another form than Amazon's".to_owned(),
                    "look at AWS_ENDPOINT_URL".to_owned(),
                )
            })?;
        let auth = RegistryAuth::Basic(user.to_owned(), password.to_owned());
        let ends = data
            .and_then(|data| data.expires_at())
            .and_then(|at| SystemTime::try_from(*at).ok());
        Ok((
            auth,
            Some(Instant::now() + lifetime(ends, SystemTime::now())),
        ))
    }
}

/// How long a token may be used.
fn lifetime(ends: Option<SystemTime>, now: SystemTime) -> Duration {
    let left = ends
        .and_then(|ends| ends.duration_since(now).ok())
        .and_then(|left| left.checked_sub(MARGIN));
    left.unwrap_or(DOUBTFUL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_in_china_has_another_domain() {
        assert_eq!(
            address("eu-central-1", "123"),
            "123.dkr.ecr.eu-central-1.amazonaws.com"
        );
        assert_eq!(
            address("cn-north-1", "123"),
            "123.dkr.ecr.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn a_token_is_renewed_before_its_end_and_one_that_has_ended_makes_no_loop() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(100_000);
        assert_eq!(
            lifetime(Some(now + Duration::from_hours(12)), now),
            Duration::from_mins(710)
        );
        assert_eq!(
            lifetime(Some(now - Duration::from_hours(90_000)), now),
            DOUBTFUL
        );
        assert_eq!(lifetime(None, now), DOUBTFUL);
    }
}
