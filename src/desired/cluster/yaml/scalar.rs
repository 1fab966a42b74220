//! What a scalar means to kubectl.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use granit_parser::Tag;
use serde_json::{Number, Value};

/// What a tag says about a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tagged {
    No,
    Text,
    Binary,
    Null,
    Bool,
    Int,
    Float,
}

impl From<Option<&Tag>> for Tagged {
    fn from(tag: Option<&Tag>) -> Self {
        let Some(tag) = tag else { return Self::No };
        match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
            Some("null") => Self::Null,
            Some("bool") => Self::Bool,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("binary") => Self::Binary,
            // What kubectl does not know stays as it is written.
            _ => Self::Text,
        }
    }
}

/// A scalar that is understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Resolved {
    Null,
    Bool(bool),
    Int(i64),
    /// One that is too large for the others.
    Large(u64),
    Float(f64),
    Text(String),
}

impl Resolved {
    pub fn value(self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(is_so) => is_so.into(),
            Self::Int(number) => number.into(),
            Self::Large(number) => number.into(),
            Self::Float(number) => float(number)?,
            Self::Text(text) => text.into(),
        })
    }
}

/// A number as JSON writes it: one without a fraction is whole.
fn float(number: f64) -> Result<Value, String> {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    // within what an f64 tells apart
    if number.fract() == 0.0 && number.abs() < i64::MAX as f64 {
        return Ok((number as i64).into());
    }
    let number = Number::from_f64(number).map(Value::Number);
    number.ok_or_else(|| "a number that is infinite or none cannot be sent".to_owned())
}

/// A scalar as the key of a map: a text, as it is written. A `ConfigMap` with `on` or `y` means
/// that word, and never `true`. None for what can be none.
pub(super) fn key(written: &str, resolved: &Resolved) -> Option<String> {
    match resolved {
        Resolved::Null => None,
        Resolved::Text(text) => Some(text.clone()),
        Resolved::Bool(_) | Resolved::Int(_) | Resolved::Large(_) | Resolved::Float(_) => {
            Some(written.to_owned())
        }
    }
}

/// Understands a scalar.
pub(super) fn resolve(text: &str, is_plain: bool, tag: Tagged) -> Result<Resolved, String> {
    let wrong = |what: &str| format!("`{text}` is not {what}");
    match tag {
        Tagged::No if is_plain => Ok(plain(text)),
        Tagged::No | Tagged::Text => Ok(Resolved::Text(text.to_owned())),
        Tagged::Binary => {
            let bytes = BASE64_STANDARD.decode(text).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            text.map(Resolved::Text)
                .ok_or_else(|| wrong("base64 of a text"))
        }
        Tagged::Null => match plain(text) {
            Resolved::Null => Ok(Resolved::Null),
            _ => Err(wrong("null")),
        },
        Tagged::Bool => match plain(text) {
            found @ Resolved::Bool(_) => Ok(found),
            _ => Err(wrong("true or false")),
        },
        Tagged::Int => match plain(text) {
            found @ (Resolved::Int(_) | Resolved::Large(_)) => Ok(found),
            _ => Err(wrong("a whole number")),
        },
        Tagged::Float => match plain(text) {
            #[allow(clippy::cast_precision_loss)] // as kubectl does
            Resolved::Int(number) => Ok(Resolved::Float(number as f64)),
            found @ Resolved::Float(_) => Ok(found),
            _ => Err(wrong("a number")),
        },
    }
}

fn plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Resolved::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Resolved::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Resolved::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }

    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let digits = if text.starts_with('.') {
        text.to_owned()
    } else {
        text.replace('_', "")
    };
    let number = || whole(&digits).or_else(|| fraction(&digits));
    let number = is_number.then(number).flatten();
    number.unwrap_or_else(|| Resolved::Text(text.to_owned()))
}

/// A whole number in the base that its beginning says.
fn whole(text: &str) -> Option<Resolved> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let based = [("0x", 16), ("0o", 8), ("0b", 2)];
    let based = based
        .into_iter()
        .find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?.to_owned(), base)));
    let (digits, base) = match based {
        Some(based) => based,
        None if lower.len() > 1 && lower.starts_with('0') => (lower[1..].to_owned(), 8),
        None => (lower, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }

    let number = u64::from_str_radix(&digits, base).ok()?;
    let signed = if text.starts_with('-') {
        0_i64.checked_sub_unsigned(number)
    } else {
        i64::try_from(number).ok()
    };
    match signed {
        Some(number) => Some(Resolved::Int(number)),
        None => (unsigned == text).then_some(Resolved::Large(number)),
    }
}

/// A number with a point or an exponent, or too long to be whole.
fn fraction(text: &str) -> Option<Resolved> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E');
    if !text.chars().all(is_part) || !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // What lies beyond all numbers is a text to kubectl.
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(Resolved::Float(number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        let resolved = resolve(text, true, Tagged::No).expect(text);
        resolved.value().expect(text)
    }

    #[test]
    fn plain_scalars_are_what_kubectl_takes_them_for() {
        for (text, wanted) in [
            ("0400", json!(256)),
            ("-0400", json!(-256)),
            ("0o17", json!(15)),
            ("0b101", json!(5)),
            ("-0b1", json!(-1)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("+12", json!(12)),
            ("08", json!(8)),
            ("089", json!(89)),
            ("0", json!(0)),
            ("00", json!(0)),
            ("1e3", json!(1000)),
            ("1.50", json!(1.5)),
            ("1.0", json!(1)),
            (".5", json!(0.5)),
            ("-.5", json!(-0.5)),
            ("9007199254740993", json!(9_007_199_254_740_993_i64)),
            ("9223372036854775807", json!(i64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            (
                "36893488147419103232",
                json!(36_893_488_147_419_103_232_f64),
            ),
            ("yes", json!(true)),
            ("On", json!(true)),
            ("y", json!(true)),
            ("off", json!(false)),
            ("NO", json!(false)),
            ("~", json!(null)),
            ("", json!(null)),
            ("yEs", json!("yEs")),
            ("1:30", json!("1:30")),
            ("190:20:30", json!("190:20:30")),
            ("2001-12-14", json!("2001-12-14")),
            (
                "2001-12-14t21:59:43.10-05:00",
                json!("2001-12-14t21:59:43.10-05:00"),
            ),
            ("1.2.3", json!("1.2.3")),
            ("0x", json!("0x")),
            ("0b2", json!("0b2")),
            ("1e", json!("1e")),
            ("+", json!("+")),
            (".", json!(".")),
            ("100m", json!("100m")),
            ("1e400", json!("1e400")),
            ("_1", json!("_1")),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
        for text in [".inf", "-.INF", ".NaN"] {
            let resolved = resolve(text, true, Tagged::No).expect(text);
            assert!(resolved.value().is_err(), "{text}");
        }
    }

    #[test]
    fn quotes_and_tags_say_what_a_scalar_is() {
        let text = |text: &str| Ok(Resolved::Text(text.to_owned()));
        assert_eq!(resolve("0400", false, Tagged::No), text("0400"));
        assert_eq!(resolve("yes", true, Tagged::Text), text("yes"));
        assert_eq!(resolve("5", false, Tagged::Int), Ok(Resolved::Int(5)));
        assert_eq!(resolve("5", true, Tagged::Float), Ok(Resolved::Float(5.0)));
        assert_eq!(resolve("aGk=", true, Tagged::Binary), text("hi"));
        assert!(resolve("x", true, Tagged::Int).is_err());
        assert!(resolve("?", true, Tagged::Binary).is_err());
    }

    #[test]
    fn a_key_is_what_is_written() {
        for text in [
            "y",
            "on",
            "NO",
            "True",
            "0x10",
            "0400",
            "1.50",
            "1_000",
            "18446744073709551615",
        ] {
            let resolved = resolve(text, true, Tagged::No).expect(text);
            assert_eq!(key(text, &resolved).as_deref(), Some(text));
        }
        let binary = resolve("aGk=", true, Tagged::Binary).expect("base64");
        assert_eq!(key("aGk=", &binary).as_deref(), Some("hi"));
        assert_eq!(key("~", &Resolved::Null), None);
    }
}
