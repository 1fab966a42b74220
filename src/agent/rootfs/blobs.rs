//! An image in a layout folder (image-spec, `image-layout.md`): opened beneath the folder, compared
//! with its digests.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Reason;
use crate::files::beneath::{Links, Root};
use crate::files::packed::{Packing, unpacked};
use crate::model::{Digest, Platform, platform};

/// The largest document that is read.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// The most that is read behind the end of a tar, which is zeros.
const MOST_PADDING: u64 = 64 << 20;

/// A layout folder.
pub(super) struct Layout(Root);

impl Layout {
    pub fn open(folder: &Path) -> Result<Self, Reason> {
        Root::open(folder, Links::StayBeneath)
            .map(Self)
            .map_err(|error| format!("opening {}: {error}", folder.display()))
    }

    pub fn blob(&self, digest: &Digest) -> Result<File, Reason> {
        let path = PathBuf::from("blobs").join("sha256").join(digest.hex());
        self.0.file(&path).map_err(|error| {
            let place = self.0.path().display();
            format!("opening a blob of {place}: {error}")
        })
    }

    pub fn document<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T, Reason> {
        let mut bytes = Vec::new();
        let read = self
            .blob(digest)?
            .take(DOCUMENT_LIMIT)
            .read_to_end(&mut bytes);
        read.map_err(|error| format!("{digest}: {error}"))?;
        expect(digest, &Digest::of(&bytes))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{digest}: {error}"))
    }

    /// An image's manifest; of an index the one for this machine.
    pub fn manifest(&self, image: &Digest) -> Result<ImageManifest, Reason> {
        let index: Value = self.document(image)?;
        if !index["manifests"].is_array() {
            return self.document(image);
        }
        let own = Platform::own();
        let there: Vec<String> = platform::images(&index)
            .map(|(platform, _)| platform.to_string())
            .collect();
        let missing = || {
            let there = there.join(", ");
            format!(
                "the image is not made for {own}, which this machine is, only for {there}: add it \
                 under `build.platforms`"
            )
        };
        self.document(&own.choose(platform::images(&index)).ok_or_else(missing)?)
    }

    pub fn verify(&self, digest: &Digest) -> Result<(), Reason> {
        Hashing::new(self.blob(digest)?).expect(digest)
    }

    /// A layer as the tar that it is; gives the digest of that. What `work` says of it counts only
    /// if the bytes had the layer's digest. They are read as long as `in_time` says.
    pub fn layer(
        &self,
        layer: &Layer,
        in_time: &dyn Fn() -> io::Result<()>,
        work: impl FnOnce(&mut dyn Read) -> Result<(), Reason>,
    ) -> Result<Digest, Reason> {
        let mut bytes = Hashing::new(self.blob(&layer.digest)?);
        let done = {
            let packed = BufReader::with_capacity(256 << 10, &mut bytes);
            let plain = unpacked(packed).map_err(|error| unreadable(&layer.digest, &error))?;
            let mut plain = Hashing::new(plain);
            let done = work(&mut plain).and_then(|()| finish(&layer.digest, &mut plain));
            done.map(|()| Digest::from_sha256(plain.hasher))
        };
        // Of what is given up the rest is not read.
        if done.is_err() && in_time().is_err() {
            return done;
        }
        bytes.expect(&layer.digest)?;
        done
    }

    /// How many bytes a layer has, and how many it says will come out of it. What it says of itself
    /// may be wrong.
    pub fn size(&self, layer: &Layer) -> Result<Size, Reason> {
        let mut file = self.blob(&layer.digest)?;
        let failed = |error: io::Error| format!("{}: {error}", layer.digest);
        let packed = file.metadata().map_err(failed)?.len();
        let mut start = Vec::new();
        let read = (&mut file).take(4).read_to_end(&mut start);
        read.map_err(failed)?;
        if Packing::of(&start) != Packing::Gzip || packed < 4 {
            let unpacked = packed;
            return Ok(Size { packed, unpacked });
        }

        // RFC 1952: the last four bytes are the size before packing, modulo 2^32.
        let mut size = [0; 4];
        file.seek(SeekFrom::End(-4)).map_err(failed)?;
        file.read_exact(&mut size).map_err(failed)?;
        let unpacked = u64::from(u32::from_le_bytes(size)).max(packed);
        Ok(Size { packed, unpacked })
    }
}

/// Reads what stands behind the end of a tar: the checksum of what was unpacked comes after it.
fn finish(layer: &Digest, plain: impl Read) -> Result<(), Reason> {
    let read = io::copy(&mut plain.take(MOST_PADDING), &mut io::sink());
    read.map(drop).map_err(|error| unreadable(layer, &error))
}

/// How large a layer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub packed: u64,
    /// At least, as it says itself.
    pub unpacked: u64,
}

/// A layer that can be unpacked.
pub(super) struct Layer {
    pub digest: Digest,
}

impl Layer {
    pub fn of(descriptor: &Descriptor) -> Result<Self, Reason> {
        let media_type = descriptor.media_type().to_string();
        // OCI says `+gzip`, Docker says `.gzip`; both say `tar` before it.
        let ends = media_type.rsplit(['.', '+']).next();
        if !matches!(ends, Some("gzip" | "zstd" | "tar")) {
            return Err(format!(
                "layers of the type {media_type} are not understood"
            ));
        }
        let digest = digest(descriptor)?;
        Ok(Self { digest })
    }
}

pub(super) fn digest(descriptor: &Descriptor) -> Result<Digest, Reason> {
    let text = descriptor.digest().to_string();
    text.parse()
        .map_err(|_| format!("{text} is not a digest that is understood"))
}

fn unreadable(layer: &Digest, error: &io::Error) -> Reason {
    format!("layer {}: unpacking it: {error}", layer.short())
}

fn expect(digest: &Digest, found: &Digest) -> Result<(), Reason> {
    if digest == found {
        return Ok(());
    }
    Err(format!(
        "the image is corrupt: a blob should have the digest {digest} and has {found}"
    ))
}

/// A reader that hashes what passes.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
        }
    }

    /// Reads what is left, and refuses other bytes than these.
    fn expect(mut self, digest: &Digest) -> Result<(), Reason> {
        let mut buffer = vec![0; 256 << 10];
        while self
            .read(&mut buffer)
            .map_err(|error| format!("{digest}: {error}"))?
            > 0
        {}
        expect(digest, &Digest::from_sha256(self.hasher))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
