//! Which of two tags is of a newer version.

use semver::Version;

/// Whether a tag is of a newer version than another one: by semver where both are one, else by
/// their numbers and words, so that `v10` is newer than `v9`.
pub(super) fn is_newer(one: &str, other: &str) -> bool {
    match (version(one), version(other)) {
        (Some(one), Some(other)) => one > other,
        _ => parts(one) > parts(other),
    }
}

fn version(name: &str) -> Option<Version> {
    let tag = name.trim_start_matches("refs/tags/");
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

/// A name as words and numbers, in turns.
fn parts(name: &str) -> Vec<(String, u64)> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut rest = name;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(is_digit).unwrap_or(rest.len()));
        let end = after.find(|c| !is_digit(c)).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        // One too long for a number is newer than all that are none.
        let number = if number.is_empty() {
            0
        } else {
            number.parse().unwrap_or(u64::MAX)
        };
        parts.push((word.to_owned(), number));
        rest = after;
    }
    parts
}
