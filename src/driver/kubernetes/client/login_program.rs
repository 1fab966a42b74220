//! The program of a kubeconfig that gives a login (`exec`). It is started here and not by the
//! library, which starts it for each client several times, waits without a limit and keeps what it
//! gives to itself: one start serves all in this process that log in the same way, it has a limit of
//! time, and what it gives is hidden.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::driver::kubernetes::client::connect::{ClusterLogin, ClusterPlace, refused};
use crate::driver::redacted::remember;
use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};
use crate::files::{environment, interpreter};
use crate::port::engine::EngineError;
use crate::redact::Redactor;

/// What it may do where nobody can be asked anything.
const BOUNDS: Bounds = Bounds {
    within: Duration::from_secs(30),
    answer: Keep::Whole(MOST),
    beside: 4 << 10,
    // A daemon that keeps a login.
    left_behind: LeftBehind::GoesOn,
};

/// How many bytes it may give.
const MOST: usize = 1 << 20;

/// How long it may take where it asks somebody at a terminal.
const ASKING: Duration = Duration::from_mins(5);

/// A token is renewed this long before its end.
const EARLY: Duration = Duration::from_mins(1);

/// For this long after it was started it is not started again, whatever became of it: who comes a
/// moment later gets the same answer, and what was refused at once is refused again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long the rest of what a program has printed is waited for behind its end.
const LINGER: Duration = Duration::from_millis(500);

/// The variable that tells it what is wanted.
const WANTED: &str = "KUBERNETES_EXEC_INFO";

/// What to do about one that gives nothing.
const BY_HAND: &str = "run it by hand; `users[].user.exec` names it";

/// The programs of this process, by all that decides what they give.
static PROGRAMS: std::sync::Mutex<BTreeMap<String, Arc<Program>>> =
    std::sync::Mutex::new(BTreeMap::new());

/// A login that a program gives.
#[derive(Debug)]
pub(super) struct ProgramLogin {
    program: Arc<Program>,
    redactor: Redactor,
}

#[derive(Debug)]
struct Program {
    exec: ExecConfig,
    within: Duration,
    last: Mutex<Option<Last>>,
}

/// How it ended the last time, and when that was.
#[derive(Debug)]
struct Last {
    at: Instant,
    given: Result<Credential, String>,
}

/// What it gives, as Kubernetes has it (`client.authentication.k8s.io`).
#[derive(Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    expiration_timestamp: Option<Timestamp>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

#[derive(serde::Deserialize)]
struct Answer {
    status: Option<Credential>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credential")
    }
}

impl ProgramLogin {
    /// The login of whatever this program gives; nothing is started yet.
    pub fn new(exec: ExecConfig, redactor: Redactor) -> Self {
        Self::within(exec, BOUNDS.within, redactor)
    }

    fn within(exec: ExecConfig, within: Duration, redactor: Redactor) -> Self {
        let key = key(&exec, within);
        let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
        let program = programs.entry(key).or_insert_with(|| {
            Arc::new(Program {
                exec,
                within,
                last: Mutex::default(),
            })
        });
        Self {
            program: Arc::clone(program),
            redactor,
        }
    }

    /// What the program gives now.
    async fn credential(&self) -> Result<Credential, EngineError> {
        let given = self.program.credential().await;
        let credential = given.map_err(|reason| refused(reason, BY_HAND))?;
        let secrets = [&credential.token, &credential.client_key_data];
        for secret in secrets.into_iter().flatten() {
            remember(&self.redactor, secret);
        }
        Ok(credential)
    }

    /// Puts a certificate that it gives into a login; whether it gives a token, too.
    ///
    /// # Errors
    /// In words: it could not be started, took too long, failed or gave nothing.
    pub async fn fill(&self, login: &mut AuthInfo) -> Result<bool, EngineError> {
        let given = self.credential().await?;
        if let (Some(certificate), Some(key)) =
            (given.client_certificate_data, given.client_key_data)
        {
            let key = STANDARD.encode(key);
            remember(&self.redactor, &key);
            login.client_certificate_data = Some(STANDARD.encode(certificate));
            login.client_key_data = Some(key.into());
        } else if given.token.is_none() {
            let reason = "the kubeconfig's program for the login gives no token and no certificate";
            return Err(refused(reason, BY_HAND));
        }
        Ok(given.token.is_some())
    }
}

#[async_trait]
impl ClusterLogin for ProgramLogin {
    async fn place(&self) -> Result<Option<ClusterPlace>, EngineError> {
        // The kubeconfig says that.
        Ok(None)
    }

    async fn token(&self) -> Result<String, EngineError> {
        let token = self.credential().await?.token;
        token.ok_or_else(|| {
            let reason = "the kubeconfig's program for the login gave a token before, and none now";
            refused(reason, BY_HAND)
        })
    }

    async fn renew(&self) {
        let mut last = self.program.last.lock().await;
        if last.as_ref().is_some_and(|last| last.at.elapsed() > AGAIN) {
            *last = None;
        }
    }

    fn names(&self) -> String {
        "the kubeconfig's cluster".to_owned()
    }
}

impl Last {
    /// Whether it still counts.
    fn is_good(&self) -> bool {
        match &self.given {
            _ if self.at.elapsed() < AGAIN => true,
            Err(_) => false,
            Ok(given) => given.expiration_timestamp.is_none_or(|end| {
                end.duration_since(Timestamp::now())
                    > jiff::SignedDuration::try_from(EARLY).unwrap_or_default()
            }),
        }
    }
}

impl Program {
    /// What it gave the last time, or gives now. Who comes while it runs waits for that.
    async fn credential(&self) -> Result<Credential, String> {
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.is_good()) {
            return last.given.clone();
        }
        let given = self.run().await.and_then(|answer| read(&answer));
        let at = Instant::now();
        Ok(&*last.insert(Last { at, given })).and_then(|last| last.given.clone())
    }

    async fn run(&self) -> Result<Vec<u8>, String> {
        let name = self.exec.command.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Err("the kubeconfig names no program for the login".to_owned());
        }
        let is_asking = is_asking(&self.exec);
        let command = self.command(name, is_asking)?;
        let ended = if is_asking {
            asked(command).await
        } else {
            let bounds = Bounds {
                within: self.within,
                ..BOUNDS
            };
            let ended = captured(command, None, &bounds).await;
            ended.map(|ended| (ended.status, ended.answer, ended.beside))
        };

        let what = format!("the kubeconfig's program for the login, `{name}`");
        let (status, answer, beside) = ended.map_err(|error| match error {
            CaptureError::Start(error) => {
                let reason = interpreter::explained(name, Path::new("."), &error);
                format!("{what}, cannot be started: {reason}")
            }
            other => format!("{what}: {other}"),
        })?;
        if status.success() {
            return Ok(answer);
        }
        let code = status.code();
        let end = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        let beside = String::from_utf8_lossy(&beside);
        Err(match beside.trim() {
            "" => format!("{what}, ended with {end}"),
            said => format!("{what}, ended with {end}: {said}"),
        })
    }

    /// As every program that is started here, it sees no variable that secrets are read from.
    fn command(&self, name: &str, is_asking: bool) -> Result<Command, String> {
        let exec = &self.exec;
        let mut spec = serde_json::json!({"interactive": is_asking});
        if exec.provide_cluster_info {
            spec["cluster"] = serde_json::to_value(&exec.cluster).unwrap_or_default();
        }
        let wanted = serde_json::json!({
            "apiVersion": exec.api_version,
            "kind": "ExecCredential",
            "spec": spec,
        });

        let mut command = environment::program(name);
        command.args(exec.args.iter().flatten());
        for variable in exec.env.iter().flatten() {
            let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) else {
                return Err(
                    "a variable of the kubeconfig's program has no name or value".to_owned(),
                );
            };
            command.env(name, value);
        }
        command.env(WANTED, wanted.to_string());
        Ok(command)
    }
}

/// All that decides what a program gives: two that are alike in it are one.
fn key(exec: &ExecConfig, within: Duration) -> String {
    // A variable is a map, which has its keys in another order each time.
    let env = exec.env.iter().flatten();
    let env: Vec<BTreeMap<&String, &String>> = env.map(|one| one.iter().collect()).collect();
    let plain = ExecConfig {
        env: None,
        ..exec.clone()
    };
    let within = within.as_millis();
    serde_json::json!([plain, env, exec.cluster, is_asking(exec), within]).to_string()
}

/// Whether it may ask somebody, who is there.
fn is_asking(exec: &ExecConfig) -> bool {
    exec.interactive_mode != Some(ExecInteractiveMode::Never) && std::io::stdin().is_terminal()
}

/// Runs a program that asks at the terminal.
async fn asked(
    mut command: Command,
) -> Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>), CaptureError> {
    let mut child = command
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(CaptureError::Start)?;
    let stdout = child.stdout.take();
    let asking = async {
        let Some(stdout) = stdout else {
            return Ok((child.wait().await?, Vec::new()));
        };
        let mut answer = Vec::new();
        let mut stdout = stdout.take(MOST as u64 + 1);
        let mut ended = None;
        loop {
            // What it leaves running may keep the pipe open: its own end is what counts.
            let patience = if ended.is_some() { LINGER } else { ASKING };
            tokio::select! {
                status = child.wait(), if ended.is_none() => ended = Some(status?),
                read = stdout.read_buf(&mut answer) => {
                    if read? == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep(patience) => break,
            }
        }
        let status = match ended {
            Some(status) => status,
            None => child.wait().await?,
        };
        Ok((status, answer))
    };
    let ended = tokio::time::timeout(ASKING, asking).await;
    let ended = ended.map_err(|_| CaptureError::Late(ASKING))?;
    let (status, answer) = ended.map_err(CaptureError::Start)?;
    if answer.len() > MOST {
        return Err(CaptureError::TooMuch(MOST));
    }
    Ok((status, answer, Vec::new()))
}

/// What a program says it gives.
fn read(answer: &[u8]) -> Result<Credential, String> {
    // Some write YAML, which JSON is. What is wrong with it is not shown: it may be the secret.
    let read: Option<Answer> = serde_saphyr::from_slice(answer).ok();
    let Some(mut given) = read.and_then(|answer| answer.status) else {
        let reason =
            "the kubeconfig's program for the login gave no ExecCredential with a `status`";
        return Err(reason.to_owned());
    };
    if let Some(token) = &mut given.token {
        *token = token.trim_matches(['\r', '\n']).to_owned();
        if http::HeaderValue::from_str(token).is_err() {
            let reason = "the kubeconfig's program for the login gave a token that no header can \
                          have";
            return Err(reason.to_owned());
        }
    }
    given.token = given.token.filter(|token| !token.is_empty());
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_mins(1);

    /// A login by a script, which adds a line to `starts` in its folder first.
    fn login(folder: &Path, script: &str, within: Duration) -> ProgramLogin {
        let starts = folder.join("starts");
        let script = format!("echo x >>{}; {script}", starts.display());
        let exec = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", script],
            "env": [{"name": "OWN", "value": "own"}],
        });
        let exec = serde_json::from_value(exec).expect("one");
        ProgramLogin::within(exec, within, Redactor::default())
    }

    fn starts(folder: &Path) -> usize {
        let starts = std::fs::read_to_string(folder.join("starts"));
        starts.expect("it was started").lines().count()
    }

    #[tokio::test]
    async fn all_who_log_in_the_same_way_start_one_program() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = r#"echo "{\"status\": {\"token\": \"$OWN-$KUBERNETES_EXEC_INFO\"}}" | tr -d '{}"' |
            sed 's/^status: token: \(.*\)$/status: {token: "\1"}/'"#;
        let (one, other) = (
            login(folder.path(), script, SOON),
            login(folder.path(), script, SOON),
        );
        let (first, second) = tokio::join!(one.token(), other.token());
        let first = first.expect("a token");
        assert!(first.starts_with("own-apiVersion:client"), "{first}");
        assert!(first.contains("interactive:false"), "{first}");
        assert_eq!(first, second.expect("a token"));

        one.program
            .last
            .lock()
            .await
            .as_mut()
            .expect("it was started")
            .at = Instant::now();
        // Refused a moment after it was given: another one would be, too.
        one.renew().await;
        other.token().await.expect("a token");
        assert_eq!(starts(folder.path()), 1);
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_waited_for_once_and_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let script = format!("setsid sleep 600 & echo $! >{}; wait", pid.display());
        let within = Duration::from_secs(5);
        let (one, other) = (
            login(folder.path(), &script, within),
            login(folder.path(), &script, within),
        );
        let (first, second) = tokio::join!(one.token(), other.token());
        for late in [first, second] {
            let late = late.expect_err("no token").to_string();
            assert!(late.contains("not done within"), "{late}");
        }
        assert_eq!(starts(folder.path()), 1);

        let pid = std::fs::read_to_string(&pid).expect("it began");
        let pid = pid.trim().parse().expect("a number");
        let ended = async {
            while crate::files::process::started(pid).is_some() {
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_mins(1), ended).await;
        ended.expect("it ends with the program");
    }

    #[tokio::test]
    async fn a_token_is_renewed_before_its_end_and_a_certificate_is_filled_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "printf %s '{\"status\": {\"token\": \"t\\n\", \"expirationTimestamp\": \
                      \"2020-01-01T00:00:00Z\", \"clientCertificateData\": \"c\", \
                      \"clientKeyData\": \"k\"}}'";
        let login = login(folder.path(), script, SOON);
        let mut filled = AuthInfo::default();
        assert!(login.fill(&mut filled).await.expect("a login"));
        assert_eq!(filled.client_certificate_data.as_deref(), Some("Yw=="));
        assert_eq!(login.token().await.expect("a token"), "t");

        let mut last = login.program.last.lock().await;
        let last = last.as_mut().expect("it was started");
        assert!(last.is_good(), "just now");
        last.at = Instant::now().checked_sub(AGAIN).expect("a while ago");
        assert!(!last.is_good(), "its end has come");
    }

    #[test]
    fn what_is_no_credential_is_not_shown() {
        for answer in [
            "",
            "secret",
            "{\"status\": null}",
            "{\"status\": {\"token\": \"a\\u0007b\"}}",
        ] {
            let why = read(answer.as_bytes()).expect_err(answer);
            assert!(!why.contains("secret") && !why.contains('\u{7}'), "{why}");
        }
        let given = read(b"status:\n  token: t\n").expect("YAML");
        assert_eq!(given.token.as_deref(), Some("t"));
    }
}
