//! Folders for a while, in the one that this machine has for them.

use std::env;
use std::io;

use tempfile::TempDir;

/// What to do where there is no folder for them.
pub const HELP: &str = "have TMPDIR name a folder that can be written; without TMPDIR it is /tmp";

/// A folder that is deleted when this is dropped.
///
/// # Errors
/// The folder for temporary files, named with the variable that names it, and why nothing can be
/// made in it.
pub fn folder() -> io::Result<TempDir> {
    tempfile::tempdir().map_err(|error| {
        let place = env::temp_dir();
        let by = env::var_os("TMPDIR").map_or("", |_| " (TMPDIR)");
        // What it is made from has the reason without the name that was tried.
        let source = error.get_ref().and_then(|inner| inner.source());
        let reason = source.map_or_else(|| error.to_string(), ToString::to_string);
        let what = format!(
            "the folder for temporary files, {}{by}: {reason}",
            place.display()
        );
        io::Error::new(error.kind(), what)
    })
}
