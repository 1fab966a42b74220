//! Images of clients on other machines, as their calls bring them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tonic::{Response, Status, Streaming};

use crate::agent::answer::Answer;
use crate::agent::engine::Agent;
use crate::agent::rootfs::sent::{self, Incoming};
use crate::model::Digest;
use crate::port::engine::{Permit, Scope};
use crate::proto::convert::parse;
use crate::proto::v1;
use crate::proto::v1::blob_piece::Piece;

/// How long a client may be silent in the middle of a blob.
const SILENCE: Duration = Duration::from_mins(1);

/// How many pieces wait to be written.
const WAITING: usize = 4;

/// The most blobs that one image may have.
const BLOBS: usize = 2000;

/// Which blobs of an image are not here yet.
pub(super) async fn missing(
    agent: &Agent,
    request: v1::MissingBlobsRequest,
) -> Answer<v1::MissingBlobsReply> {
    let scope: Scope = request.scope.try_into()?;
    if request.blobs.len() > BLOBS {
        return Err(Status::invalid_argument(format!(
            "an image has {BLOBS} blobs at the most"
        )));
    }
    let blobs: Vec<(Digest, u64)> = request
        .blobs
        .iter()
        .map(|blob| Ok((parse("digest", &blob.digest)?, blob.size)))
        .collect::<Result<_, Status>>()?;

    let image = request.image.as_ref();
    let image: Option<Digest> = image.map(|image| parse("digest", image)).transpose()?;

    let layout = agent.directory().sent(&scope);
    let folder = layout.clone();
    let looked = tokio::task::spawn_blocking(move || match image {
        Some(image) if sent::has(&folder, &image) => Ok(Vec::new()),
        Some(image) => Ok(vec![image]),
        None => sent::missing(&folder, &blobs, request.unpacked),
    });
    let looked = looked.await.unwrap_or_else(|error| Err(error.to_string()));
    let missing = looked.map_err(|reason| refused("looking for room for the image", reason))?;
    Ok(Response::new(v1::MissingBlobsReply {
        missing: missing.iter().map(ToString::to_string).collect(),
        layout: layout.display().to_string(),
    }))
}

/// Takes one blob. Who may deploy may send what is deployed.
pub(super) async fn blob(
    agent: &Arc<Agent>,
    mut pieces: Streaming<v1::BlobPiece>,
) -> Answer<v1::Done> {
    let Some(Piece::Begin(begin)) = next(&mut pieces).await? else {
        return Err(Status::invalid_argument("it does not say which blob comes"));
    };
    let permit: Permit = begin.permit.try_into()?;
    agent.check(&permit)?;
    let blob = begin.blob.unwrap_or_default();
    let digest: Digest = parse("digest", &blob.digest)?;

    let layout = agent.directory().sent(&permit.scope);
    let (sender, mut received) = mpsc::channel::<Vec<u8>>(WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        let mut incoming = Incoming::begin(&layout, digest, blob.size)?;
        while let Some(bytes) = received.blocking_recv() {
            if bytes.is_empty() {
                return incoming.finish();
            }
            incoming.write(&bytes)?;
        }
        Err("its client has gone away".to_owned())
    });
    while let Some(piece) = next(&mut pieces).await? {
        let Piece::Data(bytes) = piece else {
            return Err(Status::invalid_argument("one blob at a time"));
        };
        // An empty one says that it was the last.
        if !bytes.is_empty() && sender.send(bytes).await.is_err() {
            break;
        }
    }
    let _ = sender.send(Vec::new()).await;
    let written = writing.await.unwrap_or_else(|error| Err(error.to_string()));
    written.map_err(|reason| refused("taking a blob", reason))?;
    Ok(Response::new(v1::Done {}))
}

async fn next(pieces: &mut Streaming<v1::BlobPiece>) -> Result<Option<Piece>, Status> {
    let next = tokio::time::timeout(SILENCE, pieces.message()).await;
    let late = || Status::deadline_exceeded("the client was silent in the middle of a blob");
    Ok(next.map_err(|_| late())??.and_then(|message| message.piece))
}

fn refused(what: &str, reason: String) -> Status {
    crate::port::engine::EngineError::Failed {
        what: what.to_owned(),
        reason,
    }
    .into()
}
