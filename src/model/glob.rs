//! Globs of names whose parts are parted by `/`: an environment of a project, a branch, a secret.

use globset::GlobBuilder;

/// Whether a name is one of those that a glob stands for: `*` ends at a `/`. One that is no glob
/// stands for none.
#[must_use]
pub fn stands_for(glob: &str, name: &str) -> bool {
    let built = GlobBuilder::new(glob).literal_separator(true).build();
    built.is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

/// Why a text is no glob; none where it is one.
#[must_use]
pub fn fault(glob: &str) -> Option<String> {
    let built = GlobBuilder::new(glob).literal_separator(true).build();
    built.err().map(|error| error.kind().to_string())
}
