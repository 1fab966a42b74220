//! `shipit serve`: the listeners, and the loop that has jobs carried out.
//!
//! It parses bytes from strangers, and so is a process of its own beside the agent, with a user of
//! its own. What comes is for `ops::doors`; here is how it comes, and `dashboard` has the pages for
//! people. Start with [`serve`].

mod answer;
mod dashboard;
mod local;
mod poller;
mod remote;
mod socket;
mod tls;
mod web;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ops::doors::clients::Clients;
use crate::ops::doors::{DoorError, Doors};

/// How long requests under way have when it stops.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The listeners, before anybody is let in.
pub struct Listeners {
    web: Option<(TcpListener, Option<tokio_rustls::TlsAcceptor>)>,
    remote: Option<(TcpListener, tokio_rustls::TlsAcceptor)>,
    socket: socket::Socket,
}

impl Listeners {
    /// Opens them.
    ///
    /// # Errors
    /// An address is somebody else's, a certificate cannot be read, a user is not known.
    pub async fn open(doors: &Doors) -> Result<Self, DoorError> {
        let failed = |what: String| {
            move |error: std::io::Error| DoorError::Setup {
                what,
                reason: error.to_string(),
            }
        };
        let listen = &doors.config.listen;
        let web = match &listen.web {
            None => None,
            Some(web) => {
                let acceptor = web.tls.as_ref().map(tls::acceptor).transpose();
                let acceptor = acceptor.map_err(|reason| DoorError::Setup {
                    what: "reading the certificate of listen.web".to_owned(),
                    reason,
                })?;
                let listener = TcpListener::bind(web.address).await;
                Some((
                    listener.map_err(failed(format!("listening at {}", web.address)))?,
                    acceptor,
                ))
            }
        };
        let remote = match &listen.remote {
            None => None,
            Some(remote) => {
                let issued = Clients::of(&doors.config.data).of_server(&remote.names)?;
                let acceptor = remote::acceptor(&issued).map_err(|reason| DoorError::Setup {
                    what: "making the certificate of listen.remote".to_owned(),
                    reason,
                })?;
                let listener = TcpListener::bind(remote.address).await;
                Some((
                    listener.map_err(failed(format!("listening at {}", remote.address)))?,
                    acceptor,
                ))
            }
        };
        let what = format!("opening the socket {}", listen.socket.path.display());
        let socket = socket::Socket::open(&listen.socket).map_err(failed(what))?;
        Ok(Self {
            web,
            remote,
            socket,
        })
    }

    /// Where webhooks arrive and where the pages are; none where there is no such listener.
    #[must_use]
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web
            .as_ref()
            .and_then(|(listener, _)| listener.local_addr().ok())
    }
}

/// Serves until it is told to stop. Jobs go on without it, and the next server finds them.
pub async fn serve(doors: Arc<Doors>, listeners: Listeners, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    if let Some((listener, acceptor)) = listeners.web {
        tracker.spawn(web::listen(
            Arc::clone(&doors),
            listener,
            acceptor,
            stop.clone(),
        ));
    }
    if let Some((listener, acceptor)) = listeners.remote {
        tracker.spawn(remote::listen(
            Arc::clone(&doors),
            listener,
            acceptor,
            stop.clone(),
        ));
    }
    tracker.spawn(listeners.socket.listen(Arc::clone(&doors), stop.clone()));
    for (project, configured) in &doors.config.projects {
        if let Some(every) = configured.source.poll {
            let (doors, project) = (Arc::clone(&doors), project.clone());
            tracker.spawn(poller::watch(doors, project, every.get(), stop.clone()));
        }
    }
    tracker.spawn(worker::work(doors, stop.clone()));
    tracker.close();

    stop.cancelled().await;
    let _ = tokio::time::timeout(SHUTDOWN, tracker.wait()).await;
}
