//! Reading `server.yaml`.

use std::path::{Path, PathBuf};

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde::Deserialize as _;

use super::check::check;
use super::schema::ServerConfig;
use crate::config::de::Kind;
use crate::config::explained::describe;
use crate::config::findings::Findings;
use crate::config::node::{FILE_LIMIT, Node, parse};
use crate::config::problem::{ConfigError, File, Problem};
use crate::files;

/// The most faults that are shown at once.
const MOST: usize = 50;

/// A configuration, and where it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedServer {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub config: ServerConfig,
}

/// Reads a `server.yaml`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_server(path: &Path) -> Result<LoadedServer, ConfigError> {
    let name = path.display().to_string();
    let absent = |reason: String| {
        ConfigError::absent(
            &name,
            reason,
            "`shipit serve init` writes one; --config names another file",
        )
    };
    let bytes = files::read_if_there(path, FILE_LIMIT)
        .map_err(|error| absent(format!("{name} cannot be read: {error}")))?
        .ok_or_else(|| absent(format!("there is no {name}")))?;
    let text = String::from_utf8(bytes).map_err(|_| absent(format!("{name} is not UTF-8")))?;
    let file = File { name, text };
    match read(&file) {
        Ok(config) => Ok(LoadedServer {
            path: path.to_path_buf(),
            config,
        }),
        Err(problems) => Err(ConfigError::new(problems, &[file])),
    }
}

/// The configuration in a file. A node that does not fit is noted, taken out, and the rest is tried
/// again, so that all that is wrong is said at once.
fn read(file: &File) -> Result<ServerConfig, Vec<Problem>> {
    let whole = parse(&file.text, 0).map_err(|problem| vec![problem])?;
    let mut tree = whole.clone();
    let (mut problems, mut taken_out) = (Vec::new(), Vec::new());
    for _ in 0..MOST {
        let error = match ServerConfig::deserialize(&tree) {
            Ok(config) if problems.is_empty() => return checked(config, &whole),
            // What the rest says of itself is not sure without what was taken out.
            Ok(_) => break,
            Err(error) => error,
        };
        let path = error.path();
        // What is missing because it was taken out was said before.
        let is_known = match &error.kind {
            Kind::MissingField(field) => {
                let missing = [&path[..], &[(*field).to_owned()]].concat();
                taken_out
                    .iter()
                    .any(|out: &Vec<String>| out.starts_with(&missing))
            }
            _ => false,
        };
        if !is_known {
            problems.push(describe(&error, &whole));
        }
        if !tree.prune(&path) {
            break;
        }
        taken_out.push(path);
    }
    Err(problems)
}

fn checked(config: ServerConfig, tree: &Node) -> Result<ServerConfig, Vec<Problem>> {
    let mut findings = Findings::of(tree);
    check(&config, &mut findings);
    let problems = findings.done();
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

/// The schema of `server.yaml`.
#[must_use]
pub fn server_schema() -> Schema {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<ServerConfig>()
}
