//! Maps in which one of several keys says the form: a secret comes from a `file`, a variable
//! (`env`) or a program (`run`), a health check asks a `path` or is a command (`run`).
//!
//! An environment that says one form means it instead of the project's. Both would stand in the
//! merged map, so the project's is taken out first ([`give_way`]).

use crate::config::node::{Node, Value};

/// The forms that a map may have.
struct Choice {
    /// Where such maps are; `*` is any key.
    at: &'static [&'static str],
    forms: &'static [Form],
}

/// One form: the key that says it, and the keys that have a meaning with it alone.
struct Form {
    key: &'static str,
    own: &'static [&'static str],
}

const fn form(key: &'static str) -> Form {
    Form { key, own: &[] }
}

const SECRET: &[Form] = &[
    form("file"),
    form("env"),
    Form {
        key: "run",
        own: &["timeout"],
    },
    form("sops"),
    form("vault"),
    form("aws_secret"),
    form("aws_parameter"),
    form("kubernetes"),
];

const VAULT_AUTH: &[Form] = &[
    form("token"),
    form("approle"),
    form("kubernetes"),
    form("jwt"),
];

const CREDENTIAL: &[Form] = &[form("env"), form("file")];

const FILE: &[Form] = &[
    Form {
        key: "file",
        own: &["template"],
    },
    form("secret"),
];

const HEALTH: &[Form] = &[form("path"), form("run")];

const MANIFESTS: &[Form] = &[
    form("kustomize"),
    Form {
        key: "helm",
        own: &["values", "hooks", "crds"],
    },
];

const EXPIRY: &[Form] = &[form("retention"), form("lifecycle_policy")];

const IMAGE: &[Form] = &[form("build"), form("image")];

const IMAGE_PARTS: &[Form] = &[
    Form {
        key: "name",
        own: &["tag", "digest"],
    },
    form("from"),
];

const CHOICES: &[Choice] = &[
    Choice {
        at: &["services", "*"],
        forms: IMAGE,
    },
    Choice {
        at: &["services", "*", "image"],
        forms: IMAGE_PARTS,
    },
    Choice {
        at: &["secrets", "*"],
        forms: SECRET,
    },
    Choice {
        at: &["sources", "vault", "auth"],
        forms: VAULT_AUTH,
    },
    Choice {
        at: &["sources", "vault", "auth", "token"],
        forms: CREDENTIAL,
    },
    Choice {
        at: &["sources", "vault", "auth", "approle", "secret_id"],
        forms: CREDENTIAL,
    },
    Choice {
        at: &["sources", "vault", "auth", "jwt", "token"],
        forms: CREDENTIAL,
    },
    Choice {
        at: &["services", "*", "files", "*"],
        forms: FILE,
    },
    Choice {
        at: &["manifests"],
        forms: MANIFESTS,
    },
    Choice {
        at: &["services", "*", "manifests"],
        forms: MANIFESTS,
    },
    Choice {
        at: &["services", "*", "health"],
        forms: HEALTH,
    },
    Choice {
        at: &["services", "*", "health", "liveness"],
        forms: HEALTH,
    },
    Choice {
        at: &["registry"],
        forms: EXPIRY,
    },
];

/// Takes the forms out of the project's tree for which the environment says another.
pub(super) fn give_way(project: &mut Node, environment: &Node) {
    for choice in CHOICES {
        follow(choice.at, choice.forms, project, environment);
    }
}

/// Follows a path through both trees, as far as both have it.
fn follow(at: &[&str], forms: &[Form], project: &mut Node, environment: &Node) {
    let Some((name, rest)) = at.split_first() else {
        return choose(forms, project, environment);
    };
    let Value::Map(entries) = &mut project.value else {
        return;
    };

    for (key, below) in entries {
        if *name != "*" && *name != key.name {
            continue;
        }
        if let Some((_, over)) = environment.get(&key.name) {
            follow(rest, forms, below, over);
        }
    }
}

/// Leaves the environment's form alone in the project's map. Two of them are a fault of the
/// environment's own file, and stay for whoever reads the merged map.
fn choose(forms: &[Form], project: &mut Node, environment: &Node) {
    let is_said = |form: &&Form| {
        let entry = environment.get(form.key);
        entry.is_some_and(|(_, node)| node.value != Value::Null)
    };
    let mut said = forms.iter().filter(is_said);
    let (Some(chosen), None) = (said.next(), said.next()) else {
        return;
    };
    let Value::Map(entries) = &mut project.value else {
        return;
    };

    let others = forms.iter().filter(|form| form.key != chosen.key);
    let lost: Vec<&str> = others
        .flat_map(|form| form.own.iter().chain([&form.key]))
        .copied()
        .collect();
    // What the environment says itself is merged as anything else: `file: null` finds a key to take
    // away.
    entries.retain(|(key, _)| {
        !lost.contains(&key.name.as_str()) || environment.get(&key.name).is_some()
    });
}

/// The keys that say a form of the maps at a path, for tests that compare them with the types.
#[cfg(test)]
pub(super) fn keys_at(path: &[&str]) -> Vec<&'static str> {
    let here = CHOICES.iter().filter(|choice| choice.at == path);
    here.flat_map(|choice| choice.forms)
        .map(|form| form.key)
        .collect()
}
