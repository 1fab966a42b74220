//! `$NAME` and `${NAME}` in a value, with what Docker Compose has for one that is not set.

use crate::desired::env_file::{LONGEST, Variables, Wrong, shown, wrong};

/// How deep a default may have another one in it.
const DEEPEST: usize = 16;

const UNKNOWN: &str = "write `$$` for a dollar sign, put the value into single quotes, or give a \
                       default as `${NAME:-default}`; variables of the machine are not read";

/// A value with the variables in it that were set before.
pub(super) fn interpolate(
    value: &str,
    before: &Variables,
    found: &Variables,
) -> Result<String, Wrong> {
    Text::new(value, before, found, Escapes::None).whole()
}

/// The same of a value in double quotes, in which `\n`, `\r`, `\t`, `\\`, `\"` and `\$` are one
/// sign.
pub(super) fn with_escapes(
    value: &str,
    before: &Variables,
    found: &Variables,
) -> Result<String, Wrong> {
    Text::new(value, before, found, Escapes::Known).whole()
}

/// What `\` means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Known,
}

struct Text<'a> {
    rest: &'a str,
    before: &'a Variables,
    found: &'a Variables,
    escapes: Escapes,
}

impl<'a> Text<'a> {
    const fn new(
        rest: &'a str,
        before: &'a Variables,
        found: &'a Variables,
        escapes: Escapes,
    ) -> Self {
        Self {
            rest,
            before,
            found,
            escapes,
        }
    }

    fn whole(mut self) -> Result<String, Wrong> {
        self.up_to(None, 0)
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    /// Up to the brace that closes it, or to the end.
    fn up_to(&mut self, end: Option<char>, depth: usize) -> Result<String, Wrong> {
        let mut value = String::new();
        loop {
            match self.next() {
                letter if letter == end => return Ok(value),
                None => {
                    return wrong(
                        "a `${` has no `}`",
                        "close it, or write `$$` for a dollar sign",
                    );
                }
                Some('\\') if self.escapes == Escapes::Known => self.escape(&mut value),
                Some('$') => value.push_str(&self.variable(depth)?),
                Some(letter) => value.push(letter),
            }
            if value.len() > LONGEST {
                let help = "no program is started with it: make it a file of the service";
                return wrong("a value has more than 128 KiB", help);
            }
        }
    }

    /// What comes after a `\`; one that means nothing stays.
    fn escape(&mut self, value: &mut String) {
        let meant = match self.rest.chars().next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(same @ ('\\' | '"' | '$')) => same,
            _ => return value.push('\\'),
        };
        self.next();
        value.push(meant);
    }

    /// What comes after a `$`; one that no name follows stays.
    fn variable(&mut self, depth: usize) -> Result<String, Wrong> {
        match self.rest.chars().next() {
            Some('$') => {
                self.next();
                Ok("$".to_owned())
            }
            Some('{') => {
                self.next();
                self.braced(depth)
            }
            Some(letter) if begins_name(letter) => {
                let name = self.name();
                self.set(name).map_or_else(|| unknown(name), Ok)
            }
            _ => Ok("$".to_owned()),
        }
    }

    fn name(&mut self) -> &'a str {
        let end = self.rest.find(|letter| !is_of_name(letter));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name
    }

    fn set(&self, name: &str) -> Option<String> {
        let value = self.found.get(name).or_else(|| self.before.get(name));
        value.cloned()
    }

    /// `${NAME}`, `${NAME:-default}`, `${NAME:?reason}`, `${NAME:+other}`; without the colon a
    /// value that is empty counts as one.
    fn braced(&mut self, depth: usize) -> Result<String, Wrong> {
        if depth == DEEPEST {
            let reason = format!("`${{` within `${{`, more than {DEEPEST} times");
            return wrong(reason, "set a variable for what is inside");
        }
        let name = self.name();
        if name.is_empty() {
            return wrong("a `${` without a name", "write `$$` for a dollar sign");
        }

        let colon = self.rest.strip_prefix(':');
        let set = self.set(name);
        let has = match colon {
            Some(rest) => {
                self.rest = rest;
                set.clone().filter(|value| !value.is_empty())
            }
            None => set.clone(),
        };
        let operator = self.next();
        if operator == Some('}') && colon.is_none() {
            return set.map_or_else(|| unknown(name), Ok);
        }
        let word = self.up_to(Some('}'), depth + 1);
        match operator {
            Some('-') => word.map(|word| has.unwrap_or(word)),
            Some('+') => word.map(|word| has.map_or_else(String::new, |_| word)),
            Some('?') => match (has, word) {
                (Some(value), Ok(_)) => Ok(value),
                (None, Ok(_)) => wrong(format!("`${{{name}}}` has to be set, and is not"), UNKNOWN),
                (_, Err(error)) => Err(error),
            },
            _ => wrong(
                format!("`${{{name}` and something that is not understood"),
                "write `${NAME}`, `${NAME:-default}`, `${NAME:?reason}` or `${NAME:+other}`",
            ),
        }
    }
}

fn unknown<T>(name: &str) -> Result<T, Wrong> {
    let reason = format!("{} is set nowhere before", shown(&format!("${name}")));
    wrong(reason, UNKNOWN)
}

const fn begins_name(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_'
}

const fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}
