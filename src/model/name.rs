//! Names that become part of host names, paths and Kubernetes objects.

/// Why a text is not a name. The rule is the DNS label of RFC 1123: it is what Kubernetes asks of
/// most object names, and what a URL can carry everywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing there.
    #[error("a {kind} name cannot be empty")]
    Empty {
        /// Which kind of name was asked for.
        kind: &'static str,
    },
    /// More than 63 characters.
    #[error("{kind} name `{value}` has {length} characters; 63 is the most a DNS label can have")]
    TooLong {
        /// Which kind of name was asked for.
        kind: &'static str,
        /// The text that was given.
        value: String,
        /// Its length in characters.
        length: usize,
    },
    /// A character outside `[a-z0-9-]`, or a dash at an end.
    #[error(
        "{kind} name `{value}` is not a DNS label: only a-z, 0-9 and `-`, starting and ending with \
         a letter or digit"
    )]
    NotALabel {
        /// Which kind of name was asked for.
        kind: &'static str,
        /// The text that was given.
        value: String,
    },
}

fn check(kind: &'static str, value: &str) -> Result<(), NameError> {
    if value.is_empty() {
        return Err(NameError::Empty { kind });
    }
    let length = value.chars().count();
    if length > 63 {
        return Err(NameError::TooLong {
            kind,
            value: value.to_owned(),
            length,
        });
    }

    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !value.chars().all(inner) || value.starts_with('-') || value.ends_with('-') {
        return Err(NameError::NotALabel {
            kind,
            value: value.to_owned(),
        });
    }

    Ok(())
}

/// A text that has passed a check, which is the only way to make one.
macro_rules! checked_text {
    ($(#[$attribute:meta])* $type:ident, $error:ty, $check:expr) => {
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(try_from = "String", into = "String")]
        $(#[$attribute])*
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = $error;
            fn try_from(value: String) -> Result<Self, $error> {
                $check(&value)?;
                Ok(Self(value))
            }
        }

        impl std::str::FromStr for $type {
            type Err = $error;
            fn from_str(value: &str) -> Result<Self, $error> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(in crate::model) use checked_text;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        checked_text!(
            $(#[$doc])*
            #[schemars(with = "String", extend("pattern" = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
            $type,
            NameError,
            |value: &str| check($kind, value)
        );
    };
}

name!(
    /// What a `shipit.yaml` describes as a whole.
    ProjectName,
    "project"
);
name!(
    /// Where one branch's releases run: `develop`, `staging`, `production`.
    EnvironmentName,
    "environment"
);
name!(
    /// One deployable unit: an image, a port, a health check, a workload.
    ServiceName,
    "service"
);
name!(
    /// A program that runs once in a release, as a step of a plan.
    TaskName,
    "task"
);
name!(
    /// What is called around a stage of a run.
    HookName,
    "hook"
);
name!(
    /// One that is told of runs.
    NotifyName,
    "notification"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_label_is_a_name() {
        for good in ["a", "web", "storefront-2", "0x", &"a".repeat(63)] {
            assert_eq!(good.parse::<ServiceName>().expect(good).as_str(), good);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let reason = |text: &str| text.parse::<ServiceName>().expect_err(text);
        assert!(matches!(reason(""), NameError::Empty { .. }));
        assert!(matches!(
            reason(&"a".repeat(64)),
            NameError::TooLong { length: 64, .. }
        ));
        for bad in ["Web", "web_1", "-web", "web-", "wéb", "a.b", "a/b"] {
            assert!(matches!(reason(bad), NameError::NotALabel { .. }), "{bad}");
        }
    }
}
