//! Images on their way to an agent of another machine: what it lacks of them, by digest.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;

use crate::files::beneath::{Links, Root};
use crate::model::{Digest, Platform, platform};
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit, Scope};
use crate::proto::convert::parse;
use crate::proto::v1;
use crate::proto::v1::agent_client::AgentClient;

/// The largest document that is read.
const DOCUMENT: u64 = 8 << 20;

/// How many bytes a message has, and how many messages wait to be sent.
const PIECE: usize = 256 << 10;
const WAITING: usize = 4;

/// An image as an agent of another machine needs it: its blobs, the documents last.
#[derive(Debug)]
pub(super) struct Wanted {
    layout: PathBuf,
    blobs: Vec<v1::Blob>,
    unpacked: u64,
}

impl Wanted {
    /// The image of a layout folder that a machine of this platform starts.
    pub async fn read(layout: PathBuf, image: Digest, own: Platform) -> Result<Self, EngineError> {
        let what = format!("reading {} in {}", image.short(), layout.display());
        let read = tokio::task::spawn_blocking(move || read(&layout, &image, &own)).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        read.map_err(|reason| EngineError::Failed { what, reason })
    }

    /// Where the agent has an image that this machine has not: somebody else has sent it. None when
    /// it has not either.
    pub async fn sent_before(
        client: &mut AgentClient<Channel>,
        scope: &Scope,
        image: &Digest,
    ) -> Result<Option<PathBuf>, EngineError> {
        let message = v1::MissingBlobsRequest {
            scope: Some(scope.into()),
            blobs: Vec::new(),
            unpacked: 0,
            image: Some(image.to_string()),
        };
        let request = super::request(message, super::LONG);
        let reply = client.missing_blobs(request).await?.into_inner();
        Ok(reply.missing.is_empty().then(|| reply.layout.into()))
    }

    /// What the agent lacks, and where it will have it. An error when there is no room.
    pub async fn missing(
        &self,
        client: &mut AgentClient<Channel>,
        scope: &Scope,
    ) -> Result<(Vec<&v1::Blob>, PathBuf), EngineError> {
        let message = v1::MissingBlobsRequest {
            scope: Some(scope.into()),
            blobs: self.blobs.clone(),
            unpacked: self.unpacked,
            image: None,
        };
        // It reads what it has, and compares it with its digests.
        let request = super::request(message, super::LONG);
        let reply = client.missing_blobs(request).await?.into_inner();
        let is_missing = |blob: &&v1::Blob| reply.missing.contains(&blob.digest);
        let missing = self.blobs.iter().filter(is_missing).collect();
        Ok((missing, reply.layout.into()))
    }

    /// Sends what the agent lacks; gives the layout folder that it has the image in.
    pub async fn send(
        &self,
        client: &mut AgentClient<Channel>,
        permit: &Permit,
        progress: Progress<'_>,
    ) -> Result<PathBuf, EngineError> {
        let (missing, layout) = self.missing(client, &permit.scope).await?;
        if missing.is_empty() {
            return Ok(layout);
        }
        let bytes: u64 = missing.iter().map(|blob| blob.size).sum();
        progress(&format!(
            "sending {} of {} blobs, {} KiB",
            missing.len(),
            self.blobs.len(),
            bytes.div_ceil(1024)
        ));
        for blob in missing {
            let file = open(&self.layout, &parse("digest", &blob.digest)?);
            let file = file.map_err(|reason| EngineError::Failed {
                what: format!("sending {}", blob.digest),
                reason,
            })?;
            send(client, permit, blob, file).await?;
        }
        Ok(layout)
    }
}

/// The bytes a second that a connection has to bring at least.
const SLOWEST: u64 = 16 << 10;

async fn send(
    client: &mut AgentClient<Channel>,
    permit: &Permit,
    blob: &v1::Blob,
    file: File,
) -> Result<(), EngineError> {
    let (sender, pieces) = mpsc::channel(WAITING);
    let begin = v1::BlobBegin {
        permit: Some(permit.into()),
        blob: Some(blob.clone()),
    };
    let reading = tokio::task::spawn_blocking(move || feed(begin, file, &sender));
    let mut request = Request::new(ReceiverStream::new(pieces));
    request.set_timeout(super::LONG + Duration::from_secs(blob.size / SLOWEST));
    let sent = client.send_blob(request).await;
    let read = reading.await.unwrap_or(Ok(()));
    sent?;
    read.map_err(|error| EngineError::Failed {
        what: format!("sending {}", blob.digest),
        reason: error.to_string(),
    })
}

/// Gives the pieces of a blob to whoever sends them, as long as they are wanted.
fn feed(
    begin: v1::BlobBegin,
    mut file: File,
    pieces: &mpsc::Sender<v1::BlobPiece>,
) -> std::io::Result<()> {
    use v1::blob_piece::Piece;

    let mut piece = Piece::Begin(begin);
    loop {
        let message = v1::BlobPiece { piece: Some(piece) };
        if pieces.blocking_send(message).is_err() {
            return Ok(());
        }
        let mut data = vec![0; PIECE];
        let count = file.read(&mut data)?;
        if count == 0 {
            return Ok(());
        }
        data.truncate(count);
        piece = Piece::Data(data);
    }
}

fn read(layout: &Path, image: &Digest, own: &Platform) -> Result<Wanted, String> {
    let whole: Value = document(layout, image)?;
    let mut documents = vec![image.clone()];
    let mut chosen = image.clone();
    if whole["manifests"].is_array() {
        chosen = own
            .choose(platform::images(&whole))
            .ok_or_else(|| not_made_for(own, platform::images(&whole).map(|(of, _)| of)))?;
        documents.insert(0, chosen.clone());
    }

    let manifest: ImageManifest = document(layout, &chosen)?;
    let config = digest(manifest.config())?;
    let said: Value = document(layout, &config)?;
    let text = |name: &str| said[name].as_str();
    if let (Some(os), Some(architecture)) = (text("os"), text("architecture")) {
        let made_for = Platform::new(os, architecture, text("variant"));
        let only = [(made_for.clone(), chosen.clone())];
        if own.choose(only).is_none() {
            return Err(not_made_for(own, [made_for].into_iter()));
        }
    }

    let layers: Vec<Digest> = manifest
        .layers()
        .iter()
        .map(digest)
        .collect::<Result<_, _>>()?;
    let mut unpacked = 0;
    for layer in &layers {
        unpacked += size_unpacked(open(layout, layer)?).map_err(|error| error.to_string())?;
    }
    let mut blobs: Vec<v1::Blob> = Vec::new();
    for digest in layers.iter().chain([&config]).chain(&documents) {
        let size = open(layout, digest)?
            .metadata()
            .map_err(|error| error.to_string())?
            .len();
        let digest = digest.to_string();
        if blobs.iter().all(|blob| blob.digest != digest) {
            blobs.push(v1::Blob { digest, size });
        }
    }
    Ok(Wanted {
        layout: layout.to_owned(),
        blobs,
        unpacked,
    })
}

fn not_made_for(own: &Platform, made_for: impl Iterator<Item = Platform>) -> String {
    let made_for: Vec<String> = made_for.map(|of| of.to_string()).collect();
    format!(
        "the image is not made for {own}, which the machine there is, only for {}: add it under \
         `build.platforms`",
        made_for.join(", ")
    )
}

/// How many bytes come out of a layer: as its packing says (RFC 1952: the last four bytes are the
/// size before, modulo 2^32), and at least its own.
fn size_unpacked(mut file: File) -> std::io::Result<u64> {
    let packed = file.metadata()?.len();
    if packed < 4 {
        return Ok(packed);
    }
    let mut magic = [0; 2];
    file.read_exact(&mut magic)?;
    if magic != [0x1f, 0x8b] {
        return Ok(packed);
    }
    let mut size = [0; 4];
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut size)?;
    Ok(u64::from(u32::from_le_bytes(size)).max(packed))
}

fn open(layout: &Path, digest: &Digest) -> Result<File, String> {
    let root = Root::open(layout, Links::StayBeneath)
        .map_err(|error| format!("opening {}: {error}", layout.display()))?;
    let path = Path::new("blobs").join("sha256").join(digest.hex());
    root.file(&path)
        .map_err(|error| format!("{digest}: {error}"))
}

fn document<T: serde::de::DeserializeOwned>(layout: &Path, digest: &Digest) -> Result<T, String> {
    let mut bytes = Vec::new();
    let read = open(layout, digest)?.take(DOCUMENT).read_to_end(&mut bytes);
    read.map_err(|error| format!("{digest}: {error}"))?;
    if Digest::of(&bytes) != *digest {
        return Err(format!(
            "{digest} is corrupt: its bytes have another digest"
        ));
    }
    serde_json::from_slice(&bytes).map_err(|error| format!("{digest}: {error}"))
}

fn digest(descriptor: &Descriptor) -> Result<Digest, String> {
    let text = descriptor.digest().to_string();
    text.parse()
        .map_err(|_| format!("{text} is not a digest that is understood"))
}
