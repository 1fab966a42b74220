//! Hooks: programs in the project's folder, and servers that take a webhook.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::driver::notify::webhook::posted;
use crate::files::program::{Bounds, CaptureError, Keep, LeftBehind, captured};
use crate::files::{environment, interpreter};
use crate::model::hook::{Hook, HookCall, HookFacts, HookSecret};
use crate::model::secret::SecretValue;
use crate::port::Progress;
use crate::port::hooks::{HookCaller, HookFailure};

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 20;
/// The longest line that is shown, in characters.
const LINE: usize = 500;
/// How many bytes of an output are kept.
const MOST: usize = 1 << 20;

/// Calls the hooks of the project in a folder.
pub struct Hooks {
    root: PathBuf,
}

impl Hooks {
    /// For the project in this folder.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

/// The values of secrets, by the names that the project has for them.
type Values = BTreeMap<String, SecretValue>;

#[async_trait]
impl HookCaller for Hooks {
    async fn call(
        &self,
        hook: &Hook,
        facts: &HookFacts,
        secrets: &Values,
        progress: Progress<'_>,
    ) -> Result<(), HookFailure> {
        match &hook.call {
            HookCall::Run { .. } => self.run(hook, facts, secrets, progress).await,
            HookCall::Http { url, key } => {
                let key = value(secrets, key)?;
                let id = format!(
                    "{}-{}-{}",
                    facts.run,
                    facts.point.replace(' ', "-"),
                    hook.name
                );
                let document = serde_json::json!({"type": "shipit.hook", "data": facts});
                let asking = posted(url, key, &id, document.to_string());
                let asked = tokio::time::timeout(hook.timeout.get(), asking).await;
                match asked {
                    Ok(answered) => answered.map_err(|error| failure(error.reason)),
                    Err(_) => Err(failure(format!("not done within {}", hook.timeout))),
                }
            }
        }
    }
}

impl Hooks {
    async fn run(
        &self,
        hook: &Hook,
        facts: &HookFacts,
        values: &Values,
        progress: Progress<'_>,
    ) -> Result<(), HookFailure> {
        let HookCall::Run {
            command: words,
            env,
            secrets,
            pass,
        } = &hook.call
        else {
            return Ok(());
        };
        let Some((program, arguments)) = words.split_first() else {
            return Err(failure("there is no command".to_owned()));
        };

        let pass: Vec<&str> = pass.iter().map(String::as_str).collect();
        let mut command = environment::tool(program, &pass);
        command.args(arguments).current_dir(&self.root).envs(env);
        for (name, secret) in secrets {
            command.env(name, value(values, secret)?.expose());
        }
        // What it is told is told by nobody else.
        command.envs(facts.variables());

        let input = serde_json::to_vec(facts).unwrap_or_default();
        let bounds = Bounds {
            within: hook.timeout.get(),
            answer: Keep::Last(MOST),
            beside: MOST,
            left_behind: LeftBehind::Ends,
        };
        let ended = captured(command, Some(input), &bounds).await;
        let ended = ended.map_err(|error| {
            failure(match error {
                CaptureError::Start(error) => {
                    let reason = interpreter::explained(program, &self.root, &error);
                    format!("`{program}` cannot be started: {reason}")
                }
                CaptureError::Late(_) => format!("not done within {}", hook.timeout),
                other => other.to_string(),
            })
        })?;

        let text = [ended.answer, ended.beside].concat();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(|line| line.chars().take(LINE).collect());
        let lines: Vec<String> = lines.collect();
        if ended.status.success() {
            for line in &lines {
                progress(line);
            }
            return Ok(());
        }
        let code = ended.status.code();
        let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        let skip = lines.len().saturating_sub(LAST_LINES);
        Err(HookFailure {
            reason: interpreter::with_windows_lines(
                format!("ended with {code}"),
                words,
                &self.root,
            ),
            detail: lines.into_iter().skip(skip).collect(),
        })
    }
}

fn value<'a>(values: &'a Values, secret: &HookSecret) -> Result<&'a SecretValue, HookFailure> {
    let value = values.get(&secret.name);
    value.ok_or_else(|| failure(format!("the secret {} was not read", secret.name)))
}

fn failure(reason: String) -> HookFailure {
    HookFailure {
        reason,
        detail: Vec::new(),
    }
}
