//! Secrets that are on this machine already: files and variables.

use std::env::VarError;
use std::path::Path;

use crate::driver::secret::{Fault, LIMIT, text};
use crate::files;
use crate::model::secret::without_line_end;

/// A file's content, without the last line end.
pub(super) fn file(root: &Path, path: &Path) -> Result<String, Fault> {
    let path = root.join(path);
    let content = files::read(&path, LIMIT).map_err(|error| {
        Fault::new(
            format!("{}: {error}", path.display()),
            "write the file, which is short, or name another under `secrets:`",
        )
    })?;
    text(&path.display().to_string(), content)
}

/// A variable of this process, without the last line end.
pub(super) fn variable(name: &str) -> Result<String, Fault> {
    let value = std::env::var(name).map_err(|error| {
        let reason = match error {
            VarError::NotPresent => format!("the variable {name} is not set"),
            VarError::NotUnicode(_) => format!("the variable {name} is no text"),
        };
        Fault::new(reason, "set it for this command")
    })?;
    Ok(without_line_end(&value).to_owned())
}
