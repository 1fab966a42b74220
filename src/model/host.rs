//! The host that a request is for, as its header `Host` says it.

use std::fmt;

/// The value of a `Host` header: a name or an address, with a port or without.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^[A-Za-z0-9._:\[\]-]{1,255}$"))]
pub struct Host(String);

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no host: write `shop.example.com`, or with a port \
         `shop.example.com:8080`", .0.escape_debug())]
pub struct NoHost(String);

impl Host {
    /// As the header has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Host {
    type Error = NoHost;

    fn try_from(value: String) -> Result<Self, NoHost> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:[]-".contains(&byte);
        if matches!(value.len(), 1..=255) && value.bytes().all(fits) {
            Ok(Self(value))
        } else {
            Err(NoHost(value))
        }
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_can_stand_in_the_header() {
        for good in ["shop.test", "Shop_1.test:8080", "[::1]:80", "127.0.0.1"] {
            assert!(Host::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "http://shop.test", "a b", "shop.test\r\nX: 1", "ä.test"] {
            assert!(Host::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
