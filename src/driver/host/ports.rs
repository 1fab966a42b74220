//! Addresses of another machine that are reached here: a listener on this machine's loopback for
//! each, whose connections are passed on through whichever connection of ssh there is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::driver::host::machine::Link;
use crate::port::engine::EngineError;
use crate::port::pause::between;

/// The pause behind a connection that could not be taken.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// The listeners of one machine. They end with it.
pub(super) struct Ports {
    here: Mutex<BTreeMap<SocketAddr, SocketAddr>>,
    stop: CancellationToken,
    _ends: DropGuard,
}

impl Default for Ports {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self {
            here: Mutex::default(),
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
        let mut known = self.here.lock().await;
        if let Some(here) = known.get(&there) {
            return Ok(*here);
        }

        let name = format!("p{}", known.len());
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
        let way = Way {
            link: link.clone(),
            name,
            there,
        };
        tokio::spawn(pass_on(listener, way, self.stop.clone()));
        known.insert(there, here);
        Ok(here)
    }
}

/// The way to an address there.
#[derive(Clone)]
struct Way {
    link: Link,
    /// What its socket is named in each connection.
    name: String,
    there: SocketAddr,
}

impl Way {
    /// Passes what comes from one client on. Where there is no way the client's connection ends:
    /// it has its own patience.
    async fn pass(self, mut from: TcpStream) {
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

async fn pass_on(listener: TcpListener, way: Way, stop: CancellationToken) {
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
        let (way, stop) = (way.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = way.pass(from) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}
