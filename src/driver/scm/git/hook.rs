//! Being started by a hook of Git's: the variables that it sets for its hooks, and the objects that
//! a push has brought and that are not in the repository yet.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::driver::scm::git::{BARE, LIMIT, program, run};

/// What Git tells its hooks of the repository that they are in (`git rev-parse --local-env-vars`),
/// and what it adds for those that look at a push. They would point this Git elsewhere than at the
/// project's folder.
const LOCAL_VARIABLES: [&str; 17] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// By which somebody says beside all files how Git is to be set, as a build server that works in
/// folders of another user's (`safe.directory`). What a hook has of it is of the push.
const SETTINGS: &str = "GIT_CONFIG_COUNT";

/// Where the objects are that a push has brought, while a hook says whether it is taken.
const OBJECTS: [&str; 3] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_OBJECT_DIRECTORY",
    "GIT_QUARANTINE_PATH",
];

/// The hook that this runs in, as far as it concerns the project's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hook {
    /// None.
    None,
    /// One of another repository: nothing of it is passed on.
    Elsewhere,
    /// One of the folder's own repository: the objects of the push are seen.
    Own,
    /// One of this repository, and the folder has none: it was unpacked from the push.
    Unpacked(PathBuf),
}

impl Hook {
    /// Looks at where this runs.
    pub async fn of(folder: &Path) -> Self {
        let Some(told) = std::env::var_os("GIT_DIR") else {
            return Self::None;
        };
        let Ok(told) = std::fs::canonicalize(told) else {
            return Self::Elsewhere;
        };

        let arguments = ["rev-parse", "--is-inside-work-tree", "--git-common-dir"];
        let mut command = program(folder, &arguments);
        Self::Elsewhere.prepare(&mut command);
        // Without Git there is nothing that it could be told.
        let Ok(answer) = run(command, "git rev-parse", LIMIT).await else {
            return Self::Elsewhere;
        };
        if answer.code != Some(0) {
            let is_outside = answer.stderr.contains("not a git repository");
            // A folder that lies in a repository without a checkout.
            let is_within = answer.stderr.contains(BARE)
                && std::fs::canonicalize(folder).is_ok_and(|folder| folder.starts_with(&told));
            return if is_outside || is_within {
                Self::Unpacked(told)
            } else {
                Self::Elsewhere
            };
        }
        let printed = answer.text();
        let (is_checkout, own) = printed.split_once('\n').unwrap_or_default();
        let own = std::fs::canonicalize(folder.join(own)).ok();
        match (own.as_ref() == Some(&told), is_checkout) {
            (true, "true") => Self::Own,
            (true, _) => Self::Unpacked(told),
            (false, _) => Self::Elsewhere,
        }
    }

    /// Gives a command what it has to know of the hook, and nothing else.
    pub fn prepare(&self, command: &mut Command) {
        for name in LOCAL_VARIABLES {
            let is_kept = match self {
                Self::None => name == SETTINGS,
                Self::Elsewhere => false,
                Self::Own | Self::Unpacked(_) => OBJECTS.contains(&name),
            };
            if !is_kept {
                command.env_remove(name);
            }
        }
        if let Self::Unpacked(repository) = self {
            command.env("GIT_DIR", repository);
        }
    }

    /// Whether the folder itself is in no repository.
    pub const fn is_unpacked(&self) -> bool {
        matches!(self, Self::Unpacked(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_environment_are_kept_outside_of_hooks_alone() {
        let dropped = |hook: &Hook| {
            let mut command = Command::new("git");
            hook.prepare(&mut command);
            let variables = command.as_std().get_envs();
            let dropped = variables.filter(|(_, value)| value.is_none());
            let dropped = dropped.map(|(name, _)| name.to_string_lossy().into_owned());
            dropped.collect::<Vec<_>>()
        };
        let settings = SETTINGS.to_owned();
        assert!(!dropped(&Hook::None).contains(&settings));
        assert_eq!(dropped(&Hook::None).len(), LOCAL_VARIABLES.len() - 1);
        for hook in [Hook::Elsewhere, Hook::Own, Hook::Unpacked("/r".into())] {
            assert!(dropped(&hook).contains(&settings), "{hook:?}");
        }
    }
}
