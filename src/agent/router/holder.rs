//! Finds the process that listens on a port, from what Linux shows in `/proc`.
//!
//! Best effort: file descriptors of other users' processes cannot be read without privilege.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::agent::router::Holder;

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN` of the kernel's `tcp_states.h`).
const LISTEN: &str = "0A";

/// Who listens on this address, or on all addresses with its port. Reads files; call it off the async threads.
pub fn find(address: SocketAddr) -> Holder {
    let wanted = forms(address);
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if let Ok(text) = fs::read_to_string(table) {
            inodes.extend(
                text.lines()
                    .filter_map(|line| listening_inode(line, &wanted)),
            );
        }
    }
    inodes
        .iter()
        .find_map(|inode| owner(inode))
        .unwrap_or(Holder::Unknown)
}

/// How `/proc/net/tcp` writes the address, and all addresses with its port: the network's bytes, four by four, read
/// as numbers of this machine.
fn forms(address: SocketAddr) -> [String; 3] {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let word = |part: &[u8]| part.try_into().map_or(0, u32::from_ne_bytes);
    let words: Vec<String> = octets
        .chunks(4)
        .map(|part| format!("{:08X}", word(part)))
        .collect();
    let own = words.concat();
    let port = address.port();
    [
        format!("{own}:{port:04X}"),
        format!("{:08X}:{port:04X}", 0),
        format!("{:032X}:{port:04X}", 0),
    ]
}

/// The socket's inode, when this line of `/proc/net/tcp` is a listener on one of the addresses.
fn listening_inode(line: &str, wanted: &[String]) -> Option<String> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let here = wanted.iter().any(|form| form == local);
    (here && state == LISTEN && inode != "0").then(|| inode.to_owned())
}

fn owner(inode: &str) -> Option<Holder> {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), &wanted).then(|| Holder::Process {
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
    fn a_listening_line_gives_its_inode() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 48213 1 0000000000000000 100 0 0 10 0";
        let at = |address: &str| forms(address.parse().unwrap());
        let found = Some("48213".to_owned());
        assert_eq!(listening_inode(line, &at("127.0.0.1:8080")), found);
        assert_eq!(listening_inode(line, &at("127.0.0.1:8081")), None);
        assert_eq!(
            listening_inode(line, &at("127.0.0.2:8080")),
            None,
            "another address is another listener"
        );
        assert_eq!(
            listening_inode(&line.replace("0100007F", "00000000"), &at("127.0.0.2:8080")),
            found,
            "all addresses"
        );
        let connection = line.replace(" 0A ", " 01 ");
        assert_eq!(
            listening_inode(&connection, &at("127.0.0.1:8080")),
            None,
            "a connection holds no port"
        );
        assert_eq!(
            listening_inode(
                "  sl  local_address rem_address   st",
                &at("127.0.0.1:8080")
            ),
            None
        );
    }

    #[test]
    fn the_process_behind_a_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = find(listener.local_addr().unwrap());
        assert!(
            matches!(holder, Holder::Process { pid, .. } if pid == std::process::id()),
            "{holder:?}"
        );
    }
}
