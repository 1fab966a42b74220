//! Finds the process that listens on a port, from what Linux shows in `/proc`.
//!
//! Best effort: file descriptors of other users' processes cannot be read without privilege.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::agent::router::PortHolder;
use crate::model::route::overlap;

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN` of the kernel's
/// `tcp_states.h`).
const LISTEN: &str = "0A";

/// Who listens on this address, or on a part of it. Reads files; call it off the async threads.
pub fn find(address: SocketAddr) -> PortHolder {
    let listening = listening(address);
    let owners = listening.iter().filter_map(|(_, inode)| owner(*inode));
    owners.into_iter().next().unwrap_or(PortHolder::Unknown)
}

/// Who listens there besides the sockets with these inodes; none when nobody does. A listener of
/// others on `[::]` is passed over for an IPv4 address: whether it takes IPv4 as well is known to
/// the kernel alone.
pub fn find_other(address: SocketAddr, own: &BTreeSet<u64>) -> Option<PortHolder> {
    let is_certain = |local: &SocketAddr| {
        let is_any = local.ip().is_unspecified() && local.is_ipv6();
        !(is_any && address.is_ipv4())
    };
    let listening = listening(address).into_iter();
    let mut others = listening.filter(|(local, inode)| is_certain(local) && !own.contains(inode));
    let (_, inode) = others.next()?;
    Some(owner(inode).unwrap_or(PortHolder::Unknown))
}

/// The listeners that have a part of an address, and their inodes.
fn listening(address: SocketAddr) -> Vec<(SocketAddr, u64)> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        found.extend(text.lines().filter_map(listener));
    }
    found.retain(|(local, _)| overlap(*local, address));
    found
}

/// The address and the inode of a listener, from its line of `/proc/net/tcp`.
fn listener(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    (state == LISTEN && inode != 0).then_some((local_address(local)?, inode))
}

/// How `/proc/net/tcp` writes an address: the network's bytes, four by four, read as numbers of
/// this machine.
fn local_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok();
    let words: Option<Vec<u32>> = (0..ip.len()).step_by(8).map(word).collect();
    let octets: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();

    let ip: IpAddr = match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok()?.into(),
        _ => <[u8; 16]>::try_from(octets).ok()?.into(),
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?).into())
}

fn owner(inode: u64) -> Option<PortHolder> {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), &wanted).then(|| PortHolder::Process {
            pid,
            name: name(&entry.path()),
        })
    })
}

fn holds(process: &Path, wanted: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted))
}

fn name(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).map_or_else(
        |_| "a process".to_owned(),
        |name| name.trim_end().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_line_gives_its_address_and_inode() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 48213 1 0000000000000000 100 0 0 10 0";
        let at = |address: &str| Some((address.parse().unwrap(), 48213));
        assert_eq!(listener(line), at("127.0.0.1:8080"));
        let any = line.replace("0100007F", "00000000");
        assert_eq!(listener(&any), at("0.0.0.0:8080"), "all addresses");
        let six = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(listener(&six), at("[::1]:8080"));

        let connection = line.replace(" 0A ", " 01 ");
        assert_eq!(listener(&connection), None, "a connection holds no port");
        assert_eq!(listener("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn the_process_behind_a_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = find(listener.local_addr().unwrap());
        assert!(
            matches!(holder, PortHolder::Process { pid, .. } if pid == std::process::id()),
            "{holder:?}"
        );
    }

    #[test]
    fn who_has_one_address_is_found_for_all_of_them() {
        let one = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = BTreeSet::from([rustix::fs::fstat(&one).unwrap().st_ino]);
        let all = SocketAddr::from(([0, 0, 0, 0], one.local_addr().unwrap().port()));
        assert!(matches!(find(all), PortHolder::Process { .. }));
        assert!(find_other(all, &BTreeSet::new()).is_some());
        assert_eq!(find_other(all, &own), None, "it is our own");
    }
}
