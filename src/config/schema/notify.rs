//! Who is told of runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::{EnvEntry, SecretEntry};
use crate::model::notice::NoticeEvent;
use crate::model::{EnvironmentName, NotifyName};

/// All who are told, by names of your own.
pub type Notify = BTreeMap<NotifyName, NotifyConfig>;

/// One that is told of runs. Exactly one of `slack`, `webhook`, `email` and `teams`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {
    /// A channel of Slack's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackConfig>,
    /// A program that takes webhooks, signed as Standard Webhooks says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// People, by e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailConfig>,
    /// A channel of Microsoft Teams'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teams: Option<TeamsConfig>,
    /// What is told: how a run ended, and that it has started. Every end without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<BTreeSet<NoticeEvent>>,
    /// In which environments; in all without it.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<EnvironmentName>>,
    /// A template in the place of the title. It sees project, environment, event, command, summary,
    /// release, commit, branch, actor, run, page, reason and notes, each made harmless for where it
    /// goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A template in the place of what stands below the title. It sees the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl NotifyConfig {
    /// Whether this is told.
    #[must_use]
    pub fn wants(&self, event: NoticeEvent) -> bool {
        match &self.on {
            Some(events) => events.contains(&event),
            None => NoticeEvent::ENDS.contains(&event),
        }
    }

    /// Whether it is told of this environment.
    #[must_use]
    pub fn is_for(&self, environment: &EnvironmentName) -> bool {
        let named = self.environments.as_ref();
        named.is_none_or(|named| named.contains(environment))
    }

    /// The secrets that it needs, by the keys that name them.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static [&'static str], &str)> {
        let slack = self.slack.as_ref();
        let webhook = self.webhook.as_ref();
        let url = webhook.and_then(|it| match &it.url {
            EnvEntry::Secret(secret) => Some(secret),
            EnvEntry::Text(_) => None,
        });
        let all: [(&'static [&'static str], Option<&SecretEntry>); 6] = [
            (&["slack", "token"], slack.and_then(|it| it.token.as_ref())),
            (
                &["slack", "webhook"],
                slack.and_then(|it| it.webhook.as_ref()),
            ),
            (&["webhook", "url"], url),
            (&["webhook", "secret"], webhook.map(|it| &it.secret)),
            (
                &["email", "password"],
                self.email.as_ref().and_then(|it| it.password.as_ref()),
            ),
            (
                &["teams", "webhook"],
                self.teams.as_ref().map(|it| &it.webhook),
            ),
        ];
        let named = all.into_iter();
        named
            .filter_map(|(key, secret)| Some((key, secret?.secret.as_str())))
            .collect()
    }
}

/// A channel of Slack's: a bot with its `token`, or an incoming `webhook`, which can only post.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlackConfig {
    /// `token`: the channel's id, as `C0123456789`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The token of a bot with the scope `chat:write`. It keeps one message for each release up to
    /// date, with a thread below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretEntry>,
    /// The address of an incoming webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<SecretEntry>,
    /// `token`: where the API is, if not at `https://slack.com/api`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
}

/// A program that takes webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Its address: a text, or `{secret: NAME}`.
    pub url: EnvEntry,
    /// The key that both know: `whsec_`, and 24 to 64 bytes in base64.
    pub secret: SecretEntry,
}

/// People, by e-mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// The mail server: a host, or a host and a port.
    pub server: String,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: EmailTls,
    /// A file of certificates that are trusted besides the machine's, relative to the project's
    /// folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The user, where the server wants a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretEntry>,
    /// Who sends, as `shipit <shipit@example.com>`.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmailTls {
    /// It begins in the open, and goes on encrypted or not at all; at port 587.
    #[default]
    Starttls,
    /// From the first byte on; at port 465.
    Implicit,
    /// Not at all, for a server on this machine; at port 25.
    None,
}

impl EmailTls {
    /// The port without one in `server`.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// A channel of Microsoft Teams'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamsConfig {
    /// The address of a workflow that posts what it gets, or of an incoming webhook.
    pub webhook: SecretEntry,
}
