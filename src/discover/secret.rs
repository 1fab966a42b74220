//! Which variables look like secrets. When in doubt one does: a reference too many is taken out by
//! hand, and a value that was printed is not taken back.

/// Words in a variable's name that are said of secrets alone.
const WORDS: [&str; 21] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "PW",
    "PIN",
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

/// Programs whose `-p` is a password, by the beginning of their name.
const LOGS_IN_BY_P: [&str; 5] = ["mysql", "mariadb", "mongo", "sshpass", "psql"];

/// Whether a variable looks like a secret, by its name or by its value. The path of a file with a
/// secret in it is none.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    let is_path = name.to_uppercase().ends_with("_FILE") && value.starts_with('/');
    (is_said_of_secrets(name) && !is_path) || is_like_a_key(value)
}

/// Whether something in a command looks like a secret, or cannot be in a command at all.
pub(super) fn is_in_command(words: &[String]) -> bool {
    let looks_like_one = |word: &&str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let is_flag = name.starts_with('-') && is_said_of_secrets(name);
        is_flag || looks_secret(if value.is_empty() { "" } else { name }, value)
    };
    // What a shell is given is a command, too.
    let each: Vec<&str> = words
        .iter()
        .flat_map(|word| word.split_whitespace())
        .collect();
    words
        .iter()
        .any(|word| word.contains('\0') || is_like_a_key(word))
        || has_named(&words.join(" "))
        || each.iter().any(looks_like_one)
        || has_login_flag(&each)
}

/// Whether a program that logs in is told how, by flags of one letter.
fn has_login_flag(words: &[&str]) -> bool {
    let program = |word: &str| word.rsplit('/').next().unwrap_or_default().to_lowercase();
    let is_there = |name: &str| words.iter().any(|word| program(word).starts_with(name));
    let by_p = LOGS_IN_BY_P.iter().any(|name| is_there(name));
    let by_a = is_there("redis-cli");
    let is_attached = |word: &&str| by_p && word.starts_with("-p") && word.len() > 2;
    let follows = |pair: &[&str]| match pair[0] {
        "-p" => by_p,
        "-a" => by_a,
        "-u" | "--user" => pair[1].contains(':'),
        _ => false,
    };
    words.iter().any(is_attached) || words.windows(2).any(follows)
}

/// Whether a variable's name says that its value is a secret.
#[must_use]
pub fn is_said_of_secrets(name: &str) -> bool {
    let upper = name.to_uppercase();
    let joined = [
        "PASS",
        "PWD",
        "ACCESSKEY",
        "ACCOUNTKEY",
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
        || value.contains("hooks.slack.com/services/")
        || value.split(is_between).any(is_random)
        || has_named(value)
}

/// Whether a sign stands between the parts of an address, a list of settings or a document.
fn is_between(sign: char) -> bool {
    sign.is_whitespace() || ";&?,\"'{}()[]|<>@".contains(sign)
}

/// Whether a part of a value is said to be a secret: `Pwd=x`, `?token=x`, `"password": "x"`,
/// `Bearer x`, `${PW:-x}`.
fn has_named(value: &str) -> bool {
    let parts: Vec<&str> = value
        .split(is_between)
        .filter(|part| !part.is_empty())
        .collect();
    let is_scheme = |word: &str| ["bearer", "basic"].contains(&word.to_lowercase().as_str());
    let is_login = |pair: &[&str]| is_scheme(pair[0]);
    let is_pair = |part: &&str| {
        let (name, value) = part.split_once(['=', ':']).unwrap_or((part, ""));
        let value = value.trim_start_matches('-');
        let is_path = value.starts_with('/');
        !value.is_empty() && !is_path && is_said_of_secrets(name)
    };
    let is_spread = |pair: &[&str]| {
        let name = pair[0].strip_suffix(':');
        name.is_some_and(is_said_of_secrets)
    };
    parts.iter().any(is_pair)
        || parts
            .windows(2)
            .any(|pair| is_login(pair) || is_spread(pair))
        || is_document_with_secrets(value)
}

/// Whether a text is a document that has a secret by its name.
fn is_document_with_secrets(value: &str) -> bool {
    let Ok(serde_json::Value::Object(map)) = serde_json::from_str(value) else {
        return false;
    };
    map.keys().any(|name| is_said_of_secrets(name))
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
            "redis-server --requirepass x",
            "redis-cli -a x ping",
            "mysqladmin ping -px",
            "curl -u admin:x http://h",
            "curl -H Authorization: Bearer x",
            "npm run ${PW:-x}",
        ] {
            assert!(is_in_command(&words(line)), "{line}");
        }
        for line in [
            "bundle exec sidekiq -C config.yml",
            "serve --port=80 --log-level info",
            "serve -p 8080 -u www-data",
            "nginx -g daemon off;",
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
            ("CONNECTION2", "Server=db;Uid=x;Pwd=hunter2"),
            ("STORE", "AccountName=a;AccountKey=hunter2;EndpointSuffix=x"),
            ("HOOK", "https://hooks.slack.com/services/T0/B0/x"),
            ("CALLBACK", "https://x/hook?token=hunter2"),
            ("HEADER", "Basic dXNlcjp4"),
            ("CONFIG", "{\"password\": \"hunter2\"}"),
            ("DBPASS", "x"),
            ("ADMIN_PIN", "x"),
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
