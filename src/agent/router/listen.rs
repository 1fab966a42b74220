//! Binds an address, or uses a listener that the process was started with.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::{TcpListener, TcpSocket};

use crate::agent::router::{Holder, Listener, RouteError, RouteKey, holder};

/// How many connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 4096;

/// Listens on an address for a route.
pub async fn listen(
    inherited: &[StdListener],
    address: SocketAddr,
    listener: Listener,
    route: &RouteKey,
) -> Result<TcpListener, RouteError> {
    let result = inherited_for(inherited, address).map_or_else(|| bind(address), adopt);
    match result {
        Ok(bound) => Ok(bound),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let holder = tokio::task::spawn_blocking(move || holder::find(address)).await;
            let holder = holder.unwrap_or(Holder::Unknown);
            Err(RouteError::Taken {
                address,
                listener,
                route: route.clone(),
                holder,
            })
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

/// `SO_REUSEADDR` lets a restarted router have its port although old connections are in `TIME_WAIT`.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
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
