//! Who listens at an instance's port. Between the moment that a port is chosen and the moment that
//! a service listens at it, and whenever a service stops listening, anybody of the machine may take
//! it: an answer counts only when it is the instance that gives it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::agent::family::family;
use crate::agent::instance::listening::{Listening, listeners};
use crate::agent::trouble::Trouble;

/// Who listens at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The instance.
    Instance,
    /// Nobody.
    Nobody,
    /// The instance, at an address of this machine to which nothing is sent.
    Elsewhere(SocketAddr),
    /// Somebody else: who, in words.
    Stranger(String),
}

/// The port of an instance.
#[derive(Debug)]
pub(super) struct PortOwner {
    port: u16,
    leader: u32,
    /// The descriptor by which the instance was last seen to have the socket, and what it leads to:
    /// where it still does, its processes need not be searched.
    seen: Option<(PathBuf, PathBuf)>,
}

impl PortOwner {
    /// The port of the instance whose first process this is.
    pub const fn new(port: u16, leader: u32) -> Self {
        Self {
            port,
            leader,
            seen: None,
        }
    }

    /// Which port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Looks who has it now.
    pub async fn look(&mut self) -> Result<Owner, Trouble> {
        let (port, leader, seen) = (self.port, self.leader, self.seen.take());
        let looked = tokio::task::spawn_blocking(move || find(port, leader, seen)).await;
        let (owner, seen) = looked
            .map_err(|error| Trouble::Local(error.to_string()))?
            .map_err(|error| Trouble::Local(format!("who listens at port {port}: {error}")))?;
        self.seen = seen;
        Ok(owner)
    }
}

type Seen = Option<(PathBuf, PathBuf)>;

/// A socket that is held may listen no more, and one of another family leaves its port to others:
/// who listens is asked each time.
fn find(port: u16, leader: u32, before: Seen) -> io::Result<(Owner, Seen)> {
    let all = listeners(port)?;
    let (listeners, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(Listening::takes_loopback);
    if listeners.is_empty() {
        return Ok((elsewhere(leader, &others)?, None));
    }
    if let Some((descriptor, socket)) = before
        && listeners.iter().all(|listener| listener.socket() == socket)
        && fs::read_link(&descriptor).is_ok_and(|target| target == socket)
    {
        return Ok((Owner::Instance, Some((descriptor, socket))));
    }
    let members = Members(family(leader)?);
    let mut seen = None;
    for listener in &listeners {
        match members.holds(listener) {
            Some(held) => seen = held,
            None => return Ok((Owner::Stranger(stranger(port, listener)), None)),
        }
    }
    Ok((Owner::Instance, seen))
}

/// Who is asked at loopback's first address has to listen there, and may listen at another one.
fn elsewhere(leader: u32, others: &[Listening]) -> io::Result<Owner> {
    if others.is_empty() {
        return Ok(Owner::Nobody);
    }
    let members = Members(family(leader)?);
    let own = others.iter().find(|it| members.holds(it).is_some());
    Ok(own.map_or(Owner::Nobody, |own| Owner::Elsewhere(own.at())))
}

/// The processes of an instance.
struct Members(BTreeSet<u32>);

impl Members {
    /// How one of them holds a socket; none when none does. A process whose descriptors cannot be
    /// looked at, which is another user's, is believed when the socket is that user's.
    fn holds(&self, listener: &Listening) -> Option<Seen> {
        let socket = listener.socket();
        let mut hidden = false;
        for pid in &self.0 {
            match descriptor(*pid, &socket) {
                Ok(Some(descriptor)) => return Some(Some((descriptor, socket))),
                Ok(None) => {}
                Err(_) => hidden |= user_of(*pid) == Some(listener.uid),
            }
        }
        hidden.then_some(None)
    }
}

/// The descriptor by which a process has a socket. An error where they cannot be looked at: root
/// may list another user's without the right to see what they lead to, as in a container without
/// `CAP_SYS_PTRACE`.
fn descriptor(pid: u32, socket: &Path) -> io::Result<Option<PathBuf>> {
    let mut hidden = None;
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        match fs::read_link(descriptor.path()) {
            Ok(target) if target == socket => return Ok(Some(descriptor.path())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden = Some(error),
            // Another one, or closed meanwhile.
            Ok(_) | Err(_) => {}
        }
    }
    hidden.map_or(Ok(None), Err)
}

/// The effective user of a process.
fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
}

fn stranger(port: u16, listener: &Listening) -> String {
    let socket = listener.socket();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let holder = pids
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| descriptor(*pid, &socket).is_ok_and(|held| held.is_some()));
    let who = holder.map_or_else(
        || format!("a process of user {}", listener.uid),
        |pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (process {pid}, user {})", name.trim_end(), listener.uid)
        },
    );
    format!("port {port} was taken by {who}, which is not of this instance")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_is_its_own_processs_and_a_strangers_to_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut own = PortOwner::new(port, std::process::id());
        assert_eq!(own.look().await, Ok(Owner::Instance));
        assert!(own.seen.is_some(), "the next look is a short one");

        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let mut others = PortOwner::new(port, child.id());
        let owner = others.look().await;
        let _ = child.kill();
        let _ = child.wait();
        let Ok(Owner::Stranger(reason)) = owner else {
            panic!("{owner:?}");
        };
        assert!(reason.contains(&std::process::id().to_string()), "{reason}");

        drop(listener);
        assert_eq!(own.look().await, Ok(Owner::Nobody));
    }

    #[tokio::test]
    async fn a_process_that_listens_at_another_address_alone_is_seen_to() {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        // A kernel may have no IPv6.
        let six = TcpListener::bind("[::1]:0").ok();
        for listener in [Some(listener), six].into_iter().flatten() {
            let at = listener.local_addr().unwrap();
            let mut own = PortOwner::new(at.port(), std::process::id());
            assert_eq!(own.look().await, Ok(Owner::Elsewhere(at)));

            let mut child = std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .unwrap();
            let others = PortOwner::new(at.port(), child.id()).look().await;
            let _ = child.kill();
            let _ = child.wait();
            assert_eq!(others, Ok(Owner::Nobody), "it is a stranger's, elsewhere");
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_held_and_does_not_listen_has_no_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut own = PortOwner::new(listener.local_addr().unwrap().port(), std::process::id());
        assert_eq!(own.look().await, Ok(Owner::Instance));

        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        assert_eq!(own.look().await, Ok(Owner::Nobody));
    }
}
