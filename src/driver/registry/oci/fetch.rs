//! Fetching a layer: as many bytes as its manifest says, in no more time than they need, and
//! compared with its digest.

use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::distribution::Reference;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

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
    let (found, size) = open.again(what, || read(open, from, layer, to)).await?;
    if found == layer.digest && size == layer.size {
        return Ok(());
    }
    Err(RegistryError::Corrupt {
        digest: layer.digest.clone(),
        found,
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

/// Reads a layer into a file: its digest, and how many bytes there were. One byte too many ends it.
async fn read(
    open: &RegistryConnection,
    from: &Reference,
    layer: &Blob,
    to: &Path,
) -> Result<(Digest, u64), RegistryFault> {
    let mut answer = open.wire.stream(from, &layer.digest).await?;
    let mut file = tokio::fs::File::create(to).await?;
    let (mut hasher, mut size) = (Sha256::new(), 0_u64);
    let mut pace = Pace::new(Instant::now());
    loop {
        let part = tokio::time::timeout(SILENCE, answer.chunk()).await;
        let Some(part) = part.map_err(|_| silent(SILENCE))?? else {
            break;
        };
        size += part.len() as u64;
        if size > layer.size {
            break;
        }
        pace.came(part.len() as u64, Instant::now())?;
        hasher.update(&part);
        file.write_all(&part).await?;
    }

    file.flush().await?;
    Ok((Digest::from_sha256(hasher), size))
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
