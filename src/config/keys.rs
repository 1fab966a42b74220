//! The public keys that checks name: they are read with the configuration, so that a plan has the
//! keys themselves.

use std::path::Path;

use crate::config::findings::Findings;
use crate::config::node::Node;
use crate::config::problem::Problem;
use crate::config::schema::EnvironmentConfig;
use crate::files;
use crate::model::check::Check;
use crate::model::signature::PublicKey;

/// The largest file that is read for a key.
const LIMIT: u64 = 64 << 10;

/// Reads the keys of an environment's checks, and says which cannot be used.
pub(super) fn read(root: &Path, environment: &mut EnvironmentConfig, tree: &Node) -> Vec<Problem> {
    let mut findings = Findings::of(tree);
    let promotion = &mut environment.promotion;
    for (stage, checks) in [
        ("before", &mut promotion.before),
        ("after", &mut promotion.after),
    ] {
        for (index, check) in checks.iter_mut().enumerate() {
            let Check::Signature(check) = check else {
                continue;
            };
            for (number, key) in check.keys.iter_mut().enumerate() {
                match text(&root.join(&key.file)) {
                    Ok(pem) => key.pem = pem,
                    Err(reason) => {
                        let (index, number) = (index.to_string(), number.to_string());
                        let path = ["promotion", stage, &index, "signature", "keys", &number];
                        let help = "name a file that `cosign generate-key-pair` or `cosign \
                            public-key` wrote, relative to the project's folder";
                        findings.add(&path, format!("{}: {reason}", key.file.display()), help);
                    }
                }
            }
        }
    }

    findings.done()
}

/// A key's text, when it is one.
fn text(file: &Path) -> Result<String, String> {
    let text = files::read_text(file, LIMIT).map_err(|error| error.to_string())?;
    PublicKey::read(&text).map(|_| text)
}
