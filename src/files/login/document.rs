//! The file that `docker login` writes, and that podman and skopeo write alike.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Credentials;

/// Docker's own registry: it has many names, and `docker login` writes this one.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    auths: Option<BTreeMap<String, Option<Auth>>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct Auth {
    #[serde(rename = "auth")]
    both: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

/// What the file has for a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing.
    Nothing,
    /// The login itself.
    Written(Credentials),
    /// The program that has it, and the name under which that knows the registry.
    Helper {
        /// As the file names it; whether that is a name at all was not looked at.
        name: String,
        /// The registry's name there.
        server: String,
    },
}

/// What the file has for a registry; or why it cannot be used.
pub(super) fn entry(bytes: &[u8], registry: &str) -> Result<Entry, String> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not docker's: {error}"))?;
    let wanted = canonical(registry);
    let server = if wanted == canonical(HUB) {
        HUB.to_owned()
    } else {
        registry.to_owned()
    };

    let helpers = document.cred_helpers.unwrap_or_default();
    let helper = helpers
        .iter()
        .find(|(key, name)| canonical(key) == wanted && !name.is_empty());
    if let Some((_, name)) = helper {
        let name = name.clone();
        return Ok(Entry::Helper { name, server });
    }

    let auths = document.auths.unwrap_or_default();
    let exact = auths.get(registry).into_iter();
    let alike = auths.iter().filter(|(key, _)| canonical(key) == wanted);
    for auth in exact.chain(alike.map(|(_, auth)| auth)).flatten() {
        if let Some(credentials) = credentials(auth)? {
            return Ok(Entry::Written(credentials));
        }
    }

    match document.creds_store.filter(|name| !name.is_empty()) {
        Some(name) => Ok(Entry::Helper { name, server }),
        None => Ok(Entry::Nothing),
    }
}

/// What the file itself has logins for: registries and parts of them.
pub(super) fn logins(bytes: &[u8]) -> Vec<String> {
    let document = serde_json::from_slice::<Document>(bytes);
    let auths = document.ok().and_then(|document| document.auths);
    let auths = auths.unwrap_or_default().into_iter();
    let has_one = |auth: &Option<Auth>| {
        let auth = auth.as_ref();
        auth.is_some_and(|auth| !matches!(credentials(auth), Ok(None)))
    };
    auths
        .filter_map(|(part, auth)| has_one(&auth).then_some(part))
        .collect()
}

/// One entry; none when it is there for its own sake, as docker leaves it beside a store.
fn credentials(auth: &Auth) -> Result<Option<Credentials>, String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = given(&auth.identitytoken) {
        return Ok(Some(Credentials::Identity(token)));
    }
    if let Some(token) = given(&auth.registrytoken) {
        return Ok(Some(Credentials::Token(token)));
    }
    if let Some(text) = given(&auth.both) {
        return decode(&text).map(Some);
    }
    let both = given(&auth.username).zip(given(&auth.password));
    Ok(both.map(|(user, password)| Credentials::Password { user, password }))
}

/// `USER:PASSWORD` in base64. The error says nothing of it.
fn decode(text: &str) -> Result<Credentials, String> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, lenient).decode(text.trim());
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let both = text.as_ref().and_then(|text| text.split_once(':'));
    let (user, password) = both.ok_or("an `auth` in it is not USER:PASSWORD in base64")?;
    Ok(Credentials::Password {
        user: user.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

/// The host that a key means. A key with a path is for that path alone, and means no host, but for
/// those that docker has written with their scheme since its first days.
fn canonical(key: &str) -> String {
    let bare = ["https://", "http://"]
        .iter()
        .find_map(|scheme| key.strip_prefix(scheme))
        .map_or_else(
            || key.strip_suffix('/').unwrap_or(key),
            |rest| rest.split('/').next().unwrap_or(rest),
        );
    match bare {
        "docker.io" | "registry-1.docker.io" | "index.docker.io" => "index.docker.io".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn password(user: &str, password: &str) -> Entry {
        Entry::Written(Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    #[test]
    fn docker_hub_is_known_by_all_of_its_names() {
        let text = json!({"auths": {HUB: {"auth": "a2ltOnB3"}}}).to_string();
        for name in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            let found = entry(text.as_bytes(), name).expect("it can be read");
            assert_eq!(found, password("kim", "pw"), "{name}");
        }
        let store = json!({"credsStore": "s"}).to_string();
        let found = entry(store.as_bytes(), "docker.io").expect("it can be read");
        let (name, server) = ("s".to_owned(), HUB.to_owned());
        assert_eq!(found, Entry::Helper { name, server });
    }

    #[test]
    fn a_login_for_a_part_of_a_registry_is_found_for_that_part() {
        let text = json!({"auths": {
            "shop.example.com/team": {"auth": "a2ltOnB3"}, "shop.example.com/other": {},
        }});
        let text = text.to_string();
        let part = "shop.example.com/team";
        assert_eq!(logins(text.as_bytes()), [part]);
        let found = entry(text.as_bytes(), part).expect("it can be read");
        assert_eq!(found, password("kim", "pw"));
    }

    #[test]
    fn a_login_for_a_part_of_a_registry_is_not_given_to_all_of_it() {
        let text = json!({"auths": {"shop.example.com/team": {"auth": "a2ltOnB3"}}}).to_string();
        let found = entry(text.as_bytes(), "shop.example.com").expect("it can be read");
        assert_eq!(found, Entry::Nothing);
    }

    #[test]
    fn an_entry_without_a_login_leads_to_the_store() {
        let text = json!({"auths": {"a.example.com": {}}, "credsStore": "s"}).to_string();
        let found = entry(text.as_bytes(), "a.example.com").expect("it can be read");
        let (name, server) = ("s".to_owned(), "a.example.com".to_owned());
        assert_eq!(found, Entry::Helper { name, server });
    }

    #[test]
    fn every_form_of_a_login_is_read() {
        let cases = [
            (json!({"auth": "a2ltOnA6dw"}), password("kim", "p:w")),
            (
                json!({"username": "kim", "password": "pw"}),
                password("kim", "pw"),
            ),
            (
                json!({"auth": "a2ltOnB3", "identitytoken": "t"}),
                Entry::Written(Credentials::Identity("t".to_owned())),
            ),
            (
                json!({"registrytoken": "t"}),
                Entry::Written(Credentials::Token("t".to_owned())),
            ),
        ];
        for (auth, wanted) in cases {
            for key in ["https://a.example.com/v2/", "a.example.com/"] {
                let text = json!({"auths": {key: auth}}).to_string();
                let found = entry(text.as_bytes(), "a.example.com").expect("it can be read");
                assert_eq!(found, wanted, "{text}");
            }
        }
    }

    #[test]
    fn a_password_that_cannot_be_read_is_not_in_the_error() {
        let text = json!({"auths": {"a.example.com": {"auth": "aHVudGVyMg=="}}}).to_string();
        let said = entry(text.as_bytes(), "a.example.com").expect_err("no colon in it");
        assert!(
            !said.contains("hunter2") && !said.contains("aHVudGVyMg"),
            "{said}"
        );
    }

    proptest! {
        #[test]
        fn no_file_makes_it_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = entry(&bytes, "a.example.com");
        }

        #[test]
        fn no_document_makes_it_fall_over(
            key in "(https://)?[a-z./:]{0,12}", auth in "[A-Za-z0-9+/=:]{0,12}", store in "\\PC{0,6}",
        ) {
            let auth = json!({"auth": auth, "identitytoken": null, "username": "u"});
            let text = json!({"auths": {key.clone(): auth, "x": null}, "credHelpers": {key.clone(): store}, "credsStore": store});
            let _ = entry(text.to_string().as_bytes(), &key);
        }
    }
}
