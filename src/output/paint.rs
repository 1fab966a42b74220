//! The few colours, by what they mean.

use anstyle::{AnsiColor, Style};

/// Something that appears.
pub(super) const NEW: Style = AnsiColor::Green.on_default();
/// Something that goes.
pub(super) const GONE: Style = AnsiColor::Red.on_default();
/// Something that differs.
pub(super) const CHANGED: Style = AnsiColor::Yellow.on_default();
/// Something that moves.
pub(super) const MOVED: Style = AnsiColor::Cyan.on_default().bold();
/// What only gives context.
pub(super) const DIM: Style = Style::new().dimmed();
/// A heading.
pub(super) const BOLD: Style = Style::new().bold();
