//! What a sender says has happened. It is a hint: what is deployed is fetched and looked at.

use serde::{Deserialize, Serialize};

/// Who sends to a door. It is configured, and never read from what was sent: some send several
/// others' headers, too, and a forger would pick the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SenderKind {
    /// GitHub: an HMAC of the body.
    Github,
    /// GitLab with a signing token: a Standard Webhooks signature.
    Gitlab,
    /// GitLab with a secret token, which is sent as it is.
    GitlabToken,
    /// Gitea: an HMAC of the body.
    Gitea,
    /// Forgejo: an HMAC of the body.
    Forgejo,
    /// Bitbucket Cloud: an HMAC of the body.
    BitbucketCloud,
    /// Bitbucket Data Center: an HMAC of the body.
    BitbucketDc,
    /// Harbor in both of its formats: the text of its `Authorization` header.
    Harbor,
    /// Distribution (docker-registry): a bearer token.
    Distribution,
    /// Anything that signs by Standard Webhooks.
    Generic,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Trigger {
    /// A branch or a tag points at something else than before.
    Ref {
        /// The full name: `refs/heads/staging`.
        name: String,
        /// The commit, or the tag object, that it points at.
        commit: String,
        /// Who pushed, as the sender says; empty where it does not.
        by: String,
    },
    /// An image was pushed.
    Image {
        /// The repository in the registry: `shop/web`.
        repository: String,
        /// The tag; none when it was pushed by digest alone.
        tag: Option<String>,
        /// Who pushed, as the sender says; empty where it does not.
        by: String,
    },
}

/// Whether a text is the full id of a Git object.
#[must_use]
pub fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether an id stands for no object: the ref was created or deleted.
#[must_use]
pub fn is_zero(id: &str) -> bool {
    id.bytes().all(|byte| byte == b'0')
}

/// Whether a text is the full name of a branch or a tag, by the rules of `git check-ref-format`,
/// and by ours: nothing in it can be taken for an option, and nobody has to guess how it is shown.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    let name = text
        .strip_prefix("refs/heads/")
        .or_else(|| text.strip_prefix("refs/tags/"));
    let Some(name) = name.filter(|_| text.len() <= 250) else {
        return false;
    };

    let forbidden = |c: char| {
        c.is_control()
            || c.is_whitespace()
            || "~^:?*[\\\"'`$;&|<>()!#{}".contains(c)
            || !c.is_ascii()
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.ends_with('.')
            && !part.to_ascii_lowercase().ends_with(".lock")
    };
    !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_plain_name_of_a_branch_or_a_tag() {
        for good in [
            "refs/heads/staging",
            "refs/heads/feature/a-1",
            "refs/tags/v1.2.3",
            "refs/heads/kim@home",
        ] {
            assert!(is_reference(good), "{good}");
        }
        let long = format!("refs/heads/{}", "a".repeat(4096));
        for bad in [
            "staging",
            "refs/heads/",
            "refs/heads/-x",
            "refs/heads/a;b",
            "refs/heads/$(x)",
            "refs/heads/a b",
            "refs/heads/a\nb",
            "refs/heads/a..b",
            "refs/heads/a.lock",
            "refs/heads/.a",
            "refs/heads/a//b",
            "refs/heads/a\u{202e}b",
            "refs/heads/a@{0}",
            "refs/notes/x",
            "refs/heads/../../etc",
            long.as_str(),
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn an_object_id_has_forty_or_sixty_four_digits() {
        assert!(is_object_id(&"a1".repeat(20)) && is_object_id(&"0".repeat(64)));
        assert!(!is_object_id("HEAD") && !is_object_id(&"g".repeat(40)) && !is_object_id(""));
    }
}
