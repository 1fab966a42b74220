//! The ports of a service.

use crate::model::name::checked_text;

/// The most characters that a port's name has (RFC 6335, and what Kubernetes takes).
const LONGEST: usize = 15;

checked_text!(
    /// The name of a port: `http`, `metrics`, `db`.
    #[schemars(with = "String", extend("maxLength" = 15, "pattern" = r"^([a-z0-9]+-)*[a-z0-9]+$"))]
    PortName,
    PortNameError,
    check
);

/// Why a text is no port's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortNameError {
    /// Nothing, or more than 15 characters.
    #[error("`{0}` has {length} characters, and a port's name has 1 to \
             15", length = .0.chars().count())]
    Length(String),
    /// A character that it has not, or a `-` where none can be.
    #[error(
        "`{}` is no port's name: a-z, 0-9 and single dashes between them, with a letter among them",
        .0.escape_debug()
    )]
    Form(String),
    /// The word that says that there is no port.
    #[error("`none` is no port's name: `port: none` says that a service gets no traffic")]
    None,
}

impl PortName {
    /// That of the port which `port: NUMBER` gives.
    #[must_use]
    pub fn http() -> Self {
        Self("http".to_owned())
    }

    /// The variable that tells an instance where this port of its own is: `PORT_METRICS`. The port
    /// that gets the traffic is told as `PORT`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PORT_{}", self.0.to_uppercase().replace('-', "_"))
    }
}

fn check(text: &str) -> Result<(), PortNameError> {
    let is_known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let has_lone_dash = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    if !(1..=LONGEST).contains(&text.chars().count()) {
        return Err(PortNameError::Length(text.to_owned()));
    }
    if !text.bytes().all(is_known) || has_lone_dash || !text.bytes().any(|c| c.is_ascii_lowercase())
    {
        return Err(PortNameError::Form(text.to_owned()));
    }
    if text == "none" {
        return Err(PortNameError::None);
    }
    Ok(())
}

/// What is spoken at a port.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP, of any version.
    #[default]
    Http,
    /// Anything else over TCP.
    Tcp,
}

impl Protocol {
    /// Whether HTTP is spoken.
    #[must_use]
    pub const fn is_http(&self) -> bool {
        matches!(self, Self::Http)
    }

    /// The scheme of a URL.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePort {
    /// From 1 to 65535.
    pub number: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_port_is_one_that_the_iana_would_take() {
        for good in ["http", "a", "8080-x", "grpc-web", "abcdefghijklmno"] {
            assert_eq!(good.parse::<PortName>().expect(good).as_str(), good);
        }
        for long in ["", "abcdefghijklmnop"] {
            let error = long.parse::<PortName>().expect_err(long);
            assert_eq!(error, PortNameError::Length(long.to_owned()));
        }
        for bad in ["8080", "1-2", "-a", "a-", "a--b", "Http", "a_b", "a.b", "ü"] {
            let error = bad.parse::<PortName>().expect_err(bad);
            assert_eq!(error, PortNameError::Form(bad.to_owned()));
        }
        assert_eq!("none".parse::<PortName>(), Err(PortNameError::None));
    }

    #[test]
    fn each_name_has_a_variable_of_its_own() {
        let name: PortName = "grpc-web".parse().expect("a name");
        assert_eq!(name.variable(), "PORT_GRPC_WEB");
    }
}
