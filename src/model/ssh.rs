//! Where a machine is that is reached by ssh.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Where a machine is that is reached by ssh: `ssh://deploy@10.0.0.5:22`. Nothing in it can be
/// taken for an option of the ssh program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshAddress {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why a text names no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no machine: {reason}")]
pub struct SshAddressError {
    text: String,
    reason: &'static str,
}

impl SshAddress {
    /// Who logs in there; whoever the user's own configuration of ssh says without one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The machine's name or address, an address of IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port of its sshd; what the user's own configuration of ssh says without one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The host as it stands in a URL.
    #[must_use]
    pub fn url_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.url_host())?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl FromStr for SshAddress {
    type Err = SshAddressError;

    fn from_str(text: &str) -> Result<Self, SshAddressError> {
        let wrong = |reason| SshAddressError {
            text: text.escape_debug().to_string(),
            reason,
        };
        let rest = text
            .strip_prefix("ssh://")
            .ok_or_else(|| wrong("it begins with `ssh://`"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.split_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        if user.is_some_and(|user| !is_name(user)) {
            return Err(wrong(
                "a user has letters, digits, `.`, `_` and `-`, and does not begin with `-`",
            ));
        }

        let (host, port) = split(place).ok_or_else(|| wrong("its port is behind the host"))?;
        let port = match port {
            None => None,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => Some(port),
                _ => return Err(wrong("a port is a number from 1 to 65535")),
            },
        };
        let is_address = place.starts_with('[') && host.parse::<Ipv6Addr>().is_ok();
        if !is_address && !is_name(host) {
            return Err(wrong(
                "a host is a name or an address (one of IPv6 in brackets), and does not begin with \
                 `-`",
            ));
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

/// The host, and the text of its port.
fn split(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, behind) = rest.split_once(']')?;
        return match behind {
            "" => Some((host, None)),
            behind => Some((host, Some(behind.strip_prefix(':')?))),
        };
    }
    Some(match place.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    })
}

/// A user's or a machine's name: what neither ssh nor a shell takes for anything else.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text.len() <= 253 && !text.starts_with('-') && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_was_written() {
        for text in [
            "ssh://deploy@10.0.0.5",
            "ssh://deploy@10.0.0.5:2222",
            "ssh://web-1.example.com",
            "ssh://a@[2001:db8::1]:22",
        ] {
            let address: SshAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        let address: SshAddress = "ssh://a@[2001:db8::1]".parse().expect("an address");
        assert_eq!((address.host(), address.port()), ("2001:db8::1", None));
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_no_address() {
        for text in [
            "",
            "10.0.0.5",
            "ssh://",
            "ssh://-oProxyCommand=sh",
            "ssh://-l@host",
            "ssh://a@-host",
            "ssh://a b@host",
            "ssh://a@host;id",
            "ssh://a@host$(id)",
            "ssh://a@host`id`",
            "ssh://a@host%h",
            "ssh://a@host:0",
            "ssh://a@host:65536",
            "ssh://a@host:22:22",
            "ssh://a@host/path",
            "ssh://a@b@host",
            "ssh://a@[::1",
            "ssh://a@::1",
            "ssh://a@host\n",
            "https://host",
        ] {
            assert!(text.parse::<SshAddress>().is_err(), "{text:?}");
        }
    }
}
