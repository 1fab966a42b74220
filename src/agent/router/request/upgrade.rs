//! A connection that leaves HTTP: bytes both ways until one end is done.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::agent::router::access::AccessEntry;
use crate::agent::router::connection::clients::Taken;
use crate::agent::router::connection::serve::Peer;
use crate::agent::router::request::download::Download;
use crate::agent::router::request::watched::{Watch, Watched};
use crate::agent::router::request::{headers, hop_by_hop};
use crate::agent::router::upstream::InFlight;

/// How long a client may go on after the instance has ended the connection. Nobody answers it any
/// more, and a client that keeps its side open would count as in flight for as long as it likes.
/// The other way round there is no limit: a client may end its input and wait for the result.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is joined, and what it holds until it ends.
#[derive(Debug)]
pub struct Tunnel {
    /// The client's side.
    pub client: OnUpgrade,
    /// The instance.
    pub in_flight: Arc<InFlight>,
    /// How long nothing may come either way.
    pub idle: Duration,
    /// Its line in the access log.
    pub entry: AccessEntry,
    /// Its part of what its client may have.
    pub taken: [Taken; 2],
}

/// Joins client and instance after the instance's 101, and gives that 101 to the client. The
/// connection is in flight until it ends; it ends with either side, or when its listener's time to
/// drain is over.
pub fn join(
    mut response: Response<Incoming>,
    protocol: HeaderValue,
    tunnel: Tunnel,
    peer: &Peer,
) -> Response<Download> {
    let instance = hyper::upgrade::on(&mut response);
    let cut = peer.acceptor.cut.clone();
    peer.activity.leave_http();
    let Tunnel {
        client,
        in_flight,
        idle,
        mut entry,
        taken,
    } = tunnel;
    entry.answered(StatusCode::SWITCHING_PROTOCOLS);
    let (mut parts, _) = response.into_parts();
    let answer = entry.silent();

    peer.acceptor.tasks.spawn(async move {
        let copied = copy(client, instance, idle);
        if let Some(Ok(bytes)) = cut.run_until_cancelled_owned(copied).await {
            entry.add_bytes(bytes);
            entry.complete();
        }
        drop((in_flight, taken));
    });

    let protocol = parts
        .headers
        .get(header::UPGRADE)
        .cloned()
        .unwrap_or(protocol);
    hop_by_hop::remove_named(&mut parts.headers);
    headers::set_upgrade(&mut parts.headers, protocol);
    Response::from_parts(parts, Download::empty(answer))
}

/// How many bytes went to the client.
async fn copy(client: OnUpgrade, instance: OnUpgrade, idle: Duration) -> std::io::Result<usize> {
    let (client, instance) = tokio::try_join!(client, instance).map_err(std::io::Error::other)?;
    let watch = Watch::default();
    let mut client = Watched::new(TokioIo::new(client), &watch.client);
    let mut instance = Watched::new(TokioIo::new(instance), &watch.instance);
    let overdue = async {
        watch.instance.ended.notified().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut instance) => {
            copied.map(|(_, down)| usize::try_from(down).unwrap_or(usize::MAX))
        }
        () = overdue => Err(std::io::ErrorKind::TimedOut.into()),
        () = watch.silence(idle) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
