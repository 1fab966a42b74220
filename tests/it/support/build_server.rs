//! The variables of the build server that these tests run on.

use std::process::Command;

/// Takes what the build server of these tests says of its own checkout out of a command's
/// variables.
pub fn without_build_server(command: &mut Command) {
    const PREFIXES: [&str; 10] = [
        "BITBUCKET_",
        "BRANCH_",
        "BUILD_",
        "CHANGE_",
        "CI_",
        "DRONE_",
        "FORGEJO_",
        "GIT_",
        "GITEA_",
        "GITHUB_",
    ];
    const MORE: [&str; 3] = ["TAG_", "SYSTEM_PULLREQUEST_", "ghprb"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if PREFIXES
            .iter()
            .chain(&MORE)
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
}
