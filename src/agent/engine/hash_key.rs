//! What the agent's hashes of secrets are keyed with, in a file that its user alone can read.

use std::io;

use crate::agent::Directory;
use crate::files;
use crate::model::secret::HashKey;

/// How many bytes it has.
const LENGTH: usize = 32;

/// The key; made when there is none yet. An error when there is something else: with another key
/// every secret would seem to have another value.
pub(super) fn load(directory: &Directory) -> io::Result<HashKey> {
    let path = directory.hash_key();
    let Some(there) = files::read_if_there(&path, 2 * LENGTH as u64)? else {
        let made = HashKey::random();
        files::replace(&path, &made.0)?;
        return Ok(made);
    };
    if there.len() == LENGTH {
        return Ok(HashKey(there));
    }
    let reason = format!("{} has not {LENGTH} bytes; delete it", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}
