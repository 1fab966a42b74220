//! How senders prove themselves: over the bytes as they came, and in constant time.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Door, Incoming, header};
use crate::model::secret::SecretValue;
use crate::model::trigger::SenderKind;

/// How far the clock of a signature may be from ours, in seconds.
const WINDOW: i64 = 300;

/// The most signatures that one header is looked through for.
const MOST: usize = 16;

/// Whether what has come is from who knows a secret of the door.
///
/// # Errors
/// It is not, and why.
pub(super) fn verify(door: &Door<'_>, incoming: &Incoming<'_>) -> Result<(), String> {
    let secrets: Vec<&[u8]> = door
        .secrets
        .iter()
        .map(bytes)
        .filter(|key| !key.is_empty())
        .collect();
    if secrets.is_empty() {
        return Err("no secret is configured".to_owned());
    }

    match door.kind {
        SenderKind::Github => hmac_of(incoming, &secrets, "x-hub-signature-256", "sha256="),
        SenderKind::Gitea => hmac_of(incoming, &secrets, "x-gitea-signature", ""),
        SenderKind::Forgejo => hmac_of(incoming, &secrets, "x-forgejo-signature", ""),
        // SHA-256 under the name that is SHA-1 elsewhere.
        SenderKind::BitbucketCloud | SenderKind::BitbucketDc => {
            hmac_of(incoming, &secrets, "x-hub-signature", "sha256=")
        }
        SenderKind::Gitlab | SenderKind::Generic => standard(incoming, &secrets),
        SenderKind::GitlabToken => {
            if incoming.headers.contains_key("webhook-signature") {
                return Err(
                    "it is signed, and `gitlab_token` looks at the token alone: the kind is \
                     `gitlab`"
                        .to_owned(),
                );
            }
            text(incoming, &secrets, "x-gitlab-token", "")
        }
        SenderKind::Harbor => text(incoming, &secrets, "authorization", ""),
        SenderKind::Distribution => text(incoming, &secrets, "authorization", "Bearer "),
    }
}

fn bytes(secret: &SecretValue) -> &[u8] {
    secret.expose().as_bytes()
}

/// An HMAC with SHA-256 of the body, in hexadecimal digits behind a prefix.
fn hmac_of(
    incoming: &Incoming<'_>,
    secrets: &[&[u8]],
    name: &str,
    prefix: &str,
) -> Result<(), String> {
    let given =
        header(incoming, name).ok_or_else(|| format!("it has no header {name}, or several"))?;
    let tag = given
        .strip_prefix(prefix)
        .and_then(digits)
        .ok_or_else(|| format!("{name} is not `{prefix}` and 64 hexadecimal digits"))?;
    let is_signed = |secret: &&[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, incoming.body, &tag).is_ok()
    };
    let found = secrets.iter().any(is_signed);
    found
        .then_some(())
        .ok_or_else(|| format!("{name} is not of any secret"))
}

/// 32 bytes in hexadecimal digits.
fn digits(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| (0..64).step_by(2).filter_map(pair).collect())
}

/// The secret itself, behind a prefix.
fn text(
    incoming: &Incoming<'_>,
    secrets: &[&[u8]],
    name: &str,
    prefix: &str,
) -> Result<(), String> {
    let given =
        header(incoming, name).ok_or_else(|| format!("it has no header {name}, or several"))?;
    let given = given
        .strip_prefix(prefix)
        .ok_or_else(|| format!("{name} does not begin with `{prefix}`"))?;
    let is_it = |secret: &&[u8]| verify_slices_are_equal(secret, given.as_bytes()).is_ok();
    let found = secrets.iter().any(is_it);
    found
        .then_some(())
        .ok_or_else(|| format!("{name} is not any secret"))
}

/// Standard Webhooks 1.0.0: `v1,BASE64` of `ID.TIMESTAMP.BODY`, several divided by blanks.
fn standard(incoming: &Incoming<'_>, secrets: &[&[u8]]) -> Result<(), String> {
    let given = |name: &str| {
        header(incoming, name).ok_or_else(|| format!("it has no header {name}, or several"))
    };
    let (id, time, list) = (
        given("webhook-id")?,
        given("webhook-timestamp")?,
        given("webhook-signature")?,
    );
    let signed_at: i64 = time
        .parse()
        .map_err(|_| "webhook-timestamp is not a number of seconds".to_owned())?;
    if signed_at.abs_diff(incoming.now.as_second()) > WINDOW.unsigned_abs() {
        return Err(format!(
            "it was signed more than {WINDOW} s from now: replayed, or a clock is wrong"
        ));
    }

    let mut signed = format!("{id}.{time}.").into_bytes();
    signed.extend_from_slice(incoming.body);
    let tags: Vec<Vec<u8>> = list
        .split(' ')
        .take(MOST)
        .filter_map(|one| one.strip_prefix("v1,"))
        .filter_map(|tag| BASE64_STANDARD.decode(tag).ok())
        .collect();
    let is_signed = |secret: &&[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &signing_key(secret));
        tags.iter()
            .any(|tag| hmac::verify(&key, &signed, tag).is_ok())
    };
    let found = secrets.iter().any(is_signed);
    found
        .then_some(())
        .ok_or_else(|| "webhook-signature has none of any secret".to_owned())
}

/// The key that a secret `whsec_BASE64` stands for; another text is the key itself.
fn signing_key(secret: &[u8]) -> Vec<u8> {
    let encoded = secret.strip_prefix(b"whsec_");
    let key = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    key.unwrap_or_else(|| secret.to_vec())
}
