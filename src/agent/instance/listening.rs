//! The listening sockets of this machine.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// The state of a listening socket in `/proc/net/tcp`, and its number (`TCP_LISTEN` of the kernel's
/// `tcp_states.h`).
const LISTEN: &str = "0A";
const LISTEN_STATE: u32 = 10;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// The kinds of messages: `SOCK_DIAG_BY_FAMILY` of `sock_diag.h`, and `NLMSG_DONE`.
const BY_FAMILY: u16 = 20;
const DONE: u16 = 3;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;

/// The families, `AF_INET` and `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;

/// The bytes of a `nlmsghdr`, and of it with an `inet_diag_req_v2`.
const HEAD: usize = 16;
const QUESTION: u32 = 72;

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    address: IpAddr,
    port: u16,
    /// Whose it is.
    pub uid: u32,
    inode: u64,
}

impl Listening {
    /// From a line of `/proc/net/tcp` or `tcp6`; none for what does not listen.
    fn of(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        if fields.nth(1)? != LISTEN {
            return None;
        }
        Some(Self {
            address: ip(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            uid: fields.nth(3)?.parse().ok()?,
            inode: fields.nth(1)?.parse().ok()?,
        })
    }

    /// Whether a connection to loopback may come to it.
    pub fn takes_loopback(&self) -> bool {
        let address = self.address.to_canonical();
        address.is_unspecified() || address == IpAddr::V4(Ipv4Addr::LOCALHOST)
    }

    /// Whether nothing but its own network comes to it.
    pub fn is_loopback(&self) -> bool {
        self.address.to_canonical().is_loopback()
    }

    /// Where it listens.
    pub const fn at(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// As a descriptor leads to it.
    pub fn socket(&self) -> PathBuf {
        format!("socket:[{}]", self.inode).into()
    }
}

/// As `/proc/net` writes it: the network's bytes, four by four, read as numbers of this machine.
fn ip(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..text.len() / 8)
        .map(|at| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok())
        .map(|word| word.map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        [_, _, _, _] => {
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// The sockets that listen at a port of this machine.
pub(super) fn listeners(port: u16) -> io::Result<Vec<Listening>> {
    // The tables have every connection in them, and are slow to read on a machine with many.
    let mut all = asked().or_else(|_| tables("/proc/net"))?;
    all.retain(|it| it.port == port);
    Ok(all)
}

/// The sockets that listen at a port where a process has its network.
pub(super) fn listeners_of(pid: u32, port: u16) -> io::Result<Vec<Listening>> {
    let mut all = tables(&format!("/proc/{pid}/net"))?;
    all.retain(|it| it.port == port);
    Ok(all)
}

/// Those of the tables of a network.
fn tables(net: &str) -> io::Result<Vec<Listening>> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = match fs::read_to_string(format!("{net}/{table}")) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        found.extend(text.lines().filter_map(Listening::of));
    }
    Ok(found)
}

/// Those that the kernel names when it is asked for listening ones alone (`sock_diag(7)`).
fn asked() -> io::Result<Vec<Listening>> {
    let kind = SocketType::RAW;
    let socket = socket_with(
        AddressFamily::NETLINK,
        kind,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    let mut found = Vec::new();
    for family in [INET, INET6] {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&socket, &question(family), SendFlags::empty(), &kernel)?;
        let mut answer = vec![0; 64 << 10];
        loop {
            let (_, length) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
            if read(&answer[..length], &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn question(family: u8) -> Vec<u8> {
    let mut message = QUESTION.to_ne_bytes().to_vec();
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, TCP, 0, 0]);
    message.extend((1u32 << LISTEN_STATE).to_ne_bytes());
    // Of whichever socket.
    message.extend([0; 48]);
    message
}

/// Reads messages with an `inet_diag_msg` each; says whether the last one was among them.
fn read(mut rest: &[u8], found: &mut Vec<Listening>) -> io::Result<bool> {
    while !rest.is_empty() {
        let length = u32_at(rest, 0)? as usize;
        let message = rest
            .get(..length)
            .filter(|it| it.len() >= HEAD)
            .ok_or_else(odd)?;
        match u16::from_ne_bytes(array(message, 4)?) {
            // A number below zero is why there is no whole answer.
            DONE if u32_at(message, HEAD).is_ok_and(|code| code.cast_signed() < 0) => {
                return Err(odd());
            }
            DONE => return Ok(true),
            BY_FAMILY => found.push(socket(&message[HEAD..])?),
            _ => return Err(odd()),
        }
        // Each begins at a multiple of four.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket(message: &[u8]) -> io::Result<Listening> {
    let address = if message.first() == Some(&INET) {
        Ipv4Addr::from(array::<4>(message, 8)?).into()
    } else {
        Ipv6Addr::from(array::<16>(message, 8)?).into()
    };
    Ok(Listening {
        address,
        port: u16::from_be_bytes(array(message, 4)?),
        uid: u32_at(message, 64)?,
        inode: u32_at(message, 68)?.into(),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    Ok(u32::from_ne_bytes(array(bytes, at)?))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let found = bytes.get(at..at + N).ok_or_else(odd)?;
    found.try_into().map_err(|_| odd())
}

fn odd() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_read_as_the_kernel_writes_it() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 48213 1 0000000000000000 100 0 0 10 0";
        let found = Listening::of(line).unwrap();
        let expected = Listening {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            uid: 1000,
            inode: 48213,
        };
        assert_eq!(found, expected);
        assert_eq!(Listening::of(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(Listening::of("  sl  local_address rem_address   st"), None);
        let mapped = line.replace("0100007F", "0000000000000000FFFF00000100007F");
        assert!(Listening::of(&mapped).unwrap().takes_loopback());
        let any = line.replace("0100007F", "00000000000000000000000000000000");
        assert!(Listening::of(&any).unwrap().takes_loopback());
        let other = line.replace("0100007F", "0200007F");
        assert!(!Listening::of(&other).unwrap().takes_loopback());
    }

    #[test]
    fn both_ways_to_ask_the_kernel_name_the_same_sockets() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let any = TcpListener::bind("0.0.0.0:0").unwrap();
        // A kernel may have no IPv6.
        let six = TcpListener::bind("[::]:0").ok();
        for listener in [four, any].into_iter().chain(six) {
            let port = listener.local_addr().unwrap().port();
            let of_port = |all: Vec<Listening>| -> Vec<Listening> {
                all.into_iter().filter(|it| it.port == port).collect()
            };
            let named = of_port(asked().unwrap());
            assert_eq!(named.len(), 1, "{named:?}");
            // A table that changes while it is read may name one twice.
            let mut in_tables = of_port(tables("/proc/net").unwrap());
            in_tables.dedup();
            assert_eq!(named, in_tables);
            assert!(named[0].takes_loopback());
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let mut found = Vec::new();
        for bytes in [
            &[1][..],
            &[0; 16],
            &[255; 40],
            &[16, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(read(bytes, &mut found).is_err(), "{bytes:?}");
        }
        assert!(found.is_empty());

        // The end of an answer, and of one that the kernel could not give (`-ENOENT`).
        let end = |code: i32| -> Vec<u8> {
            let mut message = 20_u32.to_ne_bytes().to_vec();
            message.extend(DONE.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(code.to_ne_bytes());
            message
        };
        assert!(read(&end(0), &mut found).unwrap());
        assert!(read(&end(-2), &mut found).is_err());
    }
}
