//! What one needs to tell others, without the session that it was taken from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::schema::{NotifyConfig, SecretConfig};
use crate::model::notice::{Notice, NoticeEvent, Receipt};
use crate::model::{EnvironmentName, NotifyName};
use crate::ops::notify::text;
use crate::ops::notify::wiring::{Values, notifier};
use crate::ops::{Error, Session};
use crate::port::Ports;
use crate::port::notifier::{DeliveryError, DeliveryFault};

/// How long one attempt may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What one needs to tell others.
pub(super) struct Office {
    pub environment: EnvironmentName,
    pub ports: Ports,
    /// Those who are told of the environment.
    pub told: BTreeMap<NotifyName, NotifyConfig>,
    secrets: BTreeMap<String, SecretConfig>,
    root: PathBuf,
}

impl Office {
    pub fn of(session: &Session) -> Result<Self, Error> {
        let configuration = session.configuration()?;
        let environment = session.environment.clone();
        let all = configuration.notify.iter();
        let told = all.filter(|(_, config)| config.is_for(&environment));
        Ok(Self {
            told: told.map(|(name, it)| (name.clone(), it.clone())).collect(),
            environment,
            ports: session.ports.clone(),
            secrets: configuration.secrets.clone(),
            root: session.root.clone(),
        })
    }

    /// Tells one of something. Its secrets are read when they are needed, and kept by nobody.
    pub async fn send(
        &self,
        name: &NotifyName,
        notice: &Notice,
        thread: Option<Receipt>,
    ) -> Result<Option<Receipt>, DeliveryError> {
        let config = self
            .told
            .get(name)
            .ok_or_else(|| unset("it is not there any more"))?;
        let values = self.values(config).await?;
        let notifier = notifier(&self.root, config, &values);
        let notifier = notifier.ok_or_else(|| unset("its configuration has not all it needs"))?;
        let message = text::message(config, notice, notifier.as_ref(), thread.clone()).await;
        let message = match message {
            Ok(message) => message,
            Err(error) if notice.event == NoticeEvent::Test => return Err(error),
            // What has happened is more than the words for it.
            Err(error) => text::plain(notice, &error, thread),
        };
        let sent = tokio::time::timeout(LIMIT, notifier.send(&message)).await;
        sent.unwrap_or_else(|_| Err(late(LIMIT)))
    }

    async fn values(&self, config: &NotifyConfig) -> Result<Values, DeliveryError> {
        let mut values = Values::new();
        for (_, name) in config.secrets() {
            let from = self.secrets.get(name).and_then(SecretConfig::source);
            let from = from.ok_or_else(|| unset("its secret is not there any more"))?;
            let read = self.ports.secrets.read(name, &from).await;
            let read = read.map_err(|error| DeliveryError {
                reason: error.to_string(),
                help: error.help,
                kind: DeliveryFault::Refused,
            })?;
            values.insert(name.to_owned(), read.value);
        }
        Ok(values)
    }
}

/// An attempt that came to no end in its time.
pub(super) fn late(within: Duration) -> DeliveryError {
    DeliveryError {
        reason: format!("it was not done within {} s", within.as_secs()),
        help: "it is tried again by the next command".to_owned(),
        kind: DeliveryFault::Unavailable(None),
    }
}

fn unset(reason: &str) -> DeliveryError {
    DeliveryError {
        reason: reason.to_owned(),
        help: "look at `notify` in shipit.yaml".to_owned(),
        kind: DeliveryFault::Refused,
    }
}
