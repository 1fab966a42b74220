//! Who comes to the agent's socket: clients of its own user and of root, and nobody else, whatever
//! the mode of a folder.

use std::io;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::net::{UnixListener, UnixStream};

/// How long to wait when the system has no descriptor or memory for a client.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The clients, as they come. It has no end: a moment without descriptors is none either.
pub(super) fn clients(socket: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    stream::unfold((socket, Mood::Fine), |(socket, mut mood)| async move {
        loop {
            match socket.accept().await {
                Ok((stream, _)) => match refusal(&stream) {
                    None => return Some((Ok(stream), (socket, Mood::Fine))),
                    Some(reason) => tracing::warn!(reason, "a client was turned away"),
                },
                Err(error) => {
                    // Said once: it may be so ten times a second.
                    if mood == Mood::Fine {
                        tracing::warn!(%error, "no client can be let in now; trying again");
                    }
                    mood = Mood::Lacking;
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    })
}

/// Whether the last client could be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fine,
    Lacking,
}

fn refusal(stream: &UnixStream) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if is_trusted(peer.uid(), own) => None,
        Ok(peer) => Some(format!(
            "it is of user {}, and this agent of {own}",
            peer.uid()
        )),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether a user may be at the other end: oneself, and root, who can do anything anyway.
const fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_user_and_root_are_let_in() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1000, 0) && !is_trusted(1001, 1000));
    }
}
