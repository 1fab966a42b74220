//! Those who are told of runs: Slack, Microsoft Teams, a mail server, and any program that takes
//! webhooks. A file each; what they send is the same [`Message`](crate::port::notifier::Message).
//!
//! Whoever is asked over HTTP is asked by [`http`]: no redirect is followed, an answer is read to a
//! bound, and what would be readable on its way is not sent.

pub mod email;
mod http;
pub mod slack;
pub mod teams;
pub mod webhook;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::model::ReleaseNumber;
    use crate::model::notice::{Notice, NoticeEvent};
    use crate::port::notifier::Message;

    /// A message in which everything that comes from elsewhere is this text.
    pub(super) fn hostile(text: &str) -> Message {
        let notice = Notice {
            id: "20260101-2-ended".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
            event: NoticeEvent::Failed,
            command: "apply".to_owned(),
            summary: format!("release 7 has failed {text}"),
            release: Some(ReleaseNumber(7)),
            commit: Some(text.to_owned()),
            branch: Some(text.to_owned()),
            actor: text.to_owned(),
            run: "20260101".to_owned(),
            page: Some(text.to_owned()),
            reason: Some(text.to_owned()),
            notes: vec![text.to_owned()],
        };
        Message {
            notice,
            title: None,
            text: None,
            thread: None,
        }
    }
}
