//! The ports of an instance, and the socket that is opened for the one that gets the traffic when
//! the service takes one over.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::agent::trouble::Trouble;
use crate::model::facts::Instance;
use crate::model::port::PortName;
use crate::model::workload::{Process, Socket, Workload};

/// Where an instance listens.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// For the traffic; none for a worker.
    pub number: Option<u16>,
    /// Besides, by the port's name.
    pub others: BTreeMap<PortName, u16>,
    /// For a service that takes its socket over: nobody else can ever have the port.
    pub socket: Option<Arc<OwnedFd>>,
}

impl Ports {
    /// Those of an instance that runs already.
    pub const fn found(number: Option<u16>, others: BTreeMap<PortName, u16>) -> Self {
        Self {
            number,
            others,
            socket: None,
        }
    }

    /// Ports that nobody listens at now. Somebody else may take one before the service does: that
    /// is seen before the instance is taken for ready.
    pub fn choose(workload: &Workload, process: &Process) -> Result<Self, Trouble> {
        let no_port = |error: io::Error| Trouble::Local(format!("no port is free: {error}"));
        // All are held until each is chosen, so that none is chosen twice.
        let main = workload.port.map(|_| open()).transpose();
        let main = main.map_err(no_port)?;
        let others = process.ports.keys();
        let others: BTreeMap<_, _> = others
            .map(|name| Ok((name.clone(), open()?)))
            .collect::<io::Result<_>>()
            .map_err(no_port)?;

        let numbers = others.iter();
        let numbers = numbers.map(|(name, (_, number))| (name.clone(), *number));
        Ok(Self {
            number: main.as_ref().map(|(_, number)| *number),
            others: numbers.collect(),
            socket: match process.socket {
                Socket::Own => None,
                Socket::Inherited => main.map(|(socket, _)| Arc::new(socket.into())),
            },
        })
    }
}

impl Instance {
    /// The port of this name; without a name the one that gets the traffic.
    pub(super) fn port_of(&self, name: Option<&PortName>) -> Option<u16> {
        name.map_or(self.port, |name| {
            self.ports.get(name).copied().or(self.port)
        })
    }
}

/// A socket at a port that is free, and the port's number.
fn open() -> io::Result<(TcpListener, u16)> {
    let socket = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let number = socket.local_addr()?.port();
    Ok((socket, number))
}
