//! How a Python program is started.

use std::path::Path;

use super::LARGEST;
use crate::files;

/// A Python program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// What installs what it needs.
    pub install: Option<&'static str>,
    /// What starts it.
    pub entrypoint: Vec<String>,
    /// What a reader should know of that.
    pub remark: Option<&'static str>,
}

/// The program of a folder; none where there is none.
pub(super) fn python(root: &Path) -> Option<Python> {
    let has = |name: &str| root.join(name).is_file();
    let install = if has("requirements.txt") {
        Some("python3 -m pip install --target .packages -r requirements.txt")
    } else if has("pyproject.toml") {
        Some("python3 -m pip install --target .packages .")
    } else {
        None
    };
    let needs = needed(root);
    let has_package = |name: &str| needs.iter().any(|needed| needed == name);

    if has("manage.py") {
        let project = django(root);
        return Some(match project.filter(|_| has_package("gunicorn")) {
            Some(project) => Python {
                install,
                entrypoint: by_shell(&format!(
                    "python3 -m gunicorn {project}.wsgi --bind 127.0.0.1:$PORT"
                )),
                remark: None,
            },
            None => Python {
                install,
                entrypoint: by_shell("python3 manage.py runserver --noreload 127.0.0.1:$PORT"),
                remark: Some("Django's server for development: take gunicorn for more"),
            },
        });
    }

    let usual = ["app.py", "main.py", "server.py"];
    let main = usual.into_iter().find(|name| has(name));
    if install.is_none() && main.is_none() {
        return None;
    }
    let main = main.unwrap_or("app.py");
    let module = main.trim_end_matches(".py");
    let entrypoint = if has_package("uvicorn") {
        by_shell(&format!(
            "python3 -m uvicorn {module}:app --host 127.0.0.1 --port $PORT"
        ))
    } else if has_package("gunicorn") {
        by_shell(&format!(
            "python3 -m gunicorn {module}:app --bind 127.0.0.1:$PORT"
        ))
    } else {
        vec!["python3".to_owned(), main.to_owned()]
    };
    Some(Python {
        install,
        entrypoint,
        remark: None,
    })
}

fn by_shell(line: &str) -> Vec<String> {
    vec!["sh".to_owned(), "-c".to_owned(), format!("exec {line}")]
}

/// The package of a Django project: the one folder with a `wsgi.py`.
fn django(root: &Path) -> Option<String> {
    let entries = std::fs::read_dir(root).ok()?.flatten();
    let packages = entries.filter(|entry| entry.path().join("wsgi.py").is_file());
    let names = packages.filter_map(|entry| entry.file_name().into_string().ok());
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    let mut names: Vec<String> = names.filter(|name| name.chars().all(is_plain)).collect();
    names.sort();
    names.into_iter().next()
}

/// The names of the packages that it says it needs.
fn needed(root: &Path) -> Vec<String> {
    let read = |name: &str| files::read_text(&root.join(name), LARGEST).unwrap_or_default();
    let project: toml::Table = toml::from_str(&read("pyproject.toml")).unwrap_or_default();
    let declared = project
        .get("project")
        .and_then(|project| project.get("dependencies"));
    let declared = declared
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten();
    let mut poetry = project.get("tool");
    for key in ["poetry", "dependencies"] {
        poetry = poetry.and_then(|table| table.get(key));
    }
    let poetry = poetry.and_then(toml::Value::as_table);
    let poetry = poetry.into_iter().flat_map(toml::Table::keys).cloned();

    let requirements = read("requirements.txt");
    let lines = requirements
        .lines()
        .chain(declared.filter_map(toml::Value::as_str));
    lines.filter_map(name_of).chain(poetry).collect()
}

/// The name in front of a requirement: `uvicorn[standard]>=0.30` is `uvicorn` (PEP 508).
fn name_of(requirement: &str) -> Option<String> {
    let is_of_name = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.');
    let requirement = requirement.trim();
    let end = requirement.find(|sign| !is_of_name(sign));
    let name = &requirement[..end.unwrap_or(requirement.len())];
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::init::tests::folder_with;

    fn of(files: &[(&str, &str)]) -> Option<String> {
        python(folder_with(files).path()).map(|found| found.entrypoint.join(" "))
    }

    #[test]
    fn a_program_is_started_by_the_server_that_it_needs() {
        let django = [
            ("manage.py", ""),
            ("shop/wsgi.py", ""),
            ("shop/settings.py", ""),
        ];
        let with = |more: (&'static str, &'static str)| [&django[..], &[more]].concat();
        for (files, expected) in [
            (vec![("README.md", "")], None),
            (vec![("main.py", "")], Some("python3 main.py")),
            (vec![("requirements.txt", "flask")], Some("python3 app.py")),
            (
                django.to_vec(),
                Some("sh -c exec python3 manage.py runserver --noreload 127.0.0.1:$PORT"),
            ),
            (
                with((
                    "requirements.txt",
                    "Django==5.2\n# gunicorn\nGunicorn >= 23\n",
                )),
                Some("sh -c exec python3 -m gunicorn shop.wsgi --bind 127.0.0.1:$PORT"),
            ),
            (
                with(("requirements.txt", "Django==5.2\n# gunicorn\n")),
                Some("sh -c exec python3 manage.py runserver --noreload 127.0.0.1:$PORT"),
            ),
            (
                vec![
                    ("main.py", ""),
                    (
                        "pyproject.toml",
                        "[project]\ndependencies = [\"fastapi\", \"uvicorn[standard]>=0.30\"]\n",
                    ),
                ],
                Some("sh -c exec python3 -m uvicorn main:app --host 127.0.0.1 --port $PORT"),
            ),
            (
                vec![
                    ("app.py", ""),
                    (
                        "pyproject.toml",
                        "[tool.poetry.dependencies]\ngunicorn = \"^23\"\n",
                    ),
                ],
                Some("sh -c exec python3 -m gunicorn app:app --bind 127.0.0.1:$PORT"),
            ),
        ] {
            assert_eq!(of(&files).as_deref(), expected, "{files:?}");
        }
    }
}
