//! What a repository's files ask for, compared with what the operator of a server allows.

use crate::model::bounds::{Allowances, Bounds, Commands};
use crate::model::glob::stands_for;

/// What the files of a repository ask for, each with the key that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Secrets by their source: `env:SHOP_DB`, `file:/etc/shadow`.
    pub secrets: Vec<Want>,
    /// Registries: `layout`, `ecr`, `registry.example.com/shop/web`.
    pub registries: Vec<Want>,
    /// Clusters: `host`, `eks`, `kubernetes`, `kubernetes:CONTEXT`.
    pub clusters: Vec<Want>,
    /// What runs as the server's user.
    pub commands: Vec<Want>,
}

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The key that asks: `environments/staging.yaml secrets.db`.
    pub key: String,
    /// What.
    pub what: String,
}

/// Why what is asked for is not allowed; empty where all of it is.
#[must_use]
pub fn refusals(asked: &Asked, bounds: &Bounds) -> Vec<String> {
    let allowed = match bounds {
        Bounds::Everything(_) => return Vec::new(),
        Bounds::Only(allowed) => allowed,
    };
    let Allowances {
        secrets,
        registries,
        clusters,
        commands,
    } = allowed;

    let mut refused = Vec::new();
    refuse(&mut refused, &asked.secrets, "may.secrets", |want| {
        secrets.iter().any(|glob| is_of_glob(glob, want))
    });
    refuse(&mut refused, &asked.registries, "may.registries", |want| {
        registries.iter().any(|prefix| is_below(prefix, want))
    });
    refuse(&mut refused, &asked.clusters, "may.clusters", |want| {
        let kind = want.split(':').next().unwrap_or(want);
        clusters.iter().any(|one| one == want || one == kind)
    });
    refuse(
        &mut refused,
        &asked.commands,
        "may.commands",
        |_| match commands {
            Commands::Never => false,
            Commands::Allowed => true,
        },
    );
    refused
}

fn refuse(refused: &mut Vec<String>, wants: &[Want], key: &str, is_allowed: impl Fn(&str) -> bool) {
    let not_allowed = wants.iter().filter(|want| !is_allowed(&want.what));
    refused.extend(
        not_allowed.map(|want| format!("{}: {} is not in the server's {key}", want.key, want.what)),
    );
}

/// A path with `..` in it is of no glob: it leads elsewhere than it seems to.
fn is_of_glob(glob: &str, want: &str) -> bool {
    let is_plain = !want.split(['/', ':']).any(|part| part == "..");
    is_plain && stands_for(glob, want)
}

/// Whether a repository is one of those whose names begin so, by whole parts of the name.
fn is_below(prefix: &str, want: &str) -> bool {
    let rest = want.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(secret: &str, registry: &str, cluster: &str, commands: &[&str]) -> Asked {
        let want = |what: &str| Want {
            key: "k".to_owned(),
            what: what.to_owned(),
        };
        Asked {
            secrets: vec![want(secret)],
            registries: vec![want(registry)],
            clusters: vec![want(cluster)],
            commands: commands.iter().map(|what| want(what)).collect(),
        }
    }

    #[test]
    fn nothing_is_allowed_that_is_not_named() {
        let bounds = Bounds::Only(Allowances {
            secrets: vec![
                "env:SHOP_*".to_owned(),
                "file:/run/secrets/shop/*".to_owned(),
            ],
            registries: vec!["registry.example.com/shop".to_owned()],
            clusters: vec!["kubernetes:prod".to_owned()],
            commands: Commands::Never,
        });
        let good = asked(
            "env:SHOP_DB",
            "registry.example.com/shop/web",
            "kubernetes:prod",
            &[],
        );
        assert_eq!(refusals(&good, &bounds), [""; 0]);

        for secret in [
            "env:HOME",
            "file:/etc/shadow",
            "file:/run/secrets/shop/../x",
            "file:/run/secrets/shop/a/b",
        ] {
            let wrong = asked(secret, "registry.example.com/shop", "kubernetes:prod", &[]);
            assert_eq!(refusals(&wrong, &bounds).len(), 1, "{secret}");
        }
        for registry in [
            "registry.example.com/shopping",
            "evil.example.com/shop",
            "layout",
        ] {
            let wrong = asked("env:SHOP_A", registry, "kubernetes:prod", &[]);
            assert_eq!(refusals(&wrong, &bounds).len(), 1, "{registry}");
        }
        let wrong = asked(
            "env:SHOP_A",
            "registry.example.com/shop",
            "kubernetes",
            &["build.run"],
        );
        assert_eq!(refusals(&wrong, &bounds).len(), 2);
        assert_eq!(
            refusals(&wrong, &Bounds::Everything("everything".to_owned())),
            [""; 0]
        );
    }
}
