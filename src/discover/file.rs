//! Which tool a file is of.

use std::path::Path;

use crate::discover::document::{DiscoverError, read};
use crate::discover::proposal::Proposal;
use crate::discover::{compose, copilot, kamal};

/// The proposal of a file's text: one of Compose, Kamal or Copilot, told apart by its keys. The
/// project is called as the folder is that it lies in, unless the file says.
///
/// # Errors
/// It cannot be read, or is of no tool that is known.
pub fn of_file(path: &Path, folder: &str, text: &str) -> Result<Proposal, DiscoverError> {
    let from = path.display().to_string();
    let document = read(&from, text)?;
    if compose::is_it(&document) {
        compose::proposal(&document, folder, &from)
    } else if kamal::is_it(&document) {
        kamal::proposal(&document, &from)
    } else if copilot::is_it(&document) {
        copilot::proposal(&document, folder, &from)
    } else {
        Err(DiscoverError::new(
            &from,
            "no tool that is known writes such a file",
            "a Compose file has `services`, a Kamal `deploy.yml` has `service` and `servers`, and \
             a Copilot `manifest.yml` has `name` and `type`",
        ))
    }
}
