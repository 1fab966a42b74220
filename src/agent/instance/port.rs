//! The port of an instance, and the socket that is opened for it when the service takes one over.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::agent::trouble::Trouble;
use crate::model::workload::{Socket, Workload};

/// Where an instance listens.
#[derive(Debug)]
pub(super) struct Port {
    /// None for a worker.
    pub number: Option<u16>,
    /// For a service that takes its socket over: nobody else can ever have the port.
    pub socket: Option<Arc<OwnedFd>>,
}

impl Port {
    /// That of an instance that runs already.
    pub const fn found(number: Option<u16>) -> Self {
        Self {
            number,
            socket: None,
        }
    }

    /// A port that nobody listens at now. Somebody else may take one before the service does: that
    /// is seen before the instance is taken for ready.
    pub fn choose(workload: &Workload, by: Socket) -> Result<Self, Trouble> {
        if workload.port.is_none() {
            return Ok(Self::found(None));
        }
        let no_port = |error: std::io::Error| Trouble::Local(format!("no port is free: {error}"));
        let socket =
            TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(no_port)?;
        let number = socket.local_addr().map_err(no_port)?.port();
        let handed_over = match by {
            Socket::Own => None,
            Socket::Inherited => Some(Arc::new(socket.into())),
        };
        Ok(Self {
            number: Some(number),
            socket: handed_over,
        })
    }
}
