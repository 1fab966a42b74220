//! Which variables look like secrets. When in doubt one does: a reference too many is taken out by
//! hand, and a value that was printed is not taken back.

/// Words in a variable's name that are said of secrets alone.
const WORDS: [&str; 19] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "APIKEY",
    "KEY",
    "KEYS",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "AUTH",
    "DSN",
    "SALT",
    "PRIVATE",
    "COOKIE",
];

/// Beginnings of values that only secrets have.
const BEGINNINGS: [&str; 12] = [
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk_live_",
    "sk-",
    "AKIA",
    "eyJ",
    "AIza",
];

/// From how many characters a text without words in it counts as a key.
const LONG: usize = 24;

/// Whether a variable looks like a secret, by its name or by its value. The path of a file with a
/// secret in it is none.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    let is_path = name.to_uppercase().ends_with("_FILE") && value.starts_with('/');
    (is_said_of_secrets(name) && !is_path) || is_like_a_key(value)
}

/// Whether something in a command looks like a secret, or cannot be in a command at all.
pub(super) fn is_in_command(words: &[String]) -> bool {
    let looks_like_one = |word: &String| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let is_flag = name.starts_with('-') && is_said_of_secrets(name);
        is_flag
            || looks_secret(if value.is_empty() { "" } else { name }, value)
            || is_like_a_key(word)
    };
    words
        .iter()
        .any(|word| word.contains('\0') || looks_like_one(word))
}

fn is_said_of_secrets(name: &str) -> bool {
    let upper = name.to_uppercase();
    let joined = [
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "APIKEY",
        "CREDENTIAL",
    ];
    let mut words = upper.split(|sign: char| !sign.is_ascii_alphanumeric());
    words.any(|word| WORDS.contains(&word)) || joined.iter().any(|word| upper.contains(word))
}

fn is_like_a_key(value: &str) -> bool {
    has_login(value)
        || value.contains("-----BEGIN")
        || BEGINNINGS
            .iter()
            .any(|beginning| value.starts_with(beginning))
        || value.split_whitespace().any(is_random)
}

/// Whether an address in it has a password: `scheme://user:password@host`.
fn has_login(value: &str) -> bool {
    let addresses = value.split("://").skip(1);
    addresses.into_iter().any(|address| {
        let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
        authority.contains('@')
    }) || value.to_lowercase().contains("password=")
}

/// Whether a text is one of letters and digits in a mix that nobody writes by hand.
fn is_random(text: &str) -> bool {
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || "+/=_-".contains(sign);
    if text.len() < LONG || !text.chars().all(is_sign) {
        return false;
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let lower = text.chars().any(|sign| sign.is_ascii_lowercase());
    let upper = text.chars().any(|sign| sign.is_ascii_uppercase());
    let is_hex = text.chars().all(|sign| sign.is_ascii_hexdigit());
    is_hex || (digits > 1 && lower && upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_a_secret_in_it_is_found() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        for line in [
            "a --password x",
            "a --token=x",
            "sh -c p://u:x@h",
            "env API_KEY=x a",
            "a \0",
        ] {
            assert!(is_in_command(&words(line)), "{line}");
        }
        for line in [
            "bundle exec sidekiq -C config.yml",
            "serve --port=80 --log-level info",
        ] {
            assert!(!is_in_command(&words(line)), "{line}");
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_one_and_settings_are_not() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("POSTGRESQL_PASSWORD_FILE_CONTENT", "x"),
            ("rails_master_key", "x"),
            ("STRIPE_API_KEY", ""),
            ("MYTOKEN", "x"),
            ("DATABASE_URL", "postgres://app:hunter2@db:5432/app"),
            ("REDIS", "redis://:hunter2@cache"),
            ("PEM", "-----BEGIN PRIVATE KEY-----\nabc"),
            ("X", "ghp_abc"),
            ("SESSION", "9f86d081884c7d659a2feaa0c55ad015"),
            ("SOMETHING", "dGhpcyBpcyBhIHNlY3JldCAxMjM0"),
            ("CONNECTION", "Server=db;Password=hunter2"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/pg"),
            ("LOG_LEVEL", "info"),
            ("PORT", "8080"),
            ("KEYBOARD", "qwerty"),
            ("AUTHOR", "kim"),
            ("BASE_URL", "https://shop.example.com/a@b"),
            ("DATABASE_HOST", "db.internal.example.com"),
            ("FEATURES", "checkout,search,recommendations,new-header"),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }
}
