//! A push, as a hook of Git's sees it: what was pushed, whether its configuration is valid, and
//! what is written down of it while there is no server.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::intake::{Push, PushedRef};
use super::spool;
use crate::config;
use crate::files;
use crate::files::environment;
use crate::files::program::{Bounds, Captured, Keep, LeftBehind, captured};
use crate::model::ProjectName;
use crate::model::trigger::{is_object_id, is_reference, is_zero};

/// The most that Git tells of a push, in bytes.
const LARGEST: u64 = 1 << 20;

/// The most refs of a push.
const MOST_REFS: usize = 1_000;

/// How long whoever pushed is kept waiting for a word about the configuration.
const LIMIT: Duration = Duration::from_secs(10);

/// The most files of a configuration.
const MOST_FILES: usize = 500;

/// The largest file of a configuration, in bytes.
const LARGEST_FILE: usize = 1 << 20;

/// What stands in every hook of ours.
const MARK: &str = "# written by `shipit hook install`";

/// The hooks that gitolite lets a repository have of its own.
const GITOLITE_OPTIONS: [&str; 2] = ["post-receive", "pre-receive"];

/// Reads a push from the standard input, as Git tells its hooks.
///
/// # Errors
/// It cannot be read, or is too much.
pub fn read(project: &ProjectName) -> io::Result<Push> {
    let mut text = String::new();
    let count = io::stdin()
        .lock()
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if count as u64 > LARGEST || text.lines().count() > MOST_REFS {
        return Err(io::Error::other(format!(
            "it has more than {MOST_REFS} refs"
        )));
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
    Ok(Push {
        project: project.clone(),
        key: uuid::Uuid::new_v4().to_string(),
        by: variable("GL_USER")
            .or_else(|| variable("REMOTE_USER"))
            .unwrap_or_default(),
        refs: text.lines().filter_map(pushed_ref).collect(),
    })
}

/// `old new name`
fn pushed_ref(line: &str) -> Option<PushedRef> {
    let mut words = line.split(' ');
    let (_, new, name) = (words.next()?, words.next()?, words.next()?);
    is_object_id(new).then(|| PushedRef {
        name: name.to_owned(),
        new: new.to_owned(),
    })
}

/// Pushes that no server has heard of.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
}

/// One of them.
#[derive(Debug)]
pub struct Spooled {
    /// The push.
    pub push: Push,
    path: PathBuf,
}

impl Spool {
    /// That of the repository whose hook this is.
    #[must_use]
    pub fn of_hook() -> Self {
        let repository = std::env::var_os("GIT_DIR").unwrap_or_else(|| ".".into());
        Self {
            folder: spool::folder(Path::new(&repository)),
        }
    }

    /// Writes a push down.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, push: &Push) -> io::Result<()> {
        self.write(push, spool::TOLD)
    }

    /// Writes down what is about to be pushed, for a server that looks for what has come of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn announce(&self, push: &Push) -> io::Result<()> {
        self.write(push, spool::COMING)
    }

    /// A push by the key under which it was announced: whoever tells of it first, it is one. Some
    /// of what was announced may have been refused since.
    #[must_use]
    pub fn announced(&self, push: Push) -> Push {
        let earlier = self.announcing(&push).next();
        let key = earlier.map_or_else(|| push.key.clone(), |earlier| earlier.push.key);
        Push { key, ..push }
    }

    /// The server has it, or it is written down: nobody needs to look for it, nor for an earlier
    /// try that was refused.
    pub fn arrived(&self, push: &Push) {
        for announced in self.announcing(push) {
            announced.done();
        }
    }

    /// What announced a push, or a part of it.
    fn announcing(&self, push: &Push) -> impl Iterator<Item = Spooled> {
        let refs = push.refs.clone();
        let announced = self.found(spool::COMING).into_iter();
        announced.filter(move |it| it.push.refs.iter().any(|pushed| refs.contains(pushed)))
    }

    fn path(&self, push: &Push, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", push.key))
    }

    fn write(&self, push: &Push, ending: &str) -> io::Result<()> {
        let path = self.path(push, ending);
        files::replace(&path, &serde_json::to_vec(push)?)?;
        // The server may be another user; there is nothing in it that the repository does not have.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
    }

    /// Those that wait.
    #[must_use]
    pub fn waiting(&self) -> Vec<Spooled> {
        self.found(spool::TOLD)
    }

    fn found(&self, ending: &str) -> Vec<Spooled> {
        let paths = spool::spooled(std::slice::from_ref(&self.folder), ending).into_iter();
        let waiting = paths.filter_map(|path| {
            let push = spool::read(&path)?;
            Some(Spooled { push, path })
        });
        waiting.collect()
    }
}

impl Spooled {
    /// The server has it.
    pub fn done(self) {
        let _ = fs::remove_file(self.path);
    }
}

/// What is wrong with the configuration of the branches of a push.
///
/// # Errors
/// It cannot be looked at.
pub async fn faults(push: &Push, folder: &Path) -> Result<Vec<String>, String> {
    let looked = async {
        let mut found = Vec::new();
        for pushed in &push.refs {
            if is_reference(&pushed.name) && !is_zero(&pushed.new) {
                let faults = faults_at(&pushed.new, folder).await?;
                found.extend(
                    faults
                        .into_iter()
                        .map(|fault| format!("{}: {fault}", pushed.name)),
                );
            }
        }
        Ok(found)
    };
    let late = || {
        format!(
            "the configuration was not looked through within {} s",
            LIMIT.as_secs()
        )
    };
    tokio::time::timeout(LIMIT, looked)
        .await
        .map_err(|_| late())?
}

async fn faults_at(commit: &str, folder: &Path) -> Result<Vec<String>, String> {
    let place = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let names = [place("shipit.yaml"), place("environments")];
    let listed = git(&[
        "ls-tree",
        "-r",
        "-z",
        "--name-only",
        "--full-tree",
        commit,
        "--",
        &names[0],
        &names[1],
    ])
    .await?;
    let listed = String::from_utf8_lossy(&listed.answer).into_owned();
    let files: Vec<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
    // A branch without one is none of ours.
    if !files.contains(&names[0].as_str()) {
        return Ok(Vec::new());
    }
    if files.len() > MOST_FILES {
        return Err(format!(
            "there are more than {MOST_FILES} files of configuration"
        ));
    }

    // A tree that was made by hand has any names.
    let is_plain = |name: &&str| {
        let mut parts = Path::new(name).components();
        parts.all(|part| matches!(part, Component::Normal(_)))
    };
    if let Some(wrong) = files.iter().find(|name| !is_plain(name)) {
        return Ok(vec![format!("{wrong:?} leads out of the repository")]);
    }

    let copy = files::temporary::folder().map_err(|error| error.to_string())?;
    for name in files {
        let blob = git(&["cat-file", "blob", &format!("{commit}:{name}")]).await?;
        let path = copy.path().join(name);
        let parent = path.parent().unwrap_or(copy.path());
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        fs::write(&path, blob.answer).map_err(|error| error.to_string())?;
    }
    Ok(match config::load(&copy.path().join(folder)) {
        Ok(_) => Vec::new(),
        Err(error) => error.faults.iter().map(ToString::to_string).collect(),
    })
}

/// Git in the repository of the hook, with all that it told the hook: what is pushed is not in the
/// repository yet.
pub(super) async fn git(arguments: &[&str]) -> Result<Captured, String> {
    let mut command = environment::program("git");
    command.args(arguments).env("LC_ALL", "C");
    let bounds = Bounds {
        within: LIMIT,
        answer: Keep::Whole(LARGEST_FILE),
        beside: 1 << 10,
        left_behind: LeftBehind::Ends,
    };
    let said = captured(command, None, &bounds).await;
    let said = said.map_err(|error| format!("git {}: {error}", arguments[0]))?;
    if said.status.success() {
        return Ok(said);
    }
    Err(format!(
        "git {}: {}",
        arguments[0],
        String::from_utf8_lossy(&said.beside).trim()
    ))
}

/// The hooks of a repository.
#[derive(Debug, Clone, Copy)]
pub struct Hooks<'a> {
    /// The project.
    pub project: &'a ProjectName,
    /// The server's socket.
    pub socket: &'a Path,
    /// Whether a push returns at once.
    pub detaches: bool,
    /// Whether hooks of others are written over.
    pub is_forced: bool,
}

impl Hooks<'_> {
    /// Writes both hooks of a bare repository.
    ///
    /// # Errors
    /// It is no bare repository, a hook of somebody else's is there, or one cannot be written.
    pub fn install(&self, bare: &Path) -> io::Result<Vec<PathBuf>> {
        if !bare.join("objects").is_dir() || !bare.join("HEAD").is_file() {
            return Err(io::Error::other(format!(
                "{} is no bare repository",
                bare.display()
            )));
        }
        let hooks = bare.join("hooks");
        let (post, pre) = (hooks.join("post-receive"), hooks.join("pre-receive"));
        self.write_both(post, pre)
    }

    /// Writes both hooks for a repository of gitolite's, into the folder that it calls
    /// `LOCAL_CODE`. Whichever repository names them has them.
    ///
    /// # Errors
    /// There is no such folder, a hook of somebody else's is there, or one cannot be written.
    pub fn write_for_gitolite(&self, local_code: &Path) -> io::Result<Vec<PathBuf>> {
        if !local_code.is_dir() {
            return Err(io::Error::other(format!(
                "{} is no folder",
                local_code.display()
            )));
        }
        let hooks = local_code.join("hooks/repo-specific");
        let [post, pre] = GITOLITE_OPTIONS.map(|option| hooks.join(self.gitolite_name(option)));
        self.write_both(post, pre)
    }

    /// What the repository's configuration in gitolite has to say, for [`Self::write_for_gitolite`].
    #[must_use]
    pub fn gitolite_options(&self) -> [String; 2] {
        GITOLITE_OPTIONS
            .map(|option| format!("option hook.{option} = {}", self.gitolite_name(option)))
    }

    fn gitolite_name(&self, option: &str) -> String {
        format!("shipit-{}-{option}", self.project)
    }

    fn write_both(&self, post: PathBuf, pre: PathBuf) -> io::Result<Vec<PathBuf>> {
        for hook in [&post, &pre] {
            self.is_free(hook)?;
        }
        write(&post, &self.post_receive())?;
        let check = format!("{} hook pre-receive --project {}", program(), self.project);
        write(&pre, &check)?;
        Ok(vec![post, pre])
    }

    /// Writes the post-receive hook to a file of any name.
    ///
    /// # Errors
    /// Somebody else's is there, or it cannot be written.
    pub fn write_script(&self, path: &Path) -> io::Result<()> {
        self.is_free(path)?;
        write(path, &self.post_receive())
    }

    fn is_free(&self, path: &Path) -> io::Result<()> {
        let found = files::read_if_there(path, LARGEST)?;
        let is_ours = |text: Vec<u8>| String::from_utf8_lossy(&text).contains(MARK);
        if self.is_forced || found.is_none_or(is_ours) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} is a hook of somebody else's",
            path.display()
        )))
    }

    fn post_receive(&self) -> String {
        let socket = quoted(&self.socket.to_string_lossy());
        let detach = if self.detaches { " --detach" } else { "" };
        format!(
            "{} hook post-receive --project {} --socket {socket}{detach}",
            program(),
            self.project
        )
    }
}

fn program() -> String {
    quoted(&files::process::program().to_string_lossy())
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn write(path: &Path, command: &str) -> io::Result<()> {
    let text = format!("#!/bin/sh\n{MARK}\nexec {command}\n");
    files::replace(path, text.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
