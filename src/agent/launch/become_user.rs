//! `shipit agent become UID:GID PROGRAM`: a program of a user that no list of the machine has to
//! know, where something else than the agent starts it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::agent::launch::User;
use crate::files::process::program;

/// What goes before a program and its arguments.
#[must_use]
pub fn becoming(user: User) -> Vec<OsString> {
    let User { uid, gid } = user;
    vec![
        program().into(),
        "agent".into(),
        "become".into(),
        format!("{uid}:{gid}").into(),
        "--".into(),
    ]
}

/// Becomes this user, `UID:GID`, with that group alone, and the program. Returns only when it
/// cannot: why.
#[must_use]
pub fn become_user(user: &str, command: &[OsString]) -> String {
    let numbers = user.split_once(':');
    let numbers = numbers.and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    let (Some((uid, gid)), Some((name, arguments))) = (numbers, command.split_first()) else {
        return format!("`{user}` is no user and group in numbers, or there is no program");
    };
    // With the user go the groups of whoever this is.
    let error = Command::new(name).args(arguments).uid(uid).gid(gid).exec();
    format!("`{}` cannot be started: {error}", name.display())
}
