//! Two hundred secrets in all the forms that programs write one in, and what finds them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;

pub const COUNT: usize = 200;

/// The commands that show what is there or would be, on any engine.
pub const READERS: &[&[&str]] = &[
    &["status", "--output", "json"],
    &["history", "--output", "json"],
    &["plan", "--output", "markdown", "--rebuild"],
    &["plan", "--output", "json", "--rebuild"],
    &["render"],
    &["diff"],
    &["doctor"],
    &["state", "show"],
];

/// Secrets, where they come from, and all of their forms.
pub struct Canaries {
    pub values: Vec<String>,
    /// Outside of the project: the secrets' own files, and what build and checks write.
    folder: TempDir,
    search: AhoCorasick,
    forms: Vec<String>,
}

/// The same values in each run: a linear congruential generator is random enough.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }

    fn word(&mut self, length: usize) -> String {
        const SIGNS: &str = "abcdefghijkmnopqrstuvwxyz0123456789ABCDEFG'\"\\/+=&<>%$`{}:; äß漢🔑";
        let signs: Vec<char> = SIGNS.chars().collect();
        (0..length)
            .map(|_| signs[self.below(signs.len())])
            .collect()
    }
}

fn value(number: usize) -> String {
    let mut dice = Dice(number as u64);
    let (first, second) = (dice.word(14), dice.word(20));
    // A number in each, so that no value is part of another.
    let parts = [format!("k{number}{first}x"), format!("y{second}{number}z")];
    // Every fifth has two lines.
    parts.join(if number.is_multiple_of(5) { "\n" } else { "-" })
}

fn percent(text: &str) -> String {
    percent_with(text, |byte| format!("%{byte:02X}"))
}

fn percent_with(text: &str, digits: fn(u8) -> String) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => char::from(byte).to_string(),
            byte => digits(byte),
        })
        .collect()
}

fn ascii(text: &str) -> String {
    text.encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04X}"),
        })
        .collect()
}

fn forms(value: &str) -> Vec<String> {
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let hex = value.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let html = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    vec![
        value.to_owned(),
        STANDARD.encode(value),
        STANDARD.encode(format!("u{value}")),
        STANDARD.encode(format!("u:{value}@host")),
        URL_SAFE_NO_PAD.encode(value),
        percent(value),
        percent_with(value, |byte| format!("%{byte:02x}")),
        percent(value).replace("%20", "+"),
        json.replace('/', "\\/"),
        json,
        ascii(value),
        value.replace('\'', r"'\''"),
        format!("{value:?}"),
        hex.to_uppercase(),
        hex,
        html.replace('"', "&quot;").replace('\'', "&#39;"),
        percent(&STANDARD.encode(value)),
    ]
}

impl Canaries {
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// Others than all tests have: for one whose processes may be found with them.
    pub fn others() -> Self {
        Self::of(
            (COUNT..2 * COUNT).map(value).collect(),
            &std::env::temp_dir(),
        )
    }

    /// With the secrets' files below this folder.
    pub fn within(folder: &Path) -> Self {
        Self::of((0..COUNT).map(value).collect(), folder)
    }

    fn of(values: Vec<String>, folder: &Path) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("c")
            .tempdir_in(folder)
            .expect("a folder");
        let all: Vec<Vec<String>> = values.iter().map(|value| forms(value)).collect();
        for (number, value) in values.iter().enumerate() {
            fs::write(folder.path().join(number.to_string()), value).expect("written");
        }
        let needles: BTreeSet<String> = all
            .iter()
            .flatten()
            .chain(&values)
            .flat_map(|form| form.lines().map(str::to_owned))
            .collect();
        let canaries = Self {
            values,
            folder,
            search: AhoCorasick::new(&needles).expect("a search"),
            forms: needles.into_iter().collect(),
        };
        canaries.write("forms", &all);
        canaries
    }

    /// What a program writes: each value in some forms, and all forms some of the time.
    fn write(&self, name: &str, all: &[Vec<String>]) {
        let written = all.iter().enumerate().map(|(number, forms)| {
            let some = forms.iter().cycle().skip(number * 2).take(2);
            some.fold(String::new(), |text, form| text + "it is " + form + "!\n")
        });
        fs::write(self.folder.path().join(name), written.collect::<String>()).expect("written");
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Half of them are in files, half in variables.
    pub fn configured(&self) -> String {
        let mut text = "secrets:\n".to_owned();
        for number in 0..COUNT {
            let _ = match number % 2 {
                0 => writeln!(
                    text,
                    "  s{number}: {{file: {}}}",
                    self.path(&number.to_string())
                ),
                _ => writeln!(text, "  s{number}: {{env: CANARY_{number}}}"),
            };
        }
        text
    }

    pub fn in_variables(&self) -> impl Iterator<Item = (String, &String)> {
        let odd = self.values.iter().enumerate().skip(1).step_by(2);
        odd.map(|(number, value)| (format!("CANARY_{number}"), value))
    }

    pub fn hit(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.search.find(bytes)?;
        Some(&self.forms[found.pattern().as_usize()])
    }

    #[track_caller]
    pub fn are_not_in(&self, what: &str, bytes: &[u8]) {
        let hit = self.hit(bytes);
        assert!(hit.is_none(), "{hit:?} is in {what}");
    }

    /// The files below a folder that have one.
    pub fn files_with_one(&self, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.files_with_one(&path, found),
                Ok(kind) if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap_or_default();
                    found.extend(self.hit(&bytes).map(|_| path));
                }
                _ => {}
            }
        }
    }
}
