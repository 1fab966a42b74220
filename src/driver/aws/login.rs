//! Logging in to ECR: a token that Amazon gives for twelve hours, kept in memory and renewed before
//! its end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::driver::aws::recipient::{Recipient, is_registry};
use crate::driver::aws::{Aws, domain, explained};
use crate::driver::registry::oci::remote::{LoggedIn, Login, WrittenLogin};
use crate::files::login::Credentials;
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
    recipient: Recipient,
}

impl EcrLogin {
    /// For the registry at this endpoint.
    #[must_use]
    pub const fn new(aws: Arc<Aws>, endpoint: String, recipient: Recipient) -> Self {
        Self {
            aws,
            endpoint,
            recipient,
        }
    }

    fn failed(&self, reason: impl Into<String>, help: impl Into<String>) -> RegistryError {
        RegistryError::Remote {
            what: format!("logging in to {}", self.endpoint),
            reason: reason.into(),
            help: help.into(),
        }
    }

    /// Amazon's password opens every repository of the account: it is not even asked for when it
    /// would go elsewhere.
    async fn may_have_it(&self) -> Result<(), RegistryError> {
        let is_trusted = self.recipient == Recipient::Anybody || is_registry(&self.endpoint);
        if is_trusted || self.aws.stands_in("ECR").await {
            return Ok(());
        }
        Err(self.failed(
            "it is no registry of Amazon's, and Amazon's password would be sent there",
            "write `registry: {endpoint_gets_credentials: true}` if this address is yours and \
             leads to Amazon; `kind: oci` is for any other registry",
        ))
    }
}

#[async_trait]
impl Login for EcrLogin {
    async fn log_in(&self, registry: &str) -> Result<LoggedIn, RegistryError> {
        if registry != self.endpoint {
            return WrittenLogin.log_in(registry).await;
        }
        self.may_have_it().await?;
        let asked = self.aws.ecr().await.get_authorization_token().send().await;
        let answer = asked.map_err(|error| {
            let (reason, help) = explained("ecr:GetAuthorizationToken", &error);
            self.failed(reason, help)
        })?;

        let data = answer.authorization_data().first();
        let token = data.and_then(|data| data.authorization_token());
        let credentials = decode(token.unwrap_or_default());
        let odd = || {
            self.failed(
                "the token has another form than Amazon's",
                "look at AWS_ENDPOINT_URL",
            )
        };
        let ends = data
            .and_then(|data| data.expires_at())
            .and_then(|at| SystemTime::try_from(*at).ok());
        Ok(LoggedIn {
            credentials: Some(credentials.ok_or_else(odd)?),
            problem: None,
            until: Some(Instant::now() + lifetime(ends, SystemTime::now())),
        })
    }

    fn scope(&self, registry: &str, repository: &str) -> String {
        if registry == self.endpoint {
            return registry.to_owned();
        }
        WrittenLogin.scope(registry, repository)
    }
}

/// `USER:PASSWORD` in base64.
fn decode(token: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    })
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
    use crate::redact::Redactor;

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

    /// Nothing here asks Amazon: there is no region in which it could be.
    #[tokio::test]
    async fn amazons_password_is_not_even_asked_for_to_be_sent_elsewhere() {
        for endpoint in [
            "registry.example.com",
            "123.dkr.ecr.eu-central-1.amazonaws.com.example.com",
        ] {
            let aws = Arc::new(Aws::new(
                Some("eu-central-1".to_owned()),
                Redactor::default(),
            ));
            let login = EcrLogin::new(aws, endpoint.to_owned(), Recipient::Amazon);
            let error = login.log_in(endpoint).await.expect_err("refused");
            assert!(
                error.to_string().contains("no registry of Amazon's"),
                "{error}"
            );
        }
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
