//! Writers that hash and count what passes; and the one that makes a layer.

use std::fs::File;
use std::io::{self as std_io, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use crate::driver::builder::{image, io};
use crate::model::Digest;
use crate::port::builder::BuildError;
use crate::port::registry::Blob;

/// A writer that hashes and counts what passes.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_sha256(self.hasher), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std_io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std_io::Result<()> {
        self.inner.flush()
    }
}

/// A layer in its file.
pub(super) struct Layer {
    pub blob: Blob,
    /// The digest of the tar before it was compressed.
    pub diff_id: Digest,
}

/// Takes a tar and writes it compressed, without a name or a time, hashed before and after.
pub(super) struct LayerWriter {
    path: PathBuf,
    plain: Hashing<GzEncoder<Hashing<BufWriter<File>>>>,
}

impl LayerWriter {
    pub fn create(path: &Path) -> Result<Self, BuildError> {
        let file = File::create(path).map_err(io("making", path))?;
        let compressed = Hashing::new(BufWriter::new(file));
        let gzip = GzBuilder::new()
            .mtime(0)
            .write(compressed, Compression::new(6));
        Ok(Self {
            path: path.to_path_buf(),
            plain: Hashing::new(gzip),
        })
    }

    pub fn finish(self) -> Result<Layer, BuildError> {
        let (gzip, diff_id, _) = self.plain.finish();
        let finish = || -> std_io::Result<(Digest, u64)> {
            let (mut file, digest, size) = gzip.finish()?.finish();
            file.flush()?;
            Ok((digest, size))
        };
        let (digest, size) = finish().map_err(io("writing", &self.path))?;
        let media_type = image::LAYER.to_owned();
        Ok(Layer {
            blob: Blob {
                media_type,
                digest,
                size,
                file: Some(self.path),
            },
            diff_id,
        })
    }
}

impl Write for LayerWriter {
    fn write(&mut self, bytes: &[u8]) -> std_io::Result<usize> {
        self.plain.write(bytes)
    }

    fn flush(&mut self) -> std_io::Result<()> {
        self.plain.flush()
    }
}
