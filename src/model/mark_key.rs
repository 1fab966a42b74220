//! Annotations and labels of the user's own: how the API writes their keys, and which are shipit's.

/// The longest name of a key, and the longest value of a label, in bytes.
const LONGEST: usize = 63;
/// The longest prefix of a key, in bytes.
const LONGEST_PREFIX: usize = 253;

/// Whether it is an annotation or a label that has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Its value is any text.
    Annotation,
    /// Its value is a word, by which objects are found.
    Label,
}

/// Why a text is no key of an annotation, of a label or of a pod's condition. None when it is.
#[must_use]
pub fn problem(key: &str) -> Option<&'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        return Some("what stands before the `/` of a key is a DNS name in small letters");
    }
    if name.is_empty() || name.len() > LONGEST || !is_word(name) {
        return Some(
            "a key is `NAME` or `DNS.NAME/NAME`, its name of 1 to 63 letters and digits, with `-`, \
             `_` and `.` between them",
        );
    }
    None
}

/// Why a text cannot be the value of a label. None when it can.
#[must_use]
pub fn value_problem(value: &str) -> Option<&'static str> {
    let fits = value.is_empty() || value.len() <= LONGEST && is_word(value);
    (!fits).then_some(
        "a label's value has 63 letters and digits at the most, with `-`, `_` and `.` between them",
    )
}

/// Why a key is not the user's to set on what shipit makes. None when it is.
#[must_use]
pub fn reserved(key: &str, mark: Mark) -> Option<&'static str> {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    let is_of = |group: &str| prefix == group || prefix.ends_with(&format!(".{group}"));
    if is_of("shipit.dev") {
        return Some("shipit says by it what an object is");
    }
    if is_of("applyset.kubernetes.io") {
        return Some("shipit finds its objects by it");
    }

    match (mark, prefix, name) {
        (Mark::Label, "app.kubernetes.io", "name" | "instance" | "part-of" | "managed-by") => {
            Some("shipit sets it on all that it makes")
        }
        (Mark::Annotation, "kubectl.kubernetes.io", "last-applied-configuration") => {
            Some("kubectl keeps in it what it has applied")
        }
        (Mark::Annotation, "kubernetes.io", "ingress.class") => Some("the key `class` says it"),
        _ => None,
    }
}

fn is_subdomain(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !label.is_empty()
            && label.len() <= LONGEST
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= LONGEST_PREFIX && text.split('.').all(is_label)
}

/// Letters and digits at the ends, and `-`, `_`, `.` between them.
fn is_word(text: &str) -> bool {
    let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    ends(text.bytes().next()) && ends(text.bytes().last()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_with_or_without_a_dns_name_before_it() {
        let longest = "a".repeat(63);
        for key in [
            "team",
            "alb.ingress.kubernetes.io/scheme",
            "alb.ingress.kubernetes.io/conditions.web-blue",
            "eks.amazonaws.com/role-arn",
            "target-health.elbv2.k8s.aws/k8s-shop-web",
            "A_b.C-1",
            longest.as_str(),
        ] {
            assert_eq!(problem(key), None, "{key}");
        }
        let long = "a".repeat(64);
        let far = format!("{}/a", "a.".repeat(127) + "aa");
        for key in [
            "",
            "/a",
            "a/",
            "a/b/c",
            "Example.com/a",
            "-a",
            "a-",
            "a b",
            "a..b/c",
            "ä",
            "a\nb",
            long.as_str(),
            far.as_str(),
        ] {
            assert!(problem(key).is_some(), "{key}");
        }
    }

    #[test]
    fn a_label_has_a_word_as_its_value_or_none() {
        assert_eq!(value_problem(""), None);
        assert_eq!(value_problem("v1.2_3-a"), None);
        for value in ["a b", "a/b", "-", "arn:aws", &"a".repeat(64)] {
            assert!(value_problem(value).is_some(), "{value}");
        }
    }

    #[test]
    fn what_is_shipits_is_not_the_users() {
        for key in [
            "shipit.dev/slot",
            "x.shipit.dev/a",
            "applyset.kubernetes.io/part-of",
        ] {
            assert!(reserved(key, Mark::Annotation).is_some(), "{key}");
            assert!(reserved(key, Mark::Label).is_some(), "{key}");
        }
        assert!(reserved("app.kubernetes.io/name", Mark::Label).is_some());
        assert!(reserved("app.kubernetes.io/name", Mark::Annotation).is_none());
        assert!(reserved("app.kubernetes.io/version", Mark::Label).is_none());
        assert!(reserved("kubernetes.io/ingress.class", Mark::Annotation).is_some());
        assert!(reserved("notshipit.dev/slot", Mark::Label).is_none());
    }
}
