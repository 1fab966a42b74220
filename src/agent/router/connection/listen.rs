//! Binds an address, or uses a listener that the process was started with.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use rustix::net::sockopt::set_socket_reuseport;
use tokio::net::{TcpListener, TcpSocket};

use crate::agent::router::{Listener, PortHolder, RouteError, RouteKey, holder};

/// How many connections the kernel keeps until they are accepted.
pub const BACKLOG: u32 = 4096;

/// Listens on an address for a route. `own` are this router's listeners that have a part of it:
/// those of routes that change together with this one.
pub async fn listen(
    inherited: &[StdListener],
    address: SocketAddr,
    listener: Listener,
    route: &RouteKey,
    own: &[Arc<TcpListener>],
) -> Result<TcpListener, RouteError> {
    let taken = |holder: PortHolder| RouteError::Taken {
        address,
        listener,
        route: route.clone(),
        holder,
    };
    let result = match inherited_for(inherited, address) {
        Some(inherited) => adopt(inherited),
        None if own.is_empty() => bind(address, Sharing::No),
        None => {
            if let Some(holder) = other_holder(address, own).await {
                return Err(taken(holder));
            }
            bind_with(address, own)
        }
    };

    match result {
        Ok(bound) => Ok(bound),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let holder = tokio::task::spawn_blocking(move || holder::find(address)).await;
            Err(taken(holder.unwrap_or(PortHolder::Unknown)))
        }
        Err(error) => {
            let reason = error.to_string();
            Err(RouteError::Unusable {
                address,
                listener,
                route: route.clone(),
                reason,
            })
        }
    }
}

/// Whether another socket may listen on the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Yes,
    No,
}

/// Listens on an address of which some of our own listeners have a part. The kernel allows that to
/// sockets of one user that all ask for it (`SO_REUSEPORT`). They ask for as long as it takes, so
/// that nobody else comes in later.
fn bind_with(address: SocketAddr, own: &[Arc<TcpListener>]) -> io::Result<TcpListener> {
    for listener in own {
        set_socket_reuseport(listener, true)?;
    }
    let bound = bind(address, Sharing::Yes);
    for listener in own.iter().map(AsRef::as_ref).chain(&bound) {
        let _ = set_socket_reuseport(listener, false);
    }
    bound
}

/// Who else has a part of an address. The kernel would let a program of the same user in that
/// shares its port, too.
async fn other_holder(address: SocketAddr, own: &[Arc<TcpListener>]) -> Option<PortHolder> {
    let inodes = own
        .iter()
        .filter_map(|listener| Some(rustix::fs::fstat(listener).ok()?.st_ino))
        .collect();
    let look = move || holder::find_other(address, &inodes);
    tokio::task::spawn_blocking(look).await.ok().flatten()
}

/// `SO_REUSEADDR` lets a restarted router have its port although old connections are in
/// `TIME_WAIT`.
fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(sharing == Sharing::Yes)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn inherited_for(inherited: &[StdListener], address: SocketAddr) -> Option<&StdListener> {
    inherited.iter().find(|listener| {
        listener
            .local_addr()
            .is_ok_and(|local| serves(local, address))
    })
}

/// Whose a listening socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// It ends when it is closed.
    Own,
    /// Somebody who started this agent has it, too, and it goes on listening.
    Inherited,
}

/// Whose the socket is that listens on an address.
pub fn origin(inherited: &[StdListener], address: SocketAddr) -> Socket {
    if inherited_for(inherited, address).is_some() {
        Socket::Inherited
    } else {
        Socket::Own
    }
}

/// systemd's `ListenStream=8080` is one socket on `[::]` for both protocols.
fn serves(local: SocketAddr, wanted: SocketAddr) -> bool {
    local == wanted
        || (local.port() == wanted.port()
            && local.ip().is_unspecified()
            && wanted.ip().is_unspecified())
}

/// A duplicate: the original stays, so that a route can be closed and opened again.
fn adopt(listener: &StdListener) -> io::Result<TcpListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_listener_serves_its_address_and_any_address_serves_any() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(serves(at("127.0.0.1:80"), at("127.0.0.1:80")));
        assert!(serves(at("[::]:80"), at("0.0.0.0:80")));
        assert!(!serves(at("[::]:80"), at("0.0.0.0:81")));
        assert!(
            !serves(at("127.0.0.1:80"), at("0.0.0.0:80")),
            "asked for all, has one"
        );
    }
}
