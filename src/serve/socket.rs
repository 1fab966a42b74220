//! The socket for Git hooks and commands of this machine. Who comes is known by the kernel.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer};
use super::local;
use crate::config::server::SocketConfig;
use crate::files;
use crate::ops::actor::{uid_of, user_of};
use crate::ops::doors::Doors;

/// How many connections there are at once.
const CONNECTIONS: usize = 256;

/// How long to wait when the system has no descriptor for a client.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The socket.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The users that may say on whose behalf they come.
    trusted: Vec<u32>,
}

/// Who has come.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// The user's name.
    pub name: String,
    /// Whether its word counts for others.
    pub may_speak_for_others: bool,
}

impl Socket {
    /// Opens it in the place of one that nobody listens at any more.
    pub fn open(config: &SocketConfig) -> io::Result<Self> {
        let unknown = |name: &String| io::Error::other(format!("this machine has no user {name}"));
        let users = config
            .users
            .iter()
            .map(|name| uid_of(name).ok_or_else(|| unknown(name)));
        let users: Vec<u32> = users.collect::<io::Result<_>>()?;

        let path = config.path.clone();
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        clear(&path)?;
        let listener = UnixListener::bind(&path)?;
        // Everybody may knock where another user is let in; the kernel says who it is.
        let mode = if users.is_empty() { 0o600 } else { 0o666 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        let own = rustix::process::geteuid().as_raw();
        Ok(Self {
            listener,
            path,
            trusted: [&users[..], &[0, own]].concat(),
        })
    }

    /// Lets clients in until it is told to stop.
    pub async fn listen(self, doors: Arc<Doors>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (Ok(place), Ok((stream, _))) = (place, accepted) else {
                tokio::time::sleep(BACK_OFF).await;
                continue;
            };
            let Some(peer) = self.peer(&stream) else {
                continue;
            };
            let (doors, stop) = (Arc::clone(&doors), stop.clone());
            tokio::spawn(async move {
                let _place = place;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = client(doors, stream, peer) => {}
                }
            });
        }
        let _ = fs::remove_file(&self.path);
    }

    /// Who is at the other end; none: somebody who is not let in.
    fn peer(&self, stream: &UnixStream) -> Option<Peer> {
        let uid = stream.peer_cred().ok()?.uid();
        if !self.trusted.contains(&uid) {
            tracing::warn!(
                uid,
                "a user was turned away: `listen.socket.users` names who is let in"
            );
            return None;
        }
        Some(Peer {
            name: user_of(uid),
            may_speak_for_others: true,
        })
    }
}

/// Takes the socket of a server away that is gone, and nothing else.
fn clear(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("something else than a socket is there"));
    }
    if Probe::connect(path).is_ok() {
        return Err(io::Error::other("another server listens there"));
    }
    fs::remove_file(path)?;
    files::sync_folder(path.parent().unwrap_or(Path::new("/")))
}

async fn client(doors: Arc<Doors>, stream: UnixStream, peer: Peer) {
    let service = service_fn(move |request| {
        let (doors, peer) = (Arc::clone(&doors), peer.clone());
        async move { Ok::<Answer, Infallible>(local::routed(&doors, &peer, request).await) }
    });
    answer::connection(stream, service).await;
}
