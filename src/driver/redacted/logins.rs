//! What a registry, a cluster or Amazon is logged in to with is hidden as the secrets are.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

use crate::driver::kubernetes::client::{ClusterLogin, ClusterPlace};
use crate::driver::registry::oci::remote::{LoggedIn, Login};
use crate::files::login::Credentials;
use crate::model::secret::SecretValue;
use crate::port::engine::EngineError;
use crate::port::registry::RegistryError;
use crate::redact::Redactor;

/// Hides a text from now on.
pub(in crate::driver) fn remember(redactor: &Redactor, text: &str) {
    redactor.remember(&SecretValue::new(text.to_owned()));
}

/// A login to registries that tells what it gives.
pub struct RememberedLogin {
    inner: Arc<dyn Login>,
    redactor: Redactor,
}

impl RememberedLogin {
    /// Around another login.
    #[must_use]
    pub fn new(inner: Arc<dyn Login>, redactor: Redactor) -> Self {
        Self { inner, redactor }
    }
}

#[async_trait]
impl Login for RememberedLogin {
    async fn log_in(&self, registry: &str) -> Result<LoggedIn, RegistryError> {
        let login = self.inner.log_in(registry).await?;
        match &login.credentials {
            Some(Credentials::Password { password, .. }) => remember(&self.redactor, password),
            Some(Credentials::Identity(token) | Credentials::Token(token)) => {
                remember(&self.redactor, token);
            }
            None => {}
        }
        Ok(login)
    }

    fn scope(&self, registry: &str, repository: &str) -> String {
        self.inner.scope(registry, repository)
    }
}

/// A login to a cluster that tells what it gives.
#[derive(Debug)]
pub struct RememberedClusterLogin {
    inner: Arc<dyn ClusterLogin>,
    redactor: Redactor,
}

impl RememberedClusterLogin {
    /// Around another login.
    #[must_use]
    pub fn new(inner: Arc<dyn ClusterLogin>, redactor: Redactor) -> Self {
        Self { inner, redactor }
    }
}

#[async_trait]
impl ClusterLogin for RememberedClusterLogin {
    async fn place(&self) -> Result<Option<ClusterPlace>, EngineError> {
        self.inner.place().await
    }

    async fn token(&self) -> Result<String, EngineError> {
        let token = self.inner.token().await?;
        remember(&self.redactor, &token);
        Ok(token)
    }

    async fn renew(&self) {
        self.inner.renew().await;
    }

    fn names(&self) -> String {
        self.inner.names()
    }
}

/// How long keys have to hold still to be given once more: as long as AWS's own tools have it.
const HOLDING: Duration = Duration::from_mins(5);

/// A source of Amazon's keys that tells what it gives, and is asked again only for keys that end
/// soon. What is public of them, the key's name, is not hidden.
#[derive(Debug)]
pub(in crate::driver) struct RememberedKeys {
    inner: SharedCredentialsProvider,
    redactor: Redactor,
    /// Who holds the lock asks; others wait for the same keys.
    known: tokio::sync::Mutex<Option<Keys>>,
}

impl RememberedKeys {
    /// Around another source.
    pub fn new(inner: SharedCredentialsProvider, redactor: Redactor) -> Self {
        Self {
            inner,
            redactor,
            known: tokio::sync::Mutex::default(),
        }
    }
}

/// Whether keys hold for a while; those without an end do.
fn hold(keys: &Keys) -> bool {
    let soon = SystemTime::now() + HOLDING;
    keys.expiry().is_none_or(|end| end > soon)
}

impl ProvideCredentials for RememberedKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let mut known = self.known.lock().await;
            if let Some(keys) = known.as_ref().filter(|keys| hold(keys)) {
                return Ok(keys.clone());
            }

            let keys = self.inner.provide_credentials().await?;
            remember(&self.redactor, keys.secret_access_key());
            if let Some(token) = keys.session_token() {
                remember(&self.redactor, token);
            }
            *known = Some(keys.clone());
            Ok(keys)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct As(Credentials);

    #[async_trait]
    impl Login for As {
        async fn log_in(&self, _: &str) -> Result<LoggedIn, RegistryError> {
            Ok(LoggedIn {
                credentials: Some(self.0.clone()),
                ..LoggedIn::default()
            })
        }
    }

    #[tokio::test]
    async fn what_opens_a_registry_is_hidden_from_then_on() {
        let value = "hunter-2-of-a-registry";
        let password = Credentials::Password {
            user: "robot".to_owned(),
            password: value.to_owned(),
        };
        for credentials in [
            password,
            Credentials::Identity(value.to_owned()),
            Credentials::Token(value.to_owned()),
        ] {
            let redactor = Redactor::default();
            let login = RememberedLogin::new(Arc::new(As(credentials)), redactor.clone());
            login.log_in("registry.example.com").await.expect("a login");
            assert_eq!(redactor.text(&format!("by robot:{value}")), "by robot:***");
        }
    }

    /// Keys that end so many seconds from now, and how often they were asked for.
    #[derive(Debug, Default)]
    struct Counting {
        ends_in: Option<u64>,
        asked: Arc<std::sync::atomic::AtomicUsize>,
    }

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.asked
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let end = self.ends_in.map(Duration::from_secs);
            let end = end.map(|after| SystemTime::now() + after);
            let keys = Keys::new("AKIDEXAMPLE", "secret", None, end, "test");
            future::ProvideCredentials::ready(Ok(keys))
        }
    }

    #[tokio::test]
    async fn keys_that_hold_for_a_while_are_asked_for_once() {
        for (ends_in, times) in [(None, 1), (Some(600), 1), (Some(200), 3)] {
            let source = Counting {
                ends_in,
                ..Counting::default()
            };
            let asked = Arc::clone(&source.asked);
            let source = SharedCredentialsProvider::new(source);
            let keys = RememberedKeys::new(source, Redactor::default());
            for _ in 0..3 {
                keys.provide_credentials().await.expect("keys");
            }
            let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(asked, times, "{ends_in:?}");
        }
    }

    #[tokio::test]
    async fn what_opens_amazon_is_hidden_from_then_on() {
        let keys = aws_credential_types::Credentials::new(
            "AKIDEXAMPLE",
            "the-secret-key-of-amazon",
            Some("the-token-of-a-session".to_owned()),
            None,
            "test",
        );
        let redactor = Redactor::default();
        let source = SharedCredentialsProvider::new(keys);
        let source = RememberedKeys::new(source, redactor.clone());
        source.provide_credentials().await.expect("keys");
        let said = "AKIDEXAMPLE, the-secret-key-of-amazon, the-token-of-a-session";
        assert_eq!(redactor.text(said), "AKIDEXAMPLE, ***, ***");
    }
}
