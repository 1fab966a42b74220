//! Fetching a layer: as many bytes as its manifest says, in no more time than they need, and
//! compared with its digest.

use std::io::SeekFrom;
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::distribution::Reference;
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

use crate::driver::registry::oci::fault::RegistryFault;
use crate::driver::registry::oci::remote::{RegistryConnection, SILENCE};
use crate::driver::registry::oci::wire::silent;
use crate::model::Digest;
use crate::port::registry::{Blob, RegistryError};

/// The least that has to come in [`SILENCE`]: what is slower than this is not a slow line, but
/// somebody who holds it.
const LEAST: u64 = 64 << 10;

/// Fetches a layer into a file.
pub(super) async fn fetch(
    open: &RegistryConnection,
    from: &Reference,
    layer: &Blob,
    to: &Path,
) -> Result<(), RegistryError> {
    room(layer, to)?;
    let what = || format!("fetching {} from {}", layer.digest, from.whole());
    let came = Mutex::new(Came::default());
    let read = || async { came.lock().await.read(open, from, layer, to).await };
    let mut found = open.again(what, read).await?;
    let is_whole = |found: &Digest, size: u64| *found == layer.digest && size == layer.size;

    // Parts of two answers that do not fit together are no layer; one whole answer may be.
    let is_pieced = {
        let mut came = came.lock().await;
        let is_pieced = came.is_pieced;
        *came = Came::default();
        is_pieced
    };
    if is_pieced && !is_whole(&found.0, found.1) {
        found = open.again(what, read).await?;
    }
    if is_whole(&found.0, found.1) {
        return Ok(());
    }
    Err(RegistryError::Corrupt {
        digest: layer.digest.clone(),
        found: found.0,
        place: from.whole(),
    })
}

/// Refuses what the disk has no room for, before it is full for everybody.
fn room(layer: &Blob, to: &Path) -> Result<(), RegistryError> {
    let Some(Ok(disk)) = to.parent().map(rustix::fs::statvfs) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if layer.size <= free {
        return Ok(());
    }
    let text = format!(
        "{} has {free} bytes left, and it has {}",
        to.display(),
        layer.size
    );
    Err(RegistryError::Io {
        what: format!("fetching {}", layer.digest),
        source: std::io::Error::new(std::io::ErrorKind::StorageFull, text),
    })
}

/// What has come of a layer, and is in its file.
#[derive(Debug, Default)]
struct Came {
    hasher: Sha256,
    size: u64,
    /// Whether it is of more than one answer.
    is_pieced: bool,
}

impl Came {
    /// Reads a layer into a file: its digest, and how many bytes there were. One byte too many ends
    /// it. What an answer before has brought is not asked for again, where the server allows that.
    async fn read(
        &mut self,
        open: &RegistryConnection,
        from: &Reference,
        layer: &Blob,
        to: &Path,
    ) -> Result<(Digest, u64), RegistryFault> {
        let digest = &layer.digest;
        let rest = match self.size {
            0 => None,
            size => open.wire.rest(from, digest, size).await?,
        };
        let (mut answer, begin) = match rest {
            Some(rest) => rest,
            None => (open.wire.stream(from, digest).await?, 0),
        };
        let mut file = if begin == 0 {
            *self = Self::default();
            File::create(to).await?
        } else {
            self.is_pieced = true;
            self.goes_on(to).await?
        };

        let copied = self.copy(&mut answer, &mut file, layer.size).await;
        // What has come counts however it ended, and has to be in the file by then.
        file.flush().await?;
        copied?;
        Ok((Digest::from_sha256(self.hasher.clone()), self.size))
    }

    async fn copy(
        &mut self,
        answer: &mut Response,
        file: &mut File,
        most: u64,
    ) -> Result<(), RegistryFault> {
        let mut pace = Pace::new(Instant::now());
        loop {
            let part = tokio::time::timeout(SILENCE, answer.chunk()).await;
            let Some(part) = part.map_err(|_| silent(SILENCE))?? else {
                return Ok(());
            };
            if self.size + part.len() as u64 > most {
                self.size = most.saturating_add(1);
                return Ok(());
            }
            pace.came(part.len() as u64, Instant::now())?;
            file.write_all(&part).await?;
            self.hasher.update(&part);
            self.size += part.len() as u64;
        }
    }

    /// The file, behind what has come.
    async fn goes_on(&self, to: &Path) -> Result<File, std::io::Error> {
        let mut file = File::options().write(true).open(to).await?;
        file.set_len(self.size).await?;
        file.seek(SeekFrom::End(0)).await?;
        Ok(file)
    }
}

/// Looks whether enough comes.
#[derive(Debug)]
struct Pace {
    since: Instant,
    came: u64,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            came: 0,
        }
    }

    /// So many bytes have come.
    fn came(&mut self, bytes: u64, now: Instant) -> Result<(), std::io::Error> {
        self.came += bytes;
        let passed: Duration = now.duration_since(self.since);
        if passed < SILENCE {
            return Ok(());
        }
        if self.came < LEAST {
            let text = format!("{} bytes came in {} s", self.came, passed.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        *self = Self::new(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drips_is_given_up_and_what_is_slow_is_not() {
        let begin = Instant::now();
        let after = |bytes: u64, seconds: u64| {
            let mut pace = Pace::new(begin);
            let mut came = 0;
            (1..=600 / seconds).try_for_each(|step| {
                came += bytes;
                pace.came(bytes, begin + Duration::from_secs(step * seconds))
            })
        };
        assert!(after(1, 10).is_err(), "a byte each ten seconds");
        assert!(after(16 << 10, 10).is_ok(), "a slow line");
    }

    #[test]
    fn what_the_disk_has_no_room_for_is_not_fetched() {
        let folder = tempfile::tempdir().expect("a folder");
        let blob = |size| Blob {
            media_type: String::new(),
            digest: Digest::of(b"x"),
            size,
            file: None,
        };
        let to = folder.path().join("layer");
        assert!(room(&blob(1), &to).is_ok());
        assert!(room(&blob(u64::MAX), &to).is_err());
    }
}
