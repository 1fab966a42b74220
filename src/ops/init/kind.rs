//! What kind of project a folder has, from the files that such projects have.

use std::path::Path;

use parse_dockerfile::Instruction;
use serde_json::Value;

use super::LARGEST;
use super::python::Python;
use crate::files;

/// What kind of project it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One with a Dockerfile.
    Docker {
        /// The first port that it says the service listens on.
        port: Option<u16>,
    },
    /// A Cargo package, or a workspace with one, that makes this program.
    Cargo(String),
    /// A Go module, with the package of its program: `.` or `./cmd/NAME`.
    Go(String),
    /// A package of Node.js.
    Npm {
        /// What installs what it needs.
        install: &'static str,
        /// Whether there is a build script.
        build: bool,
        /// What Node.js starts.
        main: String,
    },
    /// A Python program.
    Python(Python),
    /// Any other folder.
    Plain,
}

/// The kind of the project in a folder.
pub(super) fn kind(root: &Path) -> Kind {
    docker(root)
        .or_else(|| cargo(root))
        .or_else(|| go(root))
        .or_else(|| npm(root))
        .or_else(|| python(root))
        .unwrap_or(Kind::Plain)
}

fn text(path: &Path) -> Option<String> {
    files::read_text(path, LARGEST).ok()
}

fn docker(root: &Path) -> Option<Kind> {
    let dockerfile = text(&root.join("Dockerfile"))?;
    let port = exposed(&dockerfile);
    Some(Kind::Docker { port })
}

/// The first port for TCP that the last stage says it listens on, or a stage that it is made from.
fn exposed(dockerfile: &str) -> Option<u16> {
    let read = parse_dockerfile::parse(dockerfile).ok()?;
    // The names of each stage and of what it is made from, and its ports.
    let mut stages: Vec<(Option<&str>, &str, Vec<u16>)> = Vec::new();
    for instruction in &read.instructions {
        match instruction {
            Instruction::From(from) => {
                let name = from.as_.as_ref().map(|(_, name)| &*name.value);
                stages.push((name, &from.image.value, Vec::new()));
            }
            Instruction::Expose(expose) => {
                let (_, _, ports) = stages.last_mut()?;
                let words = expose.arguments.iter();
                ports.extend(words.filter_map(|word| tcp(&word.value)));
            }
            _ => {}
        }
    }

    let (_, mut base, ports) = stages.pop()?;
    let mut port = ports.first().copied();
    // A stage is made from one that stands before it.
    while port.is_none()
        && let Some((name, next, ports)) = stages.pop()
    {
        if name.is_some_and(|name| name.eq_ignore_ascii_case(base)) {
            (base, port) = (next, ports.first().copied());
        }
    }
    port
}

/// The port of a word of `EXPOSE`: the first one of several, where it is one for TCP.
fn tcp(word: &str) -> Option<u16> {
    let word = word.trim_matches('"');
    let (number, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let number = number.split('-').next()?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    protocol.eq_ignore_ascii_case("tcp").then_some(number)
}

fn cargo(root: &Path) -> Option<Kind> {
    super::cargo::program(root).map(Kind::Cargo)
}

fn go(root: &Path) -> Option<Kind> {
    text(&root.join("go.mod"))?;
    if root.join("main.go").is_file() {
        return Some(Kind::Go(".".to_owned()));
    }
    let commands = std::fs::read_dir(root.join("cmd")).into_iter().flatten();
    let mut names: Vec<String> = commands
        .flatten()
        .filter(|entry| entry.path().join("main.go").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.chars().all(is_plain))
        .collect();
    names.sort();
    let package = names
        .first()
        .map_or_else(|| ".".to_owned(), |name| format!("./cmd/{name}"));
    Some(Kind::Go(package))
}

/// Whether a sign of a name means nothing to a shell.
fn is_plain(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.')
}

fn npm(root: &Path) -> Option<Kind> {
    let package = text(&root.join("package.json"))?;
    let package: Value = serde_json::from_str(package.trim_start_matches('\u{feff}')).ok()?;
    let installers = [
        ("package-lock.json", "npm ci"),
        ("npm-shrinkwrap.json", "npm ci"),
        ("yarn.lock", "yarn install --frozen-lockfile"),
        ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ];
    let locked = installers
        .iter()
        .find(|(lock, _)| root.join(lock).is_file());
    let started = package.pointer("/scripts/start").and_then(Value::as_str);
    let started = started.and_then(|line| line.strip_prefix("node "));
    let started = started.filter(|file| file.chars().all(|sign| is_plain(sign) || sign == '/'));
    let main = package.get("main").and_then(Value::as_str);
    let main = started.or(main);
    let usual = ["index.js", "server.js", "app.js", "src/index.js"];
    let there = usual.into_iter().find(|name| root.join(name).is_file());
    Some(Kind::Npm {
        // A lock file that a build makes would be an input of the next one.
        install: locked.map_or("npm install --no-package-lock", |(_, install)| install),
        build: package.pointer("/scripts/build").is_some(),
        main: main.or(there).unwrap_or("index.js").to_owned(),
    })
}

fn python(root: &Path) -> Option<Kind> {
    super::python::python(root).map(Kind::Python)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::init::tests::folder_with;

    /// The kind of a folder with these files.
    fn of(files: &[(&str, &str)]) -> Kind {
        kind(folder_with(files).path())
    }

    #[test]
    fn a_project_is_known_by_its_files() {
        let docker = |port| Kind::Docker { port };
        let cargo = |name: &str| Kind::Cargo(name.to_owned());
        let npm = |install, build, main: &str| Kind::Npm {
            install,
            build,
            main: main.to_owned(),
        };
        let package = "[package]\nname = \"shop\"\n[dependencies]\n";
        for (files, expected) in [
            (
                &[(
                    "Dockerfile",
                    "FROM x\nEXPOSE 53/udp\nexpose 3000/tcp 9\nCMD y",
                )][..],
                docker(Some(3000)),
            ),
            (
                &[(
                    "Dockerfile",
                    "FROM x AS base\nEXPOSE 3000\nFROM base AS build\nEXPOSE 1\nFROM base\nCMD y",
                )],
                docker(Some(3000)),
            ),
            (
                &[(
                    "Dockerfile",
                    "FROM x AS build\nEXPOSE 1\nFROM y\nEXPOSE 8080 \\\n  9090\nEXPOSE 9091\n\
                     RUN <<E\nEXPOSE 2\nE\n",
                )],
                docker(Some(8080)),
            ),
            (
                &[("Dockerfile", "FROM x AS build\nEXPOSE 1\nFROM y\n")],
                docker(None),
            ),
            (
                &[("Dockerfile", "FROM x"), ("package.json", "{}")],
                docker(None),
            ),
            (&[("Cargo.toml", package)], cargo("shop")),
            (
                &[
                    ("Cargo.toml", "[workspace]\n"),
                    ("crates/web/Cargo.toml", package),
                    ("crates/web/src/main.rs", ""),
                ],
                cargo("shop"),
            ),
            (
                &[("go.mod", "module x"), ("main.go", "")],
                Kind::Go(".".to_owned()),
            ),
            (
                &[("go.mod", "module x"), ("cmd/web/main.go", "")],
                Kind::Go("./cmd/web".to_owned()),
            ),
            (
                &[
                    ("package.json", "{\"main\": \"a.js\"}"),
                    ("package-lock.json", ""),
                ],
                npm("npm ci", false, "a.js"),
            ),
            (
                &[
                    ("package.json", "{\"scripts\": {\"build\": \"x\"}}"),
                    ("yarn.lock", ""),
                    ("server.js", ""),
                ],
                npm("yarn install --frozen-lockfile", true, "server.js"),
            ),
            (
                &[("package.json", "{}")],
                npm("npm install --no-package-lock", false, "index.js"),
            ),
            (&[("README.md", "")], Kind::Plain),
        ] {
            assert_eq!(of(files), expected, "{files:?}");
        }
        let python = of(&[("requirements.txt", "flask")]);
        assert!(matches!(python, Kind::Python(found) if found.install.is_some()));
        let python = of(&[("main.py", "")]);
        assert!(matches!(python, Kind::Python(found) if found.install.is_none()));
    }
}
