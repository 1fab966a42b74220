//! Whether a client may do something in an environment.

use jiff::Timestamp;

use crate::model::client::{Client, Verb};
use crate::model::glob::stands_for;
use crate::model::job::Lane;

/// Why a client may not; none when it may. What is not allowed is forbidden.
#[must_use]
pub fn refusal(client: &Client, verb: Verb, lane: &Lane, now: Timestamp) -> Option<String> {
    let name = &client.name;
    if let Some(reason) = invalid(client, now) {
        return Some(reason);
    }
    if !client.may.contains(&verb) {
        return Some(format!("the client {name} may not {verb}"));
    }
    let place = lane.to_string();
    if !client.within.iter().any(|glob| stands_for(glob, &place)) {
        return Some(format!("the client {name} may not {verb} in {place}"));
    }
    None
}

/// Why a client is none any more.
#[must_use]
pub fn invalid(client: &Client, now: Timestamp) -> Option<String> {
    let name = &client.name;
    if client.revoked.is_some() {
        return Some(format!("the client {name} is revoked"));
    }
    (client.expires <= now).then(|| format!("the client {name} was valid until {}", client.expires))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::Proof;

    #[test]
    fn a_client_may_what_it_was_given_where_it_was_given_it_and_no_longer() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let lane = |environment: &str| Lane {
            project: "shop".parse().expect("a name"),
            environment: environment.parse().expect("a name"),
        };
        let client = Client {
            name: "jenkins".to_owned(),
            proof: Proof::Token,
            fingerprint: String::new(),
            may: vec![Verb::Deploy],
            within: vec!["shop/staging".to_owned(), "other/*".to_owned()],
            issued: at(0),
            expires: at(100),
            revoked: None,
        };
        assert_eq!(
            refusal(&client, Verb::Deploy, &lane("staging"), at(99)),
            None
        );
        let refused = |client: &Client, verb, environment: &str, now| {
            refusal(client, verb, &lane(environment), at(now)).expect("it may not")
        };
        assert!(refused(&client, Verb::Cancel, "staging", 1).contains("may not cancel"));
        assert!(refused(&client, Verb::Deploy, "production", 1).contains("in shop/production"));
        assert!(refused(&client, Verb::Deploy, "staging", 100).contains("valid until"));
        let revoked = Client {
            revoked: Some(at(1)),
            ..client
        };
        assert!(refused(&revoked, Verb::Deploy, "staging", 2).contains("revoked"));
    }
}
