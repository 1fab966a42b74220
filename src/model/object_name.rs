//! Which names the API takes for its objects: each becomes a segment of a request's path.

/// The longest name of an object, in bytes.
const LONGEST: usize = 253;
/// The longest DNS label, in bytes.
const LONGEST_LABEL: usize = 63;

/// What the API demands of the names of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A DNS label (RFC 1123): small letters, digits and `-`.
    Label,
    /// Several of them with dots in between.
    Subdomain,
    /// Anything that is one segment of a path.
    Segment,
}

/// Why a text cannot name an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be {of}: {rule}")]
pub struct NameError {
    name: String,
    of: String,
    rule: &'static str,
}

/// Whether the API could take this as the name of an object of a kind.
///
/// # Errors
/// When it could not.
pub fn check_name(group: &str, kind: &str, name: &str) -> Result<(), NameError> {
    check(rule(group, kind), name, || format!("the name of a {kind}"))
}

/// Whether the API could take this as a namespace.
///
/// # Errors
/// When it could not.
pub fn check_namespace(name: &str) -> Result<(), NameError> {
    check(Rule::Label, name, || "a namespace".to_owned())
}

/// Whether this is `VERSION` or `GROUP/VERSION`.
///
/// # Errors
/// When it is not.
pub fn check_api_version(text: &str) -> Result<(), NameError> {
    let of = || "an `apiVersion`".to_owned();
    let (group, version) = text.split_once('/').unwrap_or(("none", text));
    check(Rule::Subdomain, group, of)
        .and_then(|()| check(Rule::Label, version, of))
        .map_err(|error| NameError {
            name: text.to_owned(),
            rule: "it is written `VERSION` or `GROUP/VERSION`",
            ..error
        })
}

/// Whether this is a kind: one word.
///
/// # Errors
/// When it is not.
pub fn check_kind(text: &str) -> Result<(), NameError> {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= LONGEST_LABEL
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_word.then_some(()).ok_or_else(|| NameError {
        name: text.to_owned(),
        of: "a kind".to_owned(),
        rule: "it is one word of letters and digits",
    })
}

/// The groups of the API itself name their objects as DNS does, but for these. What another group
/// takes, only the server that serves it knows.
fn rule(group: &str, kind: &str) -> Rule {
    let is_api = !group.contains('.') || group.ends_with(".k8s.io");
    match (group, kind) {
        ("", "Namespace" | "Service") => Rule::Label,
        ("rbac.authorization.k8s.io", _)
        | ("certificates.k8s.io", "ClusterTrustBundle")
        | ("networking.k8s.io", "IPAddress") => Rule::Segment,
        _ if is_api => Rule::Subdomain,
        _ => Rule::Segment,
    }
}

fn check(rule: Rule, name: &str, of: impl Fn() -> String) -> Result<(), NameError> {
    let (is_well, rule) = match rule {
        Rule::Label => (
            is_label(name),
            "it is made of small letters, digits and `-`, begins and ends with a letter or digit, \
             and has at most 63 of them",
        ),
        Rule::Subdomain => (
            name.len() <= LONGEST && name.split('.').all(is_part),
            "it is made of small letters, digits, `-` and `.`, each part begins and ends with a \
             letter or digit, and it has at most 253 of them",
        ),
        Rule::Segment => (
            is_segment(name),
            "it is not `.` or `..`, and has neither `/`, `%` nor control characters",
        ),
    };

    is_well.then_some(()).ok_or_else(|| NameError {
        name: name.to_owned(),
        of: of(),
        rule,
    })
}

fn is_label(text: &str) -> bool {
    text.len() <= LONGEST_LABEL && is_part(text)
}

fn is_part(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_segment(text: &str) -> bool {
    let is_outside = |c: char| matches!(c, '/' | '%' | '\\') || c.is_control();
    !text.is_empty()
        && text.len() <= LONGEST
        && !matches!(text, "." | "..")
        && !text.contains(is_outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RBAC: &str = "rbac.authorization.k8s.io";

    #[test]
    fn a_name_is_what_the_api_takes_for_its_kind() {
        for (group, kind, name) in [
            ("", "ConfigMap", "kube-root-ca.crt"),
            ("", "Service", "web-blue"),
            (RBAC, "ClusterRole", "system:aggregate-to-edit"),
            (RBAC, "Role", "Anything at all?"),
            ("networking.k8s.io", "IPAddress", "2001:db8::1"),
            ("certificates.k8s.io", "ClusterTrustBundle", "a.example:b"),
            ("user.example.org", "User", "somebody@example.org"),
        ] {
            assert_eq!(check_name(group, kind, name), Ok(()), "{kind}/{name}");
        }
    }

    #[test]
    fn what_would_leave_its_segment_of_a_path_is_no_name() {
        for kind in ["ConfigMap", "Deployment", "Widget"] {
            for group in ["", "apps", RBAC, "example.org"] {
                for name in [
                    "", ".", "..", "a/b", "a/../b", "a%2fb", "a\\b", "a\nb", "a\0",
                ] {
                    assert!(check_name(group, kind, name).is_err(), "{group} {name:?}");
                }
            }
        }
    }

    #[test]
    fn the_apis_own_kinds_are_named_as_dns_does() {
        for name in [
            "a?b", "a#b", "a b", "A", "a_b", "-a", "a-", "a..b", ".a", "é",
        ] {
            assert!(check_name("", "Secret", name).is_err(), "{name}");
            assert!(check_namespace(name).is_err(), "{name}");
        }
        assert!(check_namespace(&"a".repeat(63)).is_ok());
        assert!(check_namespace(&"a".repeat(64)).is_err());
        assert!(check_namespace("a.b").is_err());
        assert!(check_name("", "Secret", &"a".repeat(254)).is_err());
    }

    #[test]
    fn a_version_and_a_kind_stay_in_their_places() {
        for good in ["v1", "apps/v1", "gateway.networking.k8s.io/v1beta1"] {
            assert_eq!(check_api_version(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/v1", "apps/", "a/b/c", "v1?x=", "../v1", "apps/v1#", "v1/",
        ] {
            assert!(check_api_version(bad).is_err(), "{bad}");
        }
        for bad in ["", "a/b", "Pod?", "Po d"] {
            assert!(check_kind(bad).is_err(), "{bad}");
        }
        assert_eq!(check_kind("HorizontalPodAutoscaler"), Ok(()));
    }
}
