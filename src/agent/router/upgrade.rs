//! A connection that leaves HTTP: bytes both ways until one end is done.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::Notify;

use crate::agent::router::access::Entry;
use crate::agent::router::closing::Closing;
use crate::agent::router::download::Download;
use crate::agent::router::headers;
use crate::agent::router::serve::Peer;
use crate::agent::router::upstream::Lease;

/// How long a client may go on after the instance has ended the connection. Nobody answers it any more, and a
/// client that keeps its side open would count as in flight for as long as it likes. The other way round there
/// is no limit: a client may end its input and wait for the result.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Joins client and instance after the instance's 101, and gives that 101 to the client. The connection is in
/// flight until it ends; it ends with either side, or when its listener's time to drain is over.
pub fn join(
    mut response: Response<Incoming>,
    protocol: HeaderValue,
    client: OnUpgrade,
    lease: Arc<Lease>,
    peer: &Peer,
    mut entry: Entry,
) -> Response<Download> {
    let instance = hyper::upgrade::on(&mut response);
    let cut = peer.cut.clone();
    peer.activity.leave_http();
    entry.answered(StatusCode::SWITCHING_PROTOCOLS);
    let (mut parts, _) = response.into_parts();
    let answer = entry.silent();
    peer.tasks.spawn(async move {
        let joined = cut.run_until_cancelled_owned(copy(client, instance)).await;
        if let Some(Ok(bytes)) = joined {
            entry.add_bytes(bytes);
            entry.complete();
        }
        drop(lease);
    });
    let protocol = parts
        .headers
        .get(header::UPGRADE)
        .cloned()
        .unwrap_or(protocol);
    headers::remove_hop_by_hop(&mut parts.headers);
    headers::set_upgrade(&mut parts.headers, protocol);
    Response::from_parts(parts, Download::empty(answer))
}

/// How many bytes went to the client.
async fn copy(client: OnUpgrade, instance: OnUpgrade) -> std::io::Result<usize> {
    let (client, instance) = tokio::try_join!(client, instance).map_err(std::io::Error::other)?;
    let ended = Notify::new();
    let mut client = TokioIo::new(client);
    let mut instance = Closing::new(TokioIo::new(instance), &ended);
    let overdue = async {
        ended.notified().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut instance) => {
            copied.map(|(_, down)| usize::try_from(down).unwrap_or(usize::MAX))
        }
        () = overdue => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
