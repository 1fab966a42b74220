//! The program of a Cargo package, or of a workspace with packages.

use std::collections::BTreeSet;
use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::LARGEST;
use crate::files;

/// What is read of a manifest; what else stands in it is nothing to us.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct CargoManifest {
    package: Option<Package>,
    bin: Vec<Program>,
    workspace: Option<Workspace>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Package {
    name: String,
    default_run: Option<String>,
    autobins: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Program {
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Workspace {
    members: Vec<String>,
    default_members: Vec<String>,
    exclude: Vec<String>,
}

/// The program that `cargo build` makes there, the likeliest one of several; none where there is no
/// manifest, or one that cannot be read.
pub(super) fn program(root: &Path) -> Option<String> {
    let manifest = manifest(root)?;
    let own = programs(root, &manifest).into_iter().next();
    let program = own.or_else(|| {
        let workspace = manifest.workspace.as_ref()?;
        let mut members = members(root, workspace).into_iter();
        members.find_map(|folder| {
            let of_member = self::manifest(&folder)?;
            programs(&folder, &of_member).into_iter().next()
        })
    });
    let named = manifest.package.map(|package| package.name);
    let named = named.filter(|name| is_name(name));
    Some(program.or(named).unwrap_or_else(|| "app".to_owned()))
}

fn manifest(folder: &Path) -> Option<CargoManifest> {
    let text = files::read_text(&folder.join("Cargo.toml"), LARGEST).ok()?;
    toml::from_str(text.trim_start_matches('\u{feff}')).ok()
}

/// The programs of a package by Cargo's own rules: the one that `cargo run` starts first, then the
/// one of the package's name.
fn programs(folder: &Path, manifest: &CargoManifest) -> Vec<String> {
    let Some(package) = &manifest.package else {
        return Vec::new();
    };
    let declared = manifest.bin.iter();
    let mut names: BTreeSet<String> = declared.filter_map(|bin| bin.name.clone()).collect();
    if package.autobins != Some(false) {
        if names.is_empty() && folder.join("src/main.rs").is_file() {
            names.insert(package.name.clone());
        }
        names.extend(found(&folder.join("src/bin")));
    }

    names.retain(|name| is_name(name));
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_by_key(|name| {
        let is_run = package.default_run.as_ref() == Some(name);
        (!is_run, *name != package.name)
    });
    names
}

/// The programs of `src/bin`: a file or a folder each.
fn found(folder: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let path = entry.path();
        let is_program = match path.extension() {
            Some(extension) => extension == "rs" && path.is_file(),
            None => path.join("main.rs").is_file(),
        };
        let name = path.file_stem()?.to_str()?.to_owned();
        is_program.then_some(name)
    })
}

/// The folders of a workspace's members, those that a build is of by default first. Without a list
/// its members are those that its package depends on, which is any of them.
fn members(root: &Path, workspace: &Workspace) -> Vec<std::path::PathBuf> {
    let (all, first) = (globs(&workspace.members), globs(&workspace.default_members));
    let excluded = globs(&workspace.exclude);
    let walk = ignore::WalkBuilder::new(root).max_depth(Some(4)).build();
    let folders = walk.flatten().filter_map(|entry| {
        let path = entry.path();
        let relative = path.strip_prefix(root).ok()?.to_owned();
        let is_listed = workspace.members.is_empty() || all.is_match(&relative);
        let is_member = is_listed && !excluded.is_match(&relative);
        (is_member && path.join("Cargo.toml").is_file()).then_some(relative)
    });
    let mut folders: Vec<_> = folders.collect();
    folders.sort_by_key(|folder| (!first.is_match(folder), folder.clone()));
    folders.iter().map(|folder| root.join(folder)).collect()
}

fn globs(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
        if let Ok(glob) = Glob::new(pattern) {
            set.add(glob);
        }
    }
    set.build().unwrap_or_default()
}

/// Whether a program may be called so: it becomes a path in `shipit.yaml`.
fn is_name(name: &str) -> bool {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_');
    !name.is_empty() && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::init::tests::folder_with;

    fn of(files: &[(&str, &str)]) -> Option<String> {
        program(folder_with(files).path())
    }

    #[test]
    fn a_program_is_found_as_cargo_finds_it() {
        let package = "[package]\nname = \"shop\"\n";
        let main = ("src/main.rs", "");
        for (about, files, expected) in [
            ("no manifest", &[main][..], None),
            ("a package", &[("Cargo.toml", package), main], Some("shop")),
            (
                "a name behind a comment, in another form",
                &[
                    (
                        "Cargo.toml",
                        "# [package]\n[ package ]\n'name'='shop' # it\n",
                    ),
                    main,
                ],
                Some("shop"),
            ),
            (
                "another table that has a name",
                &[
                    (
                        "Cargo.toml",
                        "[package.metadata.x]\nname = \"no\"\n[package]\nname = \"shop\"\n",
                    ),
                    main,
                ],
                Some("shop"),
            ),
            (
                "a program of another name",
                &[
                    (
                        "Cargo.toml",
                        "[package]\nname = \"shop\"\n[[bin]]\nname = \"shop-server\"\npath = \"src/main.rs\"\n",
                    ),
                    main,
                ],
                Some("shop-server"),
            ),
            (
                "programs in a folder of their own",
                &[
                    ("Cargo.toml", package),
                    ("src/lib.rs", ""),
                    ("src/bin/web.rs", ""),
                    ("src/bin/admin/main.rs", ""),
                ],
                Some("admin"),
            ),
            (
                "the one that is run by default",
                &[
                    (
                        "Cargo.toml",
                        "[package]\nname = \"shop\"\ndefault-run = \"web\"\n",
                    ),
                    ("src/bin/web.rs", ""),
                    ("src/bin/admin.rs", ""),
                ],
                Some("web"),
            ),
            (
                "a workspace whose packages are anywhere",
                &[
                    (
                        "Cargo.toml",
                        "[workspace]\nmembers = [\"lib\", \"services/*\"]\n",
                    ),
                    ("lib/Cargo.toml", "[package]\nname = \"lib\"\n"),
                    ("lib/src/lib.rs", ""),
                    ("services/web/Cargo.toml", "[package]\nname = \"web\"\n"),
                    ("services/web/src/main.rs", ""),
                ],
                Some("web"),
            ),
            (
                "its default member",
                &[
                    (
                        "Cargo.toml",
                        "[workspace]\nmembers = [\"a\", \"b\"]\ndefault-members = [\"b\"]\n",
                    ),
                    ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
                    ("a/src/main.rs", ""),
                    ("b/Cargo.toml", "[package]\nname = \"b\"\n"),
                    ("b/src/main.rs", ""),
                ],
                Some("b"),
            ),
            (
                "a package whose program is another member's",
                &[
                    (
                        "Cargo.toml",
                        "[package]\nname = \"root\"\n[workspace]\nmembers = [\"cli\"]\n",
                    ),
                    ("src/lib.rs", ""),
                    ("cli/Cargo.toml", "[package]\nname = \"cli\"\n"),
                    ("cli/src/main.rs", ""),
                ],
                Some("cli"),
            ),
            (
                "a name that is none",
                &[("Cargo.toml", "[package]\nname = \"../x\"\n"), main],
                Some("app"),
            ),
            (
                "a broken manifest",
                &[("Cargo.toml", "[package\n"), main],
                None,
            ),
        ] {
            assert_eq!(of(files).as_deref(), expected, "{about}");
        }
    }
}
