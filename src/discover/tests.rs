//! Proposals of realistic and of hostile sources: each is a configuration that can be read, and no
//! secret's value is in it.

mod hostile;
mod lost;
mod sources;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::config;
use crate::discover::{DiscoverError, Proposal, files, of_file};

/// What no proposal may have in it.
const CANARY: &str = "canary-7f3a-hunter2";

/// The files of a proposal, one below the other, once they were read as a configuration.
fn read_back(proposal: &Proposal) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let environment = "production".parse().expect("a name");
    let mut all = String::new();
    for (path, text) in files(proposal, &environment) {
        let place = folder.path().join(&path);
        fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        fs::write(place, &text).expect("written");
        let _ = write!(all, "# {}\n{text}", path.display());
    }
    if let Err(error) = config::load(folder.path()) {
        panic!("{error:?}\n{all}");
    }
    assert!(!all.contains(CANARY), "{all}");
    all
}

fn of(text: &str) -> Result<Proposal, DiscoverError> {
    of_file(Path::new("compose.yaml"), "shop", text)
}

/// The files of what a text proposes.
fn proposed(text: &str) -> String {
    match of(text) {
        Ok(proposal) => read_back(&proposal),
        Err(error) => panic!("{error}: {}\n{text}", error.help),
    }
}
