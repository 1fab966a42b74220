//! Addresses of another machine that are reached here: a listener on this machine's loopback for
//! each, whose connections are passed on through whichever connection of ssh there is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::driver::host::machine::Link;
use crate::port::engine::EngineError;
use crate::port::pause::between;

/// The pause behind a connection that could not be taken.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// The listeners of one machine. They end with it.
pub(super) struct Ports {
    /// Where each address is reached here, once it is; who asks for one waits for that one alone.
    here: Mutex<BTreeMap<SocketAddr, Arc<OnceCell<SocketAddr>>>>,
    /// The number of the next socket: none is given twice, also where a try came to nothing.
    next: AtomicU64,
    stop: CancellationToken,
    _ends: DropGuard,
}

impl Default for Ports {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self {
            here: Mutex::default(),
            next: AtomicU64::new(0),
            _ends: stop.clone().drop_guard(),
            stop,
        }
    }
}

impl Ports {
    /// Where an address there is reached here. Whether sshd lets anybody reach it is known at once.
    pub(super) async fn of(
        &self,
        link: &Link,
        there: SocketAddr,
    ) -> Result<SocketAddr, EngineError> {
        let here = {
            let mut known = self.here.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(there).or_default())
        };
        let opened = here.get_or_try_init(|| self.open(link, there));
        opened.await.copied()
    }

    async fn open(&self, link: &Link, there: SocketAddr) -> Result<SocketAddr, EngineError> {
        let name = self.name();
        link.tunnel()
            .await?
            .socket(&name, &there.to_string())
            .await?;
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.and_then(|it| Ok((it.local_addr()?, it)));
        let (here, listener) = listener.map_err(|error| EngineError::Failed {
            what: format!("reaching {there} of another machine"),
            reason: error.to_string(),
        })?;
        let forward = Forward {
            link: link.clone(),
            name,
            there,
        };
        tokio::spawn(listen(listener, forward, self.stop.clone()));
        Ok(here)
    }

    /// The name of a socket that no other has had.
    fn name(&self) -> String {
        format!("p{}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is sent to an address there.
#[derive(Clone)]
struct Forward {
    link: Link,
    /// What its socket is named in each connection.
    name: String,
    there: SocketAddr,
}

impl Forward {
    /// Forwards what comes from one client. Where there is no connection the client's ends: it has
    /// its own patience.
    async fn serve(self, mut from: TcpStream) {
        let Some(tunnel) = self.link.tunnel_for_a_client().await else {
            return;
        };
        let Ok(socket) = tunnel.socket(&self.name, &self.there.to_string()).await else {
            return;
        };
        if let Ok(mut to) = UnixStream::connect(&socket).await {
            let _ = copy_bidirectional(&mut from, &mut to).await;
        }
    }
}

async fn listen(listener: TcpListener, forward: Forward, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((from, _)) = accepted else {
            // Too many open files, most likely: some close.
            tokio::time::sleep(between(AGAIN / 2, AGAIN)).await;
            continue;
        };
        let (forward, stop) = (forward.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = forward.serve(from) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_given_is_given_to_no_other_address() {
        let ports = Ports::default();
        // The first try came to nothing: nothing is known, and its socket may be there.
        assert_ne!(ports.name(), ports.name());
    }
}
