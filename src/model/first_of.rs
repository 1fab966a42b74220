//! The first few of many names, for a line that stays short.

/// The first names, and how many there are besides: `a, b and 3 more`.
#[must_use]
pub fn first_of(names: &[String], most: usize) -> String {
    let first = names.get(..most).unwrap_or(names).join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(first_of(&names, 2), "a, b and 1 more");
        assert_eq!(first_of(&names, 3), "a, b, c");
        assert_eq!(first_of(&names[..1], 3), "a");
        assert_eq!(first_of(&[], 3), "");
    }
}
