//! `shipit templates`, which shipit starts for itself: a process that renders templates, and may
//! end of them.

use crate::ops::templates;
use crate::output::Exit;

/// From now on templates are rendered by this command.
pub(super) fn isolate() {
    templates::isolate(&["templates"]);
}

/// Renders until the standard input ends.
pub(super) fn direct() -> u8 {
    match templates::serve() {
        Ok(()) => Exit::Done.code(),
        Err(_) => Exit::Failed.code(),
    }
}
