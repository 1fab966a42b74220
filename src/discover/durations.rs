//! Times as other tools write them.

use crate::model::Period;

/// The longest time that is carried over, in milliseconds: a day.
const LONGEST: u64 = 86_400_000;

/// A time in Go's form (`1m30s`, `500ms`), or a number of seconds. None of what is neither, or no
/// time at all.
pub(super) fn period(text: &str) -> Option<Period> {
    let text = text.trim();
    let millis = match text.parse::<u64>() {
        Ok(seconds) => seconds.checked_mul(1000)?,
        Err(_) => go(text)?,
    };
    (1..=LONGEST)
        .contains(&millis)
        .then(|| Period::from_millis(millis))
}

/// A time in nanoseconds, as Docker's API has it.
pub(super) fn of_nanos(nanos: u64) -> Option<Period> {
    let millis = nanos / 1_000_000;
    (1..=LONGEST)
        .contains(&millis)
        .then(|| Period::from_millis(millis))
}

fn go(text: &str) -> Option<u64> {
    let mut total = 0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..]
            .find(|sign: char| sign.is_ascii_digit())
            .map_or(rest.len(), |at| end + at);
        let millis = match &rest[end..unit_end] {
            "ns" => 0.000_001,
            "us" | "µs" => 0.001,
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            _ => return None,
        };
        total += number * millis;
        rest = &rest[unit_end..];
    }
    // Checked against the longest by the caller: what is beyond is cut there.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let millis = total.clamp(0.0, 1e12) as u64;
    Some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_other_tools() {
        let of = |text: &str| period(text).map(|period| period.to_string());
        assert_eq!(of("1m30s").as_deref(), Some("1m 30s"));
        assert_eq!(of("1.5s").as_deref(), Some("1s 500ms"));
        assert_eq!(of("10").as_deref(), Some("10s"));
        for none in ["", "0s", "soon", "5 parsecs", "-1s", "99999999h", "1", "µ"] {
            assert_eq!(of(none).is_some(), none == "1", "{none}");
        }
    }
}
