//! "Did you mean …?"

/// How alike two words are, from 0 to 1. One slip of the finger makes them alike however short they
/// are.
fn likeness(word: &str, candidate: &str) -> f64 {
    let slip = word.len() > 1 && strsim::osa_distance(word, candidate) == 1;
    if slip {
        1.0
    } else {
        strsim::jaro_winkler(word, candidate)
    }
}

/// What was probably meant.
pub(super) fn meant<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let likely = known
        .iter()
        .map(|candidate| (likeness(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    likely.map(|(_, candidate)| candidate)
}

/// What was probably meant, or all that there is.
pub(super) fn suggest(word: &str, known: &[&str], what: &str) -> String {
    match meant(word, known) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => format!("there are no {what} here"),
        None => format!("the {what} here are: {}", known.join(", ")),
    }
}
