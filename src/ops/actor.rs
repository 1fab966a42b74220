//! Who runs this. What the kernel says comes first: a variable can say anything, and is only put
//! beside it.

use std::path::Path;

use jiff::Timestamp;

use crate::files;
use crate::model::release::Actor;

/// The largest file of users that is read.
const LIMIT: u64 = 4 << 20;

/// The longest text that is taken from a variable.
const LONGEST: usize = 100;

/// Who runs this, in a new run.
#[must_use]
pub fn actor() -> Actor {
    let variable = |name: &str| std::env::var(name).ok();
    Actor {
        user: named(&user(), claimed(variable).as_deref()),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        run: run_name(Timestamp::now()),
        ci: ci(variable),
    }
}

/// The name of a run that begins now. Names sort as their runs began, also within a second, as far
/// as the clock is right.
fn run_name(now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%S%6f");
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{time}-{}", &random[..6])
}

/// The name of the user that this process runs as.
fn user() -> String {
    user_of(rustix::process::getuid().as_raw())
}

/// The name of a user of this machine.
#[must_use]
pub fn user_of(uid: u32) -> String {
    let users = files::read_text(Path::new("/etc/passwd"), LIMIT).unwrap_or_default();
    name_of(uid, &users).unwrap_or_else(|| format!("uid{uid}"))
}

/// The number of a user of this machine, by its name or its number.
#[must_use]
pub fn uid_of(user: &str) -> Option<u32> {
    let users = files::read_text(Path::new("/etc/passwd"), LIMIT).unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next()? == user;
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    });
    named.or_else(|| user.parse().ok())
}

/// A user's name in a file of users: see `passwd(5)`.
fn name_of(uid: u32, users: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

/// Who it is for, if somebody else is named: by sudo, or by the login.
fn claimed(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| clean(&variable(name)?))
}

fn named(user: &str, claimed: Option<&str>) -> String {
    match claimed {
        Some(claimed) if claimed != user => format!("{claimed} (as {user})"),
        _ => user.to_owned(),
    }
}

/// The job of a build server that this is a part of, as its variables say.
fn ci(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let said = |name: &str| clean(&variable(name)?);
    let with = |what: &str, parts: &[(&str, &str)]| {
        let parts: Vec<String> = parts
            .iter()
            .filter_map(|(word, name)| Some(format!("{word} {}", said(name)?)))
            .collect();
        Some(format!("{what} {}", parts.join(" ")).trim_end().to_owned())
    };

    if said("SHIPIT_JOB").is_some() {
        let parts = [("job", "SHIPIT_JOB"), ("for", "SHIPIT_JOB_BY")];
        return with("shipit serve", &parts);
    }

    if said("GITHUB_ACTIONS").is_some() {
        return with(
            "GitHub Actions",
            &[
                ("run", "GITHUB_RUN_ID"),
                ("of", "GITHUB_REPOSITORY"),
                ("by", "GITHUB_ACTOR"),
            ],
        );
    }

    if said("GITLAB_CI").is_some() {
        return with(
            "GitLab",
            &[
                ("job", "CI_JOB_ID"),
                ("of", "CI_PROJECT_PATH"),
                ("by", "GITLAB_USER_LOGIN"),
            ],
        );
    }

    if said("JENKINS_URL").is_some() {
        return with("Jenkins", &[("build", "BUILD_TAG")]);
    }
    None
}

/// What a variable says, as far as it can stand in a line; none when nothing of it can.
fn clean(text: &str) -> Option<String> {
    let may_stand = |c: &char| c.is_ascii_alphanumeric() || "-_./@+:\\".contains(*c);
    let text: String = text.chars().filter(may_stand).take(LONGEST).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_runs_sort_as_the_runs_began() {
        let began = |microseconds| Timestamp::from_microsecond(microseconds).expect("a time");
        let times = [0, 1, 9, 10, 999_999, 1_000_000, 1_800_000_000_000_000].map(began);
        let names = times.map(run_name);
        assert!(names.is_sorted(), "{names:?}");
        assert!(names[0].starts_with("19700101T000000000000-"), "{names:?}");
    }

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nkim:x:1000:1000:Kim,,,:/home/kim:/bin/sh\n";

    fn variables(set: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| {
            let found = set.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn a_user_is_named_by_the_kernels_number_and_not_by_a_variable() {
        assert_eq!(name_of(1000, USERS).as_deref(), Some("kim"));
        assert_eq!(name_of(7, USERS), None);
        assert_eq!(named("kim", None), "kim");
        assert_eq!(named("kim", Some("kim")), "kim");
        assert_eq!(named("root", Some("kim")), "kim (as root)");
    }

    #[test]
    fn who_became_root_is_named_beside_it() {
        let sudo = variables(&[("SUDO_USER", "kim"), ("USER", "root")]);
        assert_eq!(claimed(sudo).as_deref(), Some("kim"));
        let forged = variables(&[("USER", "ki\u{1b}[2Jm\n")]);
        assert_eq!(claimed(forged).as_deref(), Some("ki2Jm"));
        assert_eq!(claimed(variables(&[("USER", "\u{202e}")])), None);
    }

    #[test]
    fn a_build_server_is_named_with_what_it_says() {
        let github = variables(&[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_RUN_ID", "42"),
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_ACTOR", "kim"),
        ]);
        let said = "GitHub Actions run 42 of acme/shop by kim";
        assert_eq!(ci(github).as_deref(), Some(said));
        let jenkins = variables(&[
            ("JENKINS_URL", "https://ci"),
            ("BUILD_TAG", "jenkins-shop-7"),
        ]);
        assert_eq!(ci(jenkins).as_deref(), Some("Jenkins build jenkins-shop-7"));
        assert_eq!(
            ci(variables(&[("GITLAB_CI", "true")])).as_deref(),
            Some("GitLab")
        );
        assert_eq!(ci(variables(&[])), None);
    }
}
