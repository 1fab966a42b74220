//! Logins to registries that other tools wrote: `docker login`, `podman login`, `skopeo login`, or
//! a credential helper.
//!
//! The files belong to whoever runs shipit, and still they are documents of others: they are read
//! up to a bound, a helper is named by a plain word and found in PATH alone, and it is asked for
//! the one registry that is spoken to, with a limit of time and of what it may say. What is wrong
//! with one of them is no reason to stop: a registry may want no login at all. Start with [`find`].

mod document;
mod helper;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use helper::HelperName;

use document::Entry;

/// The largest file that is read.
const FILE_LIMIT: u64 = 4 << 20;

/// What opens a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Password {
        /// Who.
        user: String,
        /// Their password, or a token that stands for one.
        password: String,
    },
    /// A token that the registry's token server changes for others.
    Identity(String),
    /// A token that the registry takes itself.
    Token(String),
}

/// Nothing of it is ever printed but who it is.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password of {user:?}"),
            Self::Identity(_) => f.write_str("Identity"),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

/// Why a login that may be there cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginProblem {
    /// The file is another one than docker and podman write.
    #[error("{} cannot be used: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A helper is named by something that is no plain word.
    #[error("{} names the credential helper {name:?}: only letters, digits, `.`, `_` and `-` are \
             looked for", file.display())]
    Name {
        /// Where.
        file: PathBuf,
        /// What it says.
        name: String,
    },
    /// A helper is not there.
    #[error("{helper}, the credential helper that {} names, is not in PATH: install it, or take it \
             out of that file", file.display())]
    NotThere {
        /// Where.
        file: PathBuf,
        /// The program.
        helper: HelperName,
    },
    /// A helper did not give what it was asked for.
    #[error("{helper}, the credential helper that {} names: {reason}", file.display())]
    Helper {
        /// Where.
        file: PathBuf,
        /// The program.
        helper: HelperName,
        /// What it said.
        reason: String,
    },
}

/// What there is for a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginFound {
    /// The login; none when nobody has logged in there.
    pub credentials: Option<Credentials>,
    /// What was in the way of finding one.
    pub problem: Option<LoginProblem>,
}

/// Where logins are looked for.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The files, the first that has a login for a registry counts.
    pub files: Vec<PathBuf>,
    /// PATH: where helpers are.
    pub path: OsString,
}

impl Places {
    /// Those that docker, podman and skopeo write to, by the variables of this process.
    #[must_use]
    pub fn of_environment() -> Self {
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let home = folder("HOME").map(PathBuf::from);
        let docker = folder("DOCKER_CONFIG").map(PathBuf::from);
        let docker = docker.or_else(|| Some(home.as_ref()?.join(".docker")));
        let own = folder("XDG_CONFIG_HOME").map(PathBuf::from);
        let own = own.or_else(|| Some(home.as_ref()?.join(".config")));
        let session = folder("XDG_RUNTIME_DIR").map(PathBuf::from);
        let files = [
            folder("REGISTRY_AUTH_FILE").map(PathBuf::from),
            docker.map(|folder| folder.join("config.json")),
            session.map(|folder| folder.join("containers/auth.json")),
            own.map(|folder| folder.join("containers/auth.json")),
        ];
        Self {
            files: files.into_iter().flatten().collect(),
            path: env::var_os("PATH").unwrap_or_default(),
        }
    }
}

/// What a login for a repository is written for: a part of its registry, as `podman login HOST/team`
/// and `skopeo login HOST/team` write it (containers-auth.json(5)), the most specific first; else
/// the registry.
#[must_use]
pub fn scope(places: &Places, registry: &str, repository: &str) -> String {
    let files = places.files.iter();
    let read = files.filter_map(|file| read(file).ok().flatten());
    let known: BTreeSet<String> = read.flat_map(|bytes| document::logins(&bytes)).collect();
    let mut part = format!("{registry}/{repository}");
    while part.len() > registry.len() {
        if known.contains(&part) {
            return part;
        }
        let parent = part.rsplit_once('/').map_or("", |(parent, _)| parent);
        part = parent.to_owned();
    }
    registry.to_owned()
}

/// The login for a registry, or for what [`scope`] says: `registry.example.com`, `localhost:5000`,
/// `docker.io`.
pub async fn find(places: &Places, registry: &str) -> LoginFound {
    let mut found = LoginFound::default();
    for file in &places.files {
        match look(places, file, registry).await {
            Ok(None) => {}
            Ok(credentials) => {
                found.credentials = credentials;
                return found;
            }
            Err(problem) => found.problem = found.problem.or(Some(problem)),
        }
    }
    found
}

async fn look(
    places: &Places,
    file: &Path,
    registry: &str,
) -> Result<Option<Credentials>, LoginProblem> {
    let unusable = |reason: String| LoginProblem::File {
        file: file.to_owned(),
        reason,
    };
    let Some(bytes) = read(file).map_err(unusable)? else {
        return Ok(None);
    };
    match document::entry(&bytes, registry).map_err(unusable)? {
        Entry::Nothing => Ok(None),
        Entry::Written(credentials) => Ok(Some(credentials)),
        Entry::Helper { name, server } => ask(places, file, &name, &server).await,
    }
}

async fn ask(
    places: &Places,
    file: &Path,
    name: &str,
    server: &str,
) -> Result<Option<Credentials>, LoginProblem> {
    let file = file.to_owned();
    let Some(helper) = HelperName::new(name) else {
        let name = name.chars().take(80).collect();
        return Err(LoginProblem::Name { file, name });
    };
    let Some(program) = helper.find(&places.path) else {
        return Err(LoginProblem::NotThere { file, helper });
    };

    let said = helper::ask(&program, server, helper::PATIENCE).await;
    said.map_err(|reason| LoginProblem::Helper {
        file,
        helper,
        reason,
    })
}

/// A file's bytes; none when there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        // A pipe would be waited for, and a device has no end.
        Ok(meta) if !meta.is_file() => return Err("it is no file".to_owned()),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(FILE_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("it is larger than {} MiB", FILE_LIMIT >> 20));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::PermissionsExt as _;

    const KIM: &str = r#"{"auths": {"shop.example.com": {"auth": "a2ltOnB3"}}}"#;

    fn kim() -> Credentials {
        Credentials::Password {
            user: "kim".to_owned(),
            password: "pw".to_owned(),
        }
    }

    /// A folder with these files, and the places that lead to them in this order.
    fn places(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |(name, text): &(&str, &str)| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path
        };
        let files = files.iter().map(put).collect();
        let path = folder.path().as_os_str().to_owned();
        (folder, Places { files, path })
    }

    fn program(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    #[tokio::test]
    async fn the_first_file_that_knows_the_registry_counts() {
        let (_folder, places) = places(&[("docker", r#"{"auths": {}}"#), ("podman", KIM)]);
        let found = find(&places, "shop.example.com").await;
        assert_eq!((found.credentials, found.problem), (Some(kim()), None));
        let other = find(&places, "other.example.com").await;
        assert_eq!(other, LoginFound::default());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_named_and_the_next_one_is_asked() {
        let (folder, places) = places(&[("docker", "not JSON"), ("podman", KIM)]);
        let found = find(&places, "shop.example.com").await;
        assert_eq!(found.credentials, Some(kim()));
        let said = found.problem.expect("a problem").to_string();
        let file = folder.path().join("docker").display().to_string();
        assert!(said.starts_with(&file), "{said}");
    }

    #[tokio::test]
    async fn what_has_no_end_is_no_file_of_logins() {
        let files = vec![PathBuf::from("/dev/zero")];
        let path = OsString::new();
        let found = find(&Places { files, path }, "shop.example.com").await;
        let said = found.problem.expect("a problem").to_string();
        assert!(said.contains("it is no file"), "{said}");
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named_with_its_file() {
        let (_folder, places) = places(&[("docker", r#"{"credsStore": "desktop"}"#)]);
        let found = find(&places, "shop.example.com").await;
        assert_eq!(found.credentials, None);
        let said = found.problem.expect("a problem").to_string();
        let wanted = ["docker-credential-desktop", "/docker names", "PATH"];
        assert!(wanted.iter().all(|word| said.contains(word)), "{said}");
    }

    #[tokio::test]
    async fn a_helper_is_a_word_and_never_a_path() {
        for name in ["x/../evil", "/bin/evil", "..", "a b", "é", "", "a\nb"] {
            let text = serde_json::json!({"credHelpers": {"shop.example.com": name}});
            let (folder, places) = places(&[("docker", &text.to_string())]);
            let touch = format!("#!/bin/sh\ntouch {}/ran\n", folder.path().display());
            fs::create_dir(folder.path().join("docker-credential-x")).expect("a folder");
            program(folder.path(), "evil", &touch);
            let found = find(&places, "shop.example.com").await;
            assert_eq!(found.credentials, None, "{name}");
            assert!(!folder.path().join("ran").exists(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_the_one_registry() {
        let stores = r#"{"credHelpers": {"shop.example.com": "one"}, "credsStore": "all"}"#;
        let (folder, places) = places(&[("docker", stores)]);
        let answer = |name: &str| {
            let said = r#"{"Username": "kim", "Secret": "pw"}"#;
            let seen = folder.path().join(name).display().to_string();
            format!("#!/bin/sh\n/bin/cat >{seen}; echo '{said}'\n")
        };
        program(folder.path(), "docker-credential-one", &answer("one.asked"));
        program(folder.path(), "docker-credential-all", &answer("all.asked"));
        let found = find(&places, "shop.example.com").await;
        assert_eq!((found.credentials, found.problem), (Some(kim()), None));
        let asked = fs::read_to_string(folder.path().join("one.asked")).expect("it was asked");
        assert_eq!(asked, "shop.example.com");
        assert!(!folder.path().join("all.asked").exists());
    }

    #[test]
    fn no_secret_is_printed() {
        let all = [
            kim(),
            Credentials::Identity("pw".to_owned()),
            Credentials::Token("pw".to_owned()),
        ];
        assert!(!format!("{all:?}").contains("pw"));
    }
}
