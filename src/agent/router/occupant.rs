//! Who has a port: what `/proc` tells about a listening socket.

use std::fs;
use std::net::SocketAddr;

/// The process that listens on the address, as `name (pid N)`, as far as this user may see it.
pub(super) fn of(address: SocketAddr) -> Option<String> {
    let inode = inode(address)?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| has(*pid, &link))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

/// The inode of the socket that listens there, or on all addresses: column 10 of `/proc/net/tcp`, where the state
/// is 0A. Addresses stand there as the bytes of the network, read as numbers of this machine.
fn inode(address: SocketAddr) -> Option<String> {
    let port = address.port();
    let own = match address {
        SocketAddr::V4(address) => format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.ip().octets())),
        SocketAddr::V6(address) => {
            let octets = address.ip().octets();
            let words = octets.chunks(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            let words: Vec<String> = words.map(|word| format!("{word:08X}")).collect();
            format!("{}:{port:04X}", words.concat())
        }
    };
    let all = [format!("{:08X}:{port:04X}", 0), format!("{:032X}:{port:04X}", 0)];
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = fields.get(1)?;
            let listens =
                fields.get(3) == Some(&"0A") && (*local == own || all.iter().any(|any| any == local));
            listens.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
        })
    })
}

fn has(pid: u32, link: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .filter_map(Result::ok)
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy() == link))
}
