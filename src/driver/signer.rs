//! Signatures by `ssh-keygen`: it knows the agent, security keys and passphrases, and no key ever
//! comes into this process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::files::environment;
use crate::model::sshsig::LONGEST;

/// How long a person may take to type a passphrase or touch a security key.
const PATIENCE: Duration = Duration::from_mins(5);

/// Signs a message with a key, which is a private one, or the public one of a key that the agent
/// has. What `ssh-keygen` says is seen by whoever looks on.
///
/// # Errors
/// Why there is no signature.
pub async fn sign(key: &Path, namespace: &str, message: &[u8]) -> Result<String, String> {
    let mut command = environment::program("ssh-keygen");
    command
        .args(["-Y", "sign", "-n", namespace, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "the program ssh-keygen is not on this machine".to_owned(),
        _ => format!("ssh-keygen cannot be started: {error}"),
    })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());

    let signing = async {
        if let Some(mut stdin) = stdin {
            // It may end without having read anything; then it says so itself.
            let _ = stdin.write_all(message).await;
        }
        let mut signature = Vec::new();
        if let Some(stdout) = stdout {
            let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
            let mut stdout = stdout.take(most + 1);
            stdout.read_to_end(&mut signature).await?;
        }
        Ok::<_, std::io::Error>((signature, child.wait().await?))
    };
    let (signature, status) = tokio::time::timeout(PATIENCE, signing)
        .await
        .map_err(|_| format!("ssh-keygen was not done within {} s", PATIENCE.as_secs()))?
        .map_err(|error| format!("ssh-keygen: {error}"))?;
    if !status.success() {
        return Err(format!(
            "ssh-keygen ended with {status}; what it said stands above"
        ));
    }
    String::from_utf8(signature).map_err(|_| "ssh-keygen wrote no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_is_not_there_signs_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let why = sign(&folder.path().join("none"), "n", b"m").await;
        let why = why.expect_err("no signature");
        assert!(
            why.starts_with("ssh-keygen ended with") || why.contains("not on"),
            "{why}"
        );
    }
}
