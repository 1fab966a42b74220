//! Values in files that are encrypted with SOPS, by the program `sops` (`docs/decisions/0036`). A
//! file is decrypted once, however many secrets are in it.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::driver::secret::once::OnceMap;
use crate::driver::secret::program::Command;
use crate::driver::secret::{Fault, plain};
use crate::files::beneath::{Alone, in_repository};
use crate::model::Period;
use crate::model::secret::SopsSecret;

/// The largest file that is decrypted, in bytes.
const LIMIT: u64 = 1 << 20;

/// How long it may take: a key may be with a service on the network.
const WITHIN: Period = Period::from_secs(30);

/// The variables that it finds its keys by: those of its own, of `GnuPG`, of SSH and of the
/// services that keep keys.
const VARIABLES: [&str; 16] = [
    "SOPS_*",
    "AGE_*",
    "GNUPGHOME",
    "GPG_TTY",
    "SSH_AUTH_SOCK",
    "AWS_*",
    "GOOGLE_*",
    "GCE_METADATA_*",
    "CLOUDSDK_*",
    "AZURE_*",
    "IDENTITY_*",
    "MSI_*",
    "VAULT_*",
    "HUAWEICLOUD_*",
    "ALIBABA_CLOUD_*",
    "KUBERNETES_SERVICE_*",
];

/// The program's exit code when it has no key for a file.
const NO_KEY: i32 = 128;

/// The files that were decrypted.
#[derive(Debug, Default)]
pub(super) struct SopsFiles(OnceMap<PathBuf, Value>);

impl SopsFiles {
    /// One value of a file of the project.
    pub async fn read(&self, root: &Path, secret: &SopsSecret) -> Result<String, Fault> {
        let file = self.0.of(secret.file.clone());
        let document = file.get_or_make(decrypt(root, &secret.file));
        value(document.await?, secret)
    }
}

async fn decrypt(root: &Path, file: &Path) -> Result<Value, Fault> {
    // A link that leads out of the project would have it print what its owner alone may read.
    let wrong = |error: io::Error| {
        let help = "name a file of the project under `sops.file`";
        Fault::new(error.to_string(), help)
    };
    let (top, inside) = in_repository(root, file, Alone::Project).map_err(wrong)?;
    top.read(&inside, LIMIT)
        .map_err(|error| wrong(error.into()))?;

    let vector = ["sops", "decrypt", "--output-type", "json"].map(str::to_owned);
    let path = root.join(file).to_string_lossy().into_owned();
    let command = Command {
        vector: &[vector.as_slice(), &[path]].concat(),
        folder: root,
        within: WITHIN,
        install: "install sops (https://github.com/getsops/sops/releases), version 3.9 or later",
        variables: Some(&VARIABLES),
        limit: LIMIT,
        explain: |code| {
            let help = "give this command the key that the file was encrypted for: \
                        SOPS_AGE_KEY_FILE names the file with the age key, and a cloud's key wants \
                        a login there";
            (code == NO_KEY).then_some(help)
        },
    };
    let output = command.output().await?;
    // What cannot be read is not repeated: it may be all values.
    serde_json::from_slice(&output).map_err(|_| {
        let reason = format!("what `sops` printed of {} is no JSON", file.display());
        Fault::new(reason, "look at `sops decrypt --output-type json` of it")
    })
}

/// The value at a key, as a text.
fn value(document: &Value, secret: &SopsSecret) -> Result<String, Fault> {
    let (file, key) = (secret.file.display(), &secret.key);
    let wrong =
        |reason: String| Fault::new(reason, "look at `sops.key`: `database.hosts.0.password`");
    let found = follow(document, key);
    let found = found.ok_or_else(|| wrong(format!("{file} has no `{key}`")))?;
    plain(found).ok_or_else(|| {
        wrong(match found {
            Value::Object(_) => format!("`{key}` in {file} is a map, and no value"),
            Value::Array(_) => format!("`{key}` in {file} is a list, and no value"),
            _ => format!("`{key}` in {file} is null"),
        })
    })
}

/// Follows a key through maps and lists. A key of a map may have dots itself: the longest that is
/// there counts.
fn follow<'a>(at: &'a Value, key: &str) -> Option<&'a Value> {
    let below = |name: &str| match at {
        Value::Object(map) => map.get(name),
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    };
    if let Some(found) = below(key) {
        return Some(found);
    }
    let mut cuts = key.rmatch_indices('.');
    cuts.find_map(|(cut, _)| follow(below(&key[..cut])?, &key[cut + 1..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_leads_through_maps_and_lists_and_names_with_dots() {
        let document = json!({
            "database": {"hosts": [{"password": "one"}], "port": 5432, "tls": true},
            "tls.crt": "two", "a": {"b.c": {"d": "three"}, "b": {"c": {"e": "four"}}}, "none": null,
        });
        let read = |key: &str| {
            let secret = SopsSecret {
                file: "s.yaml".into(),
                key: key.to_owned(),
            };
            value(&document, &secret).map_err(|fault| fault.reason)
        };
        for (key, found) in [
            ("database.hosts.0.password", "one"),
            ("database.port", "5432"),
            ("database.tls", "true"),
            ("tls.crt", "two"),
            ("a.b.c.d", "three"),
            ("a.b.c.e", "four"),
        ] {
            assert_eq!(read(key).as_deref(), Ok(found), "{key}");
        }
        for (key, reason) in [
            ("database", "`database` in s.yaml is a map, and no value"),
            (
                "database.hosts",
                "`database.hosts` in s.yaml is a list, and no value",
            ),
            ("none", "`none` in s.yaml is null"),
            ("database.host", "s.yaml has no `database.host`"),
            ("database.hosts.x", "s.yaml has no `database.hosts.x`"),
        ] {
            assert_eq!(read(key).as_ref().err().map(String::as_str), Some(reason));
        }
    }
}
