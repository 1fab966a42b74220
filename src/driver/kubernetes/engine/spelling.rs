//! What was probably meant by a word that the server does not know.

/// The nearest of these words: one slip away, or two in a longer word. A server has hundreds of
/// kinds, and many begin alike: likeness, as for keys of the configuration, would find too many.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let slips = |one: &str| strsim::osa_distance(&one.to_lowercase(), &word);
    let most = if word.len() > 6 { 2 } else { 1 };
    let near = known.map(|one| (slips(one), one));
    let near = near.filter(|(slips, _)| *slips <= most);
    near.min_by_key(|(slips, _)| *slips).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["replicas", "selector", "paused"];
        let near = |word: &str| nearest(word, known.into_iter());
        assert_eq!(near("replica"), Some("replicas"));
        assert_eq!(near("Replicas"), Some("replicas"));
        assert_eq!(near("slecetor"), Some("selector"));
        assert_eq!(near("pause"), Some("paused"));
        assert_eq!(near("strategy"), None);
        assert_eq!(near("pod"), None);
    }
}
