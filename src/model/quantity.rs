//! A quantity as Kubernetes writes it: `500m`, `64Mi`, `1.5`, `2e3`.
//!
//! The grammar is `resource.Quantity` of k8s.io/apimachinery: a number with an optional sign and
//! point, and one suffix, binary (`Ki` to `Ei`), decimal (`n`, `u`, `m`, none, `k` to `E`) or an
//! exponent (`e3`).

use std::str::FromStr;

/// A quantity, in billionths: the smallest that the API keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no quantity{hint}")]
pub struct QuantityError {
    text: String,
    hint: String,
}

/// Billionths in one.
const ONE: i128 = 1_000_000_000;

impl Quantity {
    /// What is more than this is no quantity that a cluster has (`2^63 - 1`).
    const MOST: i128 = i64::MAX as i128;

    /// The least memory that a program may be given: a mebibyte.
    pub const LEAST_MEMORY: Self = Self((1 << 20) * ONE);
    /// The least that the API keeps of a core.
    pub const LEAST_CORE: Self = Self(ONE / 1000);
    /// More cores than any machine has.
    pub const MOST_CORES: Self = Self(10_000 * ONE);

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether it is a part of one, as `64m` of memory is, which nobody means.
    #[must_use]
    pub const fn is_below_one(self) -> bool {
        self.0 < ONE
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text).map(Self).ok_or_else(|| QuantityError {
            text: text.to_owned(),
            hint: hint(text),
        })
    }
}

fn parse(text: &str) -> Option<i128> {
    let (is_negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let has_digits = !whole.is_empty() || !part.is_empty();
    if !has_digits || part.contains('.') || whole.len() > 19 {
        return None;
    }

    let (numerator, denominator) = factor(suffix)?;
    // What is smaller than a billionth is rounded up, as the API does.
    let digits = &part[..part.len().min(18)];
    let scale = 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let mantissa: i128 = format!("0{whole}{digits}").parse().ok()?;
    let value = mantissa
        .checked_mul(numerator)?
        .checked_add(denominator.checked_mul(scale)? - 1)?
        / denominator.checked_mul(scale)?;
    if value / ONE > Quantity::MOST {
        return None;
    }
    Some(if is_negative { -value } else { value })
}

/// What a suffix multiplies by, in billionths, as a fraction.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(power) = binary.iter().position(|binary| *binary == suffix) {
        return Some((ONE << (10 * (power + 1)), 1));
    }
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(power) = decimal.iter().position(|decimal| *decimal == suffix) {
        return Some((1000_i128.pow(u32::try_from(power).ok()?), 1));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    match exponent {
        0..=18 => Some((ONE * 10_i128.pow(exponent.unsigned_abs()), 1)),
        -18..0 => Some((ONE, 10_i128.pow(exponent.unsigned_abs()))),
        _ => None,
    }
}

/// What was most likely meant.
fn hint(text: &str) -> String {
    let close: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let close = close.strip_suffix('B').unwrap_or(&close).to_owned();
    let close = close.strip_suffix('b').unwrap_or(&close).to_owned();
    if close != text && parse(&close).is_some() {
        return format!(": write `{close}`");
    }
    ": a number and a suffix, as `500m`, `64Mi`, `1Gi`, `2`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<i128, String> {
        let quantity: Result<Quantity, _> = text.parse();
        quantity
            .map(|quantity| quantity.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn equal_quantities_are_equal_however_they_are_written() {
        for (one, other) in [
            ("1", "1000m"),
            ("1", "1.0"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1.", "1"),
            (".5", "500m"),
            ("+2", "2"),
            ("100u", "0.1m"),
            ("1e-3", "1m"),
            ("0.1n", "1n"),
        ] {
            assert!(of(one).is_ok(), "{one}: {:?}", of(one));
            assert_eq!(of(one), of(other), "{one} and {other}");
        }
        let order = ["-1", "0", "1m", "1", "1k", "1Ki", "1M", "1Mi", "1E", "1Ei"];
        let values: Vec<i128> = order.iter().map(|text| of(text).expect(text)).collect();
        assert!(values.is_sorted(), "{values:?}");
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_what_was_meant() {
        for text in [
            "",
            "abc",
            "1.2.3",
            ".",
            "-",
            "1 ",
            "Mi",
            "1mi",
            "1KB",
            "0x10",
            "1e",
            "1e99",
            "9Ei9",
            "10Ei",
            "99999999999999999999999999",
            "1\u{661}",
        ] {
            assert!(of(text).is_err(), "{text}: {:?}", of(text));
        }
        for (text, meant) in [("64MB", "`64M`"), ("64 Mi", "`64Mi`"), ("1GiB", "`1Gi`")] {
            let said = of(text).expect_err(text);
            assert!(said.contains(meant), "{said}");
        }
    }
}
