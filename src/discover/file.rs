//! Which tool a file is of.

use std::path::Path;

use serde_json::{Map, Value};

use crate::discover::document::{DiscoverError, read};
use crate::discover::proposal::Proposal;
use crate::discover::written::Words;
use crate::discover::{compose, copilot, erb, kamal};

/// The proposal of a file's text: one of Compose, Kamal or Copilot, told apart by its keys. The
/// project is called as the folder is that it lies in, unless the file says.
///
/// # Errors
/// It cannot be read, or is of no tool that is known.
pub fn of_file(path: &Path, folder: &str, text: &str) -> Result<Proposal, DiscoverError> {
    let from = path.display().to_string();
    let document = parse(&from, text, Words::Texts)?;
    if compose::is_it(&document) {
        compose::proposal(&document, folder, &from)
    } else if kamal::is_it(&document) {
        kamal::proposal(&parse(&from, text, Words::Flags)?, &from)
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

/// A document, which may have ERB in it.
fn parse(from: &str, text: &str, words: Words) -> Result<Map<String, Value>, DiscoverError> {
    match read(from, text, words) {
        Err(_) if erb::is_in(text) => {}
        read => return read,
    }
    let read = read(from, &erb::without_code(text), words);
    read.map_err(|error| DiscoverError {
        help: "it has ERB (`<% %>`), of which lines of their own are passed over and values are \
               not filled in: quote the values, and take out what is no YAML without them"
            .to_owned(),
        ..error
    })
}
