//! Whatever a program does to a value before it writes it, the value is not in what is shown.

mod placed;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::{Hidden, MASK, Redactor, SHORTEST, Search};
use crate::model::secret::SecretValue;

fn knowing(values: &[&str]) -> Redactor {
    let redactor = Redactor::default();
    for value in values {
        redactor.remember(&SecretValue::new((*value).to_owned()));
    }
    redactor
}

#[test]
fn when_the_values_cannot_be_looked_for_all_is_hidden() {
    let redactor = knowing(&["canary"]);
    redactor.0.lock().unwrap().search = Some(Arc::new(Search::Everything));
    assert_eq!(redactor.text("one\ntwo"), format!("{MASK}\n{MASK}"));
    assert_eq!(redactor.lines(vec!["one".to_owned()]), [MASK]);
    let hidden = redactor.find(b"one").unwrap().hidden;
    assert!(
        matches!(&hidden[..], [range] if *range == (0..3)),
        "{hidden:?}"
    );
}

type Encoder = (&'static str, fn(&str) -> String);

fn percent(text: &str, keep: fn(u8) -> bool, digits: fn(u8) -> String) -> String {
    text.bytes()
        .map(|byte| {
            if keep(byte) {
                char::from(byte).to_string()
            } else {
                digits(byte)
            }
        })
        .collect()
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn utf16(text: &str) -> String {
    text.encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect()
}

fn wide(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn html(text: &str) -> String {
    [
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&quot;"),
        ('\'', "&#39;"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (sign, name)| {
        text.replace(*sign, name)
    })
}

/// What programs do to a text before they write it.
const ENCODERS: [Encoder; 40] = [
    ("base64 of a PowerShell", |text| {
        STANDARD.encode(wide(text, u16::to_le_bytes))
    }),
    ("base64 of UTF-16, further", |text| {
        STANDARD.encode(wide(&format!("u{text}"), u16::to_be_bytes))
    }),
    ("ASCII of Python", |text| {
        let escaped = |sign: char| match u32::from(sign) {
            code @ 0x80..=0xff => format!("\\x{code:02x}"),
            _ => sign.to_string(),
        };
        json(text).chars().map(escaped).collect()
    }),
    ("raw", str::to_owned),
    ("trimmed", |text| text.trim().to_owned()),
    ("base64", |text| STANDARD.encode(text)),
    ("base64 one further", |text| {
        STANDARD.encode(format!("u{text}"))
    }),
    ("base64 two further", |text| {
        STANDARD.encode(format!("u:{text}@"))
    }),
    ("base64 without padding", |text| {
        STANDARD_NO_PAD.encode(text)
    }),
    ("base64 of URLs", |text| URL_SAFE.encode(text)),
    ("base64 of URLs, further", |text| {
        URL_SAFE_NO_PAD.encode(format!("u{text}\n"))
    }),
    ("base64 in a URL", |text| {
        percent(&STANDARD.encode(text), unreserved, |byte| {
            format!("%{byte:02X}")
        })
    }),
    ("base64 in JSON of PHP", |text| {
        STANDARD.encode(text).replace('/', "\\/")
    }),
    ("hex", |text| {
        percent(text, |_| false, |byte| format!("{byte:02x}"))
    }),
    ("HEX", |text| {
        percent(text, |_| false, |byte| format!("{byte:02X}"))
    }),
    ("hex with colons", |text| dump(text, ":")),
    ("hex with blanks", |text| dump(text, " ")),
    ("HEX with dashes", |text| dump(text, "-").to_uppercase()),
    ("an array of bytes", |text| {
        format!("{{0x{}}}", dump(text, ", 0x"))
    }),
    ("hex in pairs", |text| pairs(text.as_bytes())),
    ("hex in pairs, one further", |text| {
        pairs(format!(":{text}").as_bytes())
    }),
    ("double quotes of a shell", |text| {
        let escaped = |sign: char| match sign {
            '$' | '`' | '"' | '\\' => format!("\\{sign}"),
            sign => sign.to_string(),
        };
        format!("\"{}\"", text.chars().map(escaped).collect::<String>())
    }),
    ("URL", |text| {
        percent(text, unreserved, |byte| format!("%{byte:02X}"))
    }),
    ("url", |text| {
        percent(text, unreserved, |byte| format!("%{byte:02x}"))
    }),
    ("path of a URL", |text| {
        percent(
            text,
            |byte| unreserved(byte) || b"/+=&".contains(&byte),
            |byte| format!("%{byte:02X}"),
        )
    }),
    ("form", |text| {
        percent(text, unreserved, |byte| match byte {
            b' ' => "+".to_owned(),
            byte => format!("%{byte:02X}"),
        })
    }),
    ("every byte of a URL", |text| {
        percent(text, |_| false, |byte| format!("%{byte:02X}"))
    }),
    ("JSON", json),
    ("JSON in JSON", |text| json(&json(text))),
    ("JSON in JSON in JSON", |text| json(&json(&json(text)))),
    ("JSON in ASCII", utf16),
    ("JSON with slashes", |text| json(text).replace('/', "\\/")),
    ("JSON of Go", |text| {
        json(text)
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    }),
    ("JSON in a URL", |text| {
        percent(&json(text), unreserved, |byte| format!("%{byte:02X}"))
    }),
    ("Rust", |text| format!("{text:?}")),
    ("bytes of Python", |text| text.escape_default_bytes()),
    ("shell", |text| format!("'{}'", text.replace('\'', r"'\''"))),
    ("shell of Python", |text| {
        format!("'{}'", text.replace('\'', r#"'"'"'"#))
    }),
    ("YAML", |text| format!("'{}'", text.replace('\'', "''"))),
    ("HTML", html),
];

fn dump(text: &str, between: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(between)
}

/// As `xxd` writes them.
fn pairs(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let pairs: Vec<String> = digits.chunks(2).map(<[String]>::concat).collect();
    pairs.join(" ")
}

trait Bytes {
    fn escape_default_bytes(&self) -> String;
}

impl Bytes for str {
    fn escape_default_bytes(&self) -> String {
        self.as_bytes().escape_ascii().to_string()
    }
}

/// No six characters of it that follow each other are left, on any line, and something was put in
/// their place.
fn assert_hidden(shown: &str, written: impl AsRef<str>, how: &str) {
    assert_not_shown(shown, written, how);
    assert!(shown.contains(MASK), "{how}: {shown:?}");
}

/// No six characters of it that follow each other are left, on any line.
fn assert_not_shown(shown: &str, written: impl AsRef<str>, how: &str) {
    let written: Vec<char> = written
        .as_ref()
        .chars()
        .filter(|sign| !"\r\n".contains(*sign))
        .collect();
    for part in written.windows(written.len().clamp(1, 6)) {
        let part: String = part.iter().collect();
        if is_nothing(&part) {
            continue;
        }
        assert!(
            !shown.contains(&part),
            "{how}: `{part}` of a value is in {shown:?}"
        );
    }
}

/// Whether nobody learns a byte of a value from this: backslashes alone, which any escape begins
/// with, and the padding of base64, with the one character before it that has two or four bits of
/// the value.
fn is_nothing(part: &str) -> bool {
    let part = part.replace("%3D", "=");
    let part = ["%3", "%"]
        .iter()
        .find_map(|begun| part.strip_suffix(begun))
        .filter(|rest| rest.ends_with('='))
        .unwrap_or(&part);
    let before = part.trim_end_matches('=');
    let is_padded = before.len() < part.len();
    is_padded && before.chars().count() <= 1 || part.chars().all(|sign| "\\=".contains(sign))
}

const ODD: &str = "pä'ss\"w\\o/rd+=&<>$`{x} %41 \u{1f511}end";

#[test]
fn a_value_is_hidden_in_whatever_form_it_is_written() {
    let redactor = knowing(&[ODD]);
    for (how, encode) in ENCODERS {
        let written = encode(ODD);
        let shown = redactor.text(&format!("before {written} after"));
        assert_hidden(&shown, &written, how);
        assert!(shown.starts_with("before "), "{how}: {shown}");
        assert!(shown.ends_with(" after"), "{how}: {shown}");
    }
}

#[test]
fn each_line_of_a_value_is_hidden_and_so_is_the_whole() {
    let value = "-----BEGIN KEY-----\nMIIEow+IBAA/KCAQEA1\nq8sT\n-----END KEY-----\n";
    let redactor = knowing(&[value]);
    assert_eq!(redactor.text("x MIIEow+IBAA/KCAQEA1 y"), "x *** y");
    assert_eq!(redactor.text("x q8sT y"), "x *** y");
    assert_eq!(redactor.text(value.trim_end()), "***\n***\n***\n***");
    let indented = value.replace('\n', "\n  | ");
    assert_hidden(&redactor.text(&indented), "MIIEow+IBAA/KCAQEA1", "indented");
    for (how, encode) in ENCODERS {
        let written = encode(value.trim_end());
        assert_hidden(&redactor.text(&written), &written, how);
    }
}

#[test]
fn a_value_that_is_broken_by_line_ends_is_hidden() {
    let value = "a-long-value-for-base64-to-break-into-several-lines/of-76-characters+each";
    let redactor = knowing(&[value]);
    let base64 = STANDARD.encode(value);
    let (first, second) = base64.split_at(76);
    assert_eq!(redactor.text(&format!("{first}\n{second}\n")), "***\n***\n");
    let after = format!("{}\nand on", STANDARD_NO_PAD.encode(value));
    assert!(redactor.text(&after).ends_with("\nand on"));
    let shown = redactor.lines(vec![
        "x a-long-value-for".to_owned(),
        value[16..].to_owned(),
    ]);
    assert_eq!(shown, ["x ***", "***"]);
}

#[test]
fn of_base64_that_is_broken_before_its_padding_less_than_a_byte_is_shown() {
    let value = "a-value-of-22-letters:";
    let base64 = STANDARD.encode(value);
    let (before, last) = base64.split_at(base64.len() - 3);
    assert!(last.ends_with("=="), "{last}");
    let last = last.replace('=', "%3D");
    let redactor = knowing(&[value]);
    let shown = redactor.text(&format!("PW={before}\n{last} OK"));
    let rest = format!("{MASK}{} OK", &last[1..]);
    assert_eq!(shown, format!("PW=***\n{rest}"));

    let mut stream = redactor.stream();
    let mut shown = stream.push(format!("PW={before}"));
    shown.extend(stream.push(format!("{last} OK")));
    shown.extend(stream.finish());
    assert_eq!(shown, ["PW=***".to_owned(), rest]);
    assert!(is_nothing(&last) && !is_nothing(&format!("A{last}")));
}

#[test]
fn a_long_part_of_a_value_at_the_end_of_a_line_is_hidden() {
    let redactor = knowing(&["correct-horse-battery-staple"]);
    assert_eq!(redactor.text("password: correct-horse-b"), "password: ***");
    assert_eq!(redactor.text("ttery-staple\" is wrong"), "***\" is wrong");
    assert_eq!(redactor.text("we correct horses"), "we correct horses");
}

#[test]
fn a_value_that_is_too_short_to_be_hidden_is_told_apart() {
    let of = |text: &str| Hidden::of(&SecretValue::new(text.to_owned()));
    assert_eq!(of("abc\n"), Hidden::TooShort);
    assert_eq!(of("abcd"), Hidden::Yes);
    assert_eq!(knowing(&["abc"]).text("abc"), "abc");
    assert_eq!(knowing(&["abcd"]).text("xabcdx"), "x***x");
}

#[test]
fn a_long_value_of_one_character_is_looked_for_like_any_other() {
    let value = "x".repeat(64 << 10);
    let redactor = knowing(&[&value]);
    let shown = redactor.text(&format!("password={value} <- it"));
    assert_eq!(shown, "password=*** <- it");
}

#[test]
fn text_without_values_stays_as_it_is() {
    let text = "C:\\new\\table 100%25 &amp; a+b\nsecond line\r\n\n";
    assert_eq!(knowing(&[ODD]).text(text), text);
    assert_eq!(Redactor::default().text(text), text);
}

#[test]
fn a_document_stays_a_document() {
    let redactor = knowing(&["s3cr3t\"value"]);
    let document = serde_json::json!({
        "said": "it was s3cr3t\"value", "s3cr3t\"value": [1, true, null],
        "lines": ["x s3cr3", "t\"value y"], "nested": [{"b": "{\"p\":\"s3cr3t\\\"value\"}"}],
    });
    let wanted = serde_json::json!({
        "said": "it was ***", "***": [1, true, null],
        "lines": ["x ***", "*** y"], "nested": [{"b": "{\"p\":\"***\"}"}],
    });
    assert_eq!(redactor.json(document), wanted);
}

#[test]
fn a_line_that_may_begin_a_value_waits_for_the_next_one() {
    let redactor = knowing(&["correct-horse-battery"]);
    let mut stream = redactor.stream();
    let mut push = |line: &str| stream.push(line.to_owned());
    assert_eq!(push("starting"), ["starting"]);
    assert_eq!(push("it is corr"), Vec::<String>::new());
    assert_eq!(push("ectly done"), ["it is corr", "ectly done"]);
    assert_eq!(push("it is correct-"), Vec::<String>::new());
    assert_eq!(push("horse"), Vec::<String>::new());
    assert_eq!(push("-battery."), ["it is ***", "***", "***."]);
    assert_eq!(push("only a few: cor"), ["only a few: cor"]);
    assert_eq!(push("rect-horse-battery"), ["***"]);
    assert_eq!(push("last: corre"), Vec::<String>::new());
    assert_eq!(stream.finish(), ["last: corre"]);
}

#[test]
fn an_escape_that_is_not_whole_waits_like_what_it_stands_for() {
    let value = "aaa\u{1b}aaa0aaaa";
    let mut stream = knowing(&[value]).stream();
    let written = json(&json(value));
    assert!(written.starts_with(r"aaa\\u001b"), "{written}");
    let mut shown: Vec<String> = written
        .chars()
        .flat_map(|sign| stream.push(String::from(sign)))
        .collect();
    shown.extend(stream.finish());
    let shown = shown.concat();
    assert!(shown.starts_with("aaa***"), "{shown}");
    assert!(!shown.contains('u'), "{shown}");
}

#[test]
fn a_value_that_comes_sign_by_sign_is_hidden_in_any_form() {
    for value in [ODD, "ab''cdefghij", "hijklmn\u{1f511}o<>="] {
        for (how, encode) in ENCODERS {
            let mut stream = knowing(&[value]).stream();
            let signs: Vec<String> = encode(value).chars().map(String::from).collect();
            let mut shown: Vec<String> = signs
                .into_iter()
                .flat_map(|sign| stream.push(sign))
                .collect();
            shown.extend(stream.finish());
            let (few, rest) = past_the_first(value, encode);
            let shown = shown.concat();
            assert!(shown.contains(MASK), "{how}: {shown:?}");
            assert_not_shown(&shown.chars().skip(few).collect::<String>(), rest, how);
        }
    }
}

/// How much of what is written may be shown before anybody can know what it begins, and the rest.
fn past_the_first(value: &str, encode: fn(&str) -> String) -> (usize, String) {
    let mut ends = value.char_indices().map(|(at, sign)| at + sign.len_utf8());
    let few = ends.find(|end| *end >= SHORTEST - 1).unwrap_or(value.len());
    let shown = encode(&value[..few]).chars().count();
    (shown, encode(value).chars().skip(shown).collect())
}

fn value() -> impl Strategy<Value = String> {
    let sign = prop_oneof![
        4 => proptest::char::range('a', 'z'),
        3 => proptest::sample::select("'\"\\/+=&<>%$`{}[]: \
                                       ;#!*?-_.,~^|@".chars().collect::<Vec<_>>()),
        1 => proptest::sample::select(vec!['ä', 'ß', '漢', '🔑', '\u{202e}', '\u{7f}', '\u{1b}']),
        1 => proptest::char::range('0', '9'),
    ];
    let line = proptest::collection::vec(sign, 10..40)
        .prop_map(|signs| signs.into_iter().collect::<String>());
    proptest::collection::vec(line, 1..4)
        .prop_map(|lines| lines.join("\n").trim().to_owned())
        .prop_filter("its lines are long enough", |value| {
            value.lines().all(|line| line.trim().chars().count() >= 8)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_form_of_any_value_is_shown(value in value()) {
        let redactor = knowing(&[&value]);
        for (how, encode) in ENCODERS {
            let written = encode(&value);
            assert_hidden(&redactor.text(&format!("PW={written} OK")), &written, how);
        }
    }

    #[test]
    fn no_form_of_any_value_is_shown_however_its_lines_are_broken(
        value in value(),
        width in 1_usize..40,
        encoder in 0..ENCODERS.len(),
    ) {
        let (how, encode) = ENCODERS[encoder];
        let written = encode(&value);
        let signs: Vec<char> = format!("PW={written} OK").chars().collect();
        let lines: Vec<String> = signs
            .chunks(width)
            .map(|chunk| chunk.iter().filter(|sign| !"\r\n".contains(**sign)).collect())
            .collect();

        let mut stream = knowing(&[&value]).stream();
        let mut shown: Vec<String> = lines.iter().flat_map(|line| stream.push(line.clone())).collect();
        shown.extend(stream.finish());

        prop_assert_eq!(shown.len(), lines.len());
        let (few, rest) = past_the_first(&value, encode);
        let shown = shown.concat();
        prop_assert!(shown.contains(MASK), "{}: {:?}", how, shown);
        // A mask may be shorter than what it hides: what stands after it never moves backwards past
        // `few`.
        let shown = shown.chars().skip("PW=".len() + few).collect::<String>();
        assert_not_shown(&shown.replace(MASK, "***\u{0}"), &rest, how);
    }
}
