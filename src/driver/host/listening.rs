//! Who listens on a machine, as its kernel lists it (`proc_net_tcp(5)`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a socket that listens.
const LISTEN: &str = "0A";

/// The addresses at which somebody listens.
pub(super) fn listening(table: &str) -> Vec<SocketAddr> {
    let listed = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        (state == LISTEN).then(|| address(local)).flatten()
    });
    listed.collect()
}

/// Whether who listens at one address has the other, too.
pub(super) fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (is_any || one.ip() == other.ip())
}

/// `0100007F:1F90`: words in the order of the machine's bytes, which is the small end first
/// wherever shipit runs.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_le_bytes());
    }
    let ip: IpAddr = if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        Ipv4Addr::from(four).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical()
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_is_read_from_the_kernels_tables() {
        let table = "  sl  local_address rem_address   st\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
                     1: 0100007F:1F91 0100007F:0016 01 00000000:00000000\n   \
                     0: 00000000000000000000000001000000:0050 \
                     00000000000000000000000000000000:0000 0A\n";
        let found: Vec<String> = listening(table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8080", "[::1]:80"]);
        let at = |text: &str| text.parse().expect("an address");
        assert!(meet(at("0.0.0.0:80"), at("127.0.0.1:80")));
        assert!(!meet(at("127.0.0.2:80"), at("127.0.0.1:80")));
        assert!(!meet(at("0.0.0.0:81"), at("127.0.0.1:80")));
    }
}
