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
