//! Which driver a notification means.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::schema::{
    EmailConfig, EmailTls, EnvEntry, NotifyConfig, SecretEntry, SlackConfig,
};
use crate::driver::notify::email::{Email, MailTls};
use crate::driver::notify::slack::{Slack, SlackAccess};
use crate::driver::notify::teams::Teams;
use crate::driver::notify::webhook::Webhook;
use crate::model::secret::SecretValue;
use crate::port::Notifier;

/// Where Slack's API is.
const SLACK: &str = "https://slack.com/api";

/// The values of secrets, by their names.
pub(super) type Values = BTreeMap<String, SecretValue>;

/// The one that is told; none where a value is missing or nothing says who it is, which a checked
/// configuration never has.
pub(super) fn notifier(
    root: &Path,
    config: &NotifyConfig,
    values: &Values,
) -> Option<Box<dyn Notifier>> {
    if let Some(slack) = &config.slack {
        let access = slack_access(slack, values)?;
        return Some(Box::new(Slack { access }));
    }
    if let Some(webhook) = &config.webhook {
        let url = match &webhook.url {
            EnvEntry::Text(text) => SecretValue::new(text.0.clone()),
            EnvEntry::Secret(secret) => value(values, secret)?,
        };
        let key = value(values, &webhook.secret)?;
        return Some(Box::new(Webhook { url, key }));
    }
    if let Some(email) = &config.email {
        return Some(Box::new(by_email(root, email, values)?));
    }
    let webhook = value(values, &config.teams.as_ref()?.webhook)?;
    Some(Box::new(Teams { webhook }))
}

fn value(values: &Values, secret: &SecretEntry) -> Option<SecretValue> {
    values.get(&secret.secret).cloned()
}

fn slack_access(slack: &SlackConfig, values: &Values) -> Option<SlackAccess> {
    if let Some(webhook) = &slack.webhook {
        return Some(SlackAccess::Webhook(value(values, webhook)?));
    }
    Some(SlackAccess::Bot {
        api: slack.api.clone().unwrap_or_else(|| SLACK.to_owned()),
        token: value(values, slack.token.as_ref()?)?,
        channel: slack.channel.clone()?,
    })
}

fn by_email(root: &Path, email: &EmailConfig, values: &Values) -> Option<Email> {
    let (host, port) = match email.server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (email.server.as_str(), email.tls.port()),
    };
    let login = match (&email.user, &email.password) {
        (Some(user), Some(password)) => Some((user.clone(), value(values, password)?)),
        _ => None,
    };
    Some(Email {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        tls: match email.tls {
            EmailTls::Starttls => MailTls::Starttls,
            EmailTls::Implicit => MailTls::Implicit,
            EmailTls::None => MailTls::None,
        },
        ca: email.ca.as_ref().map(|path| root.join(path)),
        login,
        from: email.from.clone(),
        to: email.to.clone(),
    })
}
