//! The shared files of AWS (`~/.aws/config`, `~/.aws/credentials`), in which a profile may name a
//! program that gives credentials. As every program that is started here, it sees no variable that
//! a secret is read from. The library starts it by a shell, with all of this process' environment:
//! so the shell is told what to take out of it first.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

use crate::files;

/// The largest of these files that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The key that names a program.
const KEY: &str = "credential_process";

/// The files of whoever runs this, without these variables for the programs in them; none when they
/// name no program, or nothing is withheld.
pub(super) fn without(withheld: &[String]) -> Option<EnvConfigFiles> {
    without_by(withheld, |name| std::env::var_os(name))
}

fn without_by(
    withheld: &[String],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<EnvConfigFiles> {
    if withheld.is_empty() {
        return None;
    }
    let home = variable("HOME").map(PathBuf::from);
    let read = |name: &str, default: &str| {
        let path = variable(name).map_or_else(|| default.into(), PathBuf::from);
        let path = from_home(&path, home.as_deref());
        let text = files::read_text(&path, LIMIT).ok()?;
        rewritten(&text, withheld)
    };
    let config = read("AWS_CONFIG_FILE", "~/.aws/config");
    let credentials = read("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
    if config.is_none() && credentials.is_none() {
        return None;
    }

    let builder = EnvConfigFiles::builder();
    let builder = match config {
        Some(text) => builder.with_contents(EnvConfigFileKind::Config, text),
        None => builder.include_default_config_file(true),
    };
    let builder = match credentials {
        Some(text) => builder.with_contents(EnvConfigFileKind::Credentials, text),
        None => builder.include_default_credentials_file(true),
    };
    Some(builder.build())
}

fn from_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    }
}

/// A file whose programs begin with leaving variables out; none when it names no program.
fn rewritten(text: &str, withheld: &[String]) -> Option<String> {
    let is_plain = |name: &&String| {
        let mut characters = name.chars();
        let starts = characters
            .next()
            .is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
        starts && characters.all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    // A shell passes on no variable with another name.
    let names: Vec<&str> = withheld
        .iter()
        .filter(is_plain)
        .map(String::as_str)
        .collect();
    let first = format!("unset {};", names.join(" "));

    let mut is_named = false;
    let lines = text.lines().map(|line| match program(line) {
        Some((key, program)) => {
            is_named = true;
            format!("{key}={first}{program}\n")
        }
        None => format!("{line}\n"),
    });
    let lines: String = lines.collect();
    (is_named && !names.is_empty()).then_some(lines)
}

/// The key and the command of a line that names a program.
fn program(line: &str) -> Option<(&str, &str)> {
    let (key, command) = line.split_once('=')?;
    let is_it = key.trim_end().eq_ignore_ascii_case(KEY);
    (is_it && !command.trim().is_empty()).then(|| (key, command.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use aws_config::BehaviorVersion;
    use aws_credential_types::provider::ProvideCredentials as _;

    #[test]
    fn the_line_of_a_program_begins_with_what_it_does_not_see() {
        let withheld = ["DB_PASSWORD".to_owned(), "odd name".to_owned()];
        let text = "[default]\nregion = a\nCredential_Process = aws-vault exec # x\n[profile b]\n  \
                    credential_process = y\n";
        let made = rewritten(text, &withheld).expect("it names a program");
        assert_eq!(
            made,
            "[default]\nregion = a\nCredential_Process =unset DB_PASSWORD;aws-vault exec # \
             x\n[profile b]\n  credential_process = y\n"
        );
        assert_eq!(rewritten("[default]\nregion = a\n", &withheld), None);
    }

    /// Cargo sets both variables for a test.
    #[tokio::test]
    async fn a_program_that_a_profile_names_does_not_see_the_variables_of_secrets() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config");
        let seen = r#"{"Version": 1, "AccessKeyId": "'"${CARGO_PKG_NAME-none}"'", "SecretAccessKey": "'"${CARGO_PKG_REPOSITORY-none}"'"}"#;
        let text = format!("[default]\nregion = a\ncredential_process = printf '%s' '{seen}'\n");
        fs::write(&file, text).expect("written");
        let variable = |name: &str| match name {
            "AWS_CONFIG_FILE" => Some(file.clone().into_os_string()),
            "AWS_SHARED_CREDENTIALS_FILE" => Some("/nowhere".into()),
            _ => None,
        };
        assert!(std::env::var("CARGO_PKG_REPOSITORY").is_ok());

        let files = without_by(&["CARGO_PKG_REPOSITORY".to_owned()], variable);
        let loader = aws_config::defaults(BehaviorVersion::latest());
        let config = loader.profile_files(files.expect("a program")).load().await;
        let provider = config.credentials_provider().expect("a provider");
        let keys = provider.provide_credentials().await.expect("keys");
        assert_eq!(keys.access_key_id(), "shipit");
        assert_eq!(keys.secret_access_key(), "none");
    }
}
