//! Webhooks for any program, signed as Standard Webhooks 1.0 says: the id, the time and the body
//! under a key that both know.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use crate::driver::notify::http::{Post, address};
use crate::model::notice::Receipt;
use crate::model::secret::SecretValue;
use crate::port::Notifier;
use crate::port::notifier::{DeliveryError, DeliveryFault, Message};

/// What a key begins with where it is written.
const PREFIX: &str = "whsec_";

/// A program that takes webhooks.
pub struct Webhook {
    /// Its address.
    pub url: SecretValue,
    /// The key that both know.
    pub key: SecretValue,
}

#[async_trait]
impl Notifier for Webhook {
    /// It is JSON: nothing in a text is more than text.
    fn escape(&self, text: &str) -> String {
        text.to_owned()
    }

    async fn send(&self, message: &Message) -> Result<Option<Receipt>, DeliveryError> {
        let notice = &message.notice;
        let mut document = json!({
            "type": format!("shipit.run.{}", notice.event.as_str()),
            "timestamp": notice.at.to_string(),
            "data": notice,
        });
        for (name, text) in [("title", &message.title), ("text", &message.text)] {
            if let Some(text) = text {
                document["data"][name] = json!(text);
            }
        }
        let post = signed(&self.url, &self.key, &notice.id, document.to_string())?;
        let answer = post.send().await?;
        answer.fault().map_or(Ok(None), Err)
    }
}

/// Has a server take a document, signed by a key that both know.
pub(in crate::driver) async fn posted(
    url: &str,
    key: &SecretValue,
    id: &str,
    document: String,
) -> Result<(), DeliveryError> {
    let url = SecretValue::new(url.to_owned());
    let answer = signed(&url, key, id, document)?.send().await?;
    answer.fault().map_or(Ok(()), Err)
}

/// A request with this body, signed now.
fn signed<'a>(
    url: &SecretValue,
    key: &SecretValue,
    id: &str,
    body: String,
) -> Result<Post<'a>, DeliveryError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let signature = signature(key, id, now, &body).ok_or_else(|| DeliveryError {
        reason: "its secret is no key of a webhook".to_owned(),
        help: "make one: `echo whsec_$(openssl rand -base64 32)`".to_owned(),
        kind: DeliveryFault::Refused,
    })?;

    let said = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (HeaderName::from_static("webhook-id"), id.to_owned()),
        (
            HeaderName::from_static("webhook-timestamp"),
            now.to_string(),
        ),
        (HeaderName::from_static("webhook-signature"), signature),
    ];
    let said = said.into_iter();
    let headers = said.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
    Ok(Post {
        to: address(url.expose())?,
        token: None,
        headers: headers.collect::<HeaderMap>(),
        body,
    })
}

/// The signature; none when the key is none: `whsec_`, and 24 to 64 bytes in base64.
fn signature(key: &SecretValue, id: &str, at: u64, body: &str) -> Option<String> {
    let text = key.expose().trim();
    let text = text.strip_prefix(PREFIX).unwrap_or(text);
    let key = BASE64_STANDARD.decode(text).ok()?;
    if !(24..=64).contains(&key.len()) {
        return None;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes());
    Some(format!("v1,{}", BASE64_STANDARD.encode(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // The example of the specification's own libraries.
        let key = SecretValue::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signature = signature(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        let standard = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature.as_deref(), Some(standard));
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        let long = format!("whsec_{}", BASE64_STANDARD.encode([7; 65]));
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "no base64 at all!", &long] {
            let key = SecretValue::new(bad.to_owned());
            assert_eq!(signature(&key, "id", 1, "{}"), None, "{bad}");
        }
    }
}
