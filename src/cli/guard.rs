//! `shipit guard`, which shipit starts for itself: a process that outlives a run which is killed, for
//! as long as it takes to end the programs of the run.

use crate::files::guard;
use crate::output::Exit;

/// The programs of this process end with it from now on.
pub(super) fn begin() {
    guard::begin(&["guard"]);
}

/// Learns of programs until the standard input ends.
pub(super) fn direct() -> u8 {
    match guard::serve() {
        Ok(()) => Exit::Done.code(),
        Err(_) => Exit::Failed.code(),
    }
}
