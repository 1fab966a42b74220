//! A pipeline: what is run in a checkout before it is deployed.
//!
//! It is JSON: `[{"step": "compile", "commands": ["yarn install", "yarn build"]}]`, or a map with
//! `parameters` and `steps`. Parameters are variables of the commands' environment, and are never
//! pasted into their text.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The most steps, and the most commands of one.
const MOST: usize = 100;

/// The longest command, in bytes.
const LONGEST: usize = 8 << 10;

/// A pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Variables that all of its commands see.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// One after the other.
    pub steps: Vec<PipelineStep>,
}

/// A step of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineStep {
    /// Its name.
    pub step: String,
    /// Its commands, each for a shell of its own. One that fails ends the job.
    pub commands: Vec<String>,
}

/// Why a text is no pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PipelineError(String);

impl Pipeline {
    /// Reads a pipeline.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, PipelineError> {
        let wrong = |error: serde_json::Error| PipelineError(error.to_string());
        let pipeline = if text.trim_start().starts_with('[') {
            Self {
                parameters: BTreeMap::new(),
                steps: serde_json::from_str(text).map_err(wrong)?,
            }
        } else {
            serde_json::from_str(text).map_err(wrong)?
        };
        pipeline.check().map_err(PipelineError)?;
        Ok(pipeline)
    }

    fn check(&self) -> Result<(), String> {
        if self.steps.is_empty() || self.steps.len() > MOST {
            return Err(format!("a pipeline has 1 to {MOST} steps"));
        }
        let mut names = BTreeSet::new();
        for step in &self.steps {
            let name = step.step.as_str();
            if name.is_empty() || name.len() > 60 || name.contains(char::is_control) {
                return Err("a step's name is a text of 60 characters at the most".to_owned());
            }
            if !names.insert(name) {
                return Err(format!("two steps are called {name}"));
            }
            if step.commands.is_empty() || step.commands.len() > MOST {
                return Err(format!("step {name}: it has 1 to {MOST} commands"));
            }
            let is_one = |command: &String| !command.trim().is_empty() && command.len() <= LONGEST;
            if !step.commands.iter().all(is_one)
                || step.commands.iter().any(|one| one.contains('\0'))
            {
                return Err(format!(
                    "step {name}: a command is a text of {LONGEST} bytes at the most"
                ));
            }
        }
        for (name, value) in &self.parameters {
            if !is_variable(name) || value.contains('\0') {
                return Err(format!(
                    "`{name}` is no parameter: letters, digits and `_`, and none that begins with \
                     SHIPIT_ or LD_"
                ));
            }
        }
        Ok(())
    }
}

fn is_variable(name: &str) -> bool {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_ours = name.starts_with("SHIPIT_") || name.starts_with("LD_") || name == "PATH";
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(may_stand)
        && !is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_steps_and_a_map_with_parameters_are_pipelines() {
        let list = r#"[{"step": "compile", "commands": ["yarn install", "yarn build"]}]"#;
        let read = Pipeline::read(list).expect("a pipeline");
        assert_eq!(read.steps[0].commands, ["yarn install", "yarn build"]);
        let map = format!(r#"{{"parameters": {{"node": "22; rm -rf /"}}, "steps": {list}}}"#);
        let read = Pipeline::read(&map).expect("a pipeline");
        assert_eq!(read.parameters["node"], "22; rm -rf /");
        let again = serde_json::to_string(&read).expect("it is written");
        assert_eq!(Pipeline::read(&again), Ok(read));
    }

    #[test]
    fn what_is_no_pipeline_says_why() {
        for (text, words) in [
            ("[]", "1 to 100 steps"),
            (r#"[{"step": "a"}]"#, "commands"),
            (
                r#"[{"step": "a", "commands": []}]"#,
                "step a: it has 1 to 100 commands",
            ),
            (
                r#"[{"step": "a", "commands": [" "]}]"#,
                "a command is a text",
            ),
            (r#"[{"step": "a", "command": ["x"]}]"#, "unknown field"),
            (
                r#"[{"step": "a", "commands": ["x"]}, {"step": "a", "commands": ["x"]}]"#,
                "two steps",
            ),
            (
                r#"{"parameters": {"LD_PRELOAD": "x"}, "steps": [{"step": "a", "commands": ["x"]}]}"#,
                "no parameter",
            ),
            ("{", "EOF"),
        ] {
            let error = Pipeline::read(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
