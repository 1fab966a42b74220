//! Variables of a service, of which those that look like secrets become references.

use std::collections::BTreeMap;

use crate::discover::proposal::{Proposal, SecretProposal, ServiceProposal, ValueProposal};
use crate::discover::secret::looks_secret;
use crate::model::workload::{ABOUT_ITSELF, FILES_VARIABLE};

/// The secrets that were found, so that one value is one secret and two values are two. The values
/// themselves leave this type for nobody.
#[derive(Default)]
pub(super) struct Found {
    /// By the secret's name: what stands for its value.
    known: BTreeMap<String, String>,
}

impl Found {
    /// Adds a variable to a service: as it is, or as a secret. `None` for a value means that it
    /// comes from where the tool was started.
    pub fn variable(
        &mut self,
        proposal: &mut Proposal,
        (called, service): (&str, &mut ServiceProposal),
        name: &str,
        value: Option<&str>,
    ) {
        if !may_be_set(service, name) {
            return;
        }
        let Some(value) = value else {
            service.remark(format!(
                "{name} came from the environment of whoever started it: here it is a secret of \
                 the same name"
            ));
            let secret = self.secret(proposal, called, name, "\0from outside");
            service
                .env
                .insert(name.to_owned(), ValueProposal::Secret(secret));
            return;
        };
        if looks_secret(name, value) {
            service.remark(format!(
                "{name} looks like a secret: its value is not written here, and comes from the \
                 variable below `secrets:`"
            ));
            let secret = self.secret(proposal, called, name, value);
            service
                .env
                .insert(name.to_owned(), ValueProposal::Secret(secret));
            return;
        }
        if value.contains('\0') {
            return service.left_out(name, "no variable holds a NUL");
        }
        let value = ValueProposal::Plain(value.to_owned());
        service.env.insert(name.to_owned(), value);
    }

    /// Adds a variable whose value comes from a variable of another name.
    pub fn renamed(
        &mut self,
        proposal: &mut Proposal,
        (called, service): (&str, &mut ServiceProposal),
        name: &str,
        outside: &str,
    ) {
        if !may_be_set(service, name) {
            return;
        }
        let value = format!("\0from outside, as {outside}");
        let secret = self.secret(proposal, called, name, &value);
        let from = SecretProposal::Env(outside.to_owned());
        proposal.secrets.insert(secret.clone(), from);
        service
            .env
            .insert(name.to_owned(), ValueProposal::Secret(secret));
    }

    /// The name of a secret that is a file of this name: another file is another secret, however
    /// alike their names are.
    pub fn file(&mut self, proposal: &mut Proposal, called: &str, source: &str) -> String {
        self.secret(proposal, called, source, &of_file(source))
    }

    /// The secret that a file of this name has become.
    pub fn known_file(&self, source: &str) -> Option<&String> {
        let value = of_file(source);
        let mut known = self.known.iter();
        known.find_map(|(name, of)| (*of == value).then_some(name))
    }

    /// The name of a secret with this value: another service's, when that has the same one.
    fn secret(&mut self, proposal: &mut Proposal, called: &str, name: &str, value: &str) -> String {
        let own = secret_name(name);
        let of_service = secret_name(&format!("{called}_{name}"));
        let numbers = (2..).map(|number| format!("{of_service}_{number}"));
        let mut names = [own, of_service.clone()].into_iter().chain(numbers);
        let secret = names
            .find(|it| self.known.get(it).is_none_or(|known| known == value))
            .expect("some number is free");
        self.known.insert(secret.clone(), value.to_owned());
        let from = SecretProposal::Env(secret.to_uppercase());
        proposal.secrets.entry(secret.clone()).or_insert(from);
        secret
    }
}

/// What stands for the value of a file.
fn of_file(source: &str) -> String {
    format!("\0file {source}")
}

/// Whether a variable can be given to a service; where it cannot, that is said.
pub(super) fn may_be_set(service: &mut ServiceProposal, name: &str) -> bool {
    if name.is_empty() || name.contains(['=', '\0']) {
        service.left_out("a variable", &format!("`{name}` is no name of one"));
        return false;
    }
    if ABOUT_ITSELF.contains(&name) || name == FILES_VARIABLE {
        service.left_out(name, "shipit itself sets it");
        return false;
    }
    true
}

/// A secret's name, made of a variable's.
pub(super) fn secret_name(text: &str) -> String {
    let plain = |sign: char| {
        if sign.is_ascii_alphanumeric() {
            sign.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let name: String = text.chars().take(100).map(plain).collect();
    let starts = name.starts_with(|sign: char| sign.is_ascii_lowercase());
    if starts { name } else { format!("s_{name}") }
}
