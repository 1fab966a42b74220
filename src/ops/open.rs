//! `open`: where a release answers.

use std::net::SocketAddr;

use crate::config::schema::HostCluster;
use crate::model::outcome::Url;
use crate::model::{Role, Slot};
use crate::ops::{Error, Session};

/// The addresses of what has live traffic, or of what is in a slot.
pub async fn urls(session: &Session, slot: Option<Slot>) -> Result<Vec<Url>, Error> {
    let (scope, engine) = (session.scope(), &session.ports.engine);
    let active = engine.overview(&scope).await?.traffic.slot();
    let role = match slot {
        Some(slot) if active != Some(slot) => Role::Preview,
        _ => Role::Active,
    };
    let urls = engine.urls(&scope, role).await?;
    let is_asked = |url: &Url| slot.is_none_or(|slot| url.slot == slot);
    let asked = urls.into_iter().filter(is_asked);
    let urls: Vec<Url> = asked.map(Url::without_trust).collect();
    if urls.is_empty() {
        return Err(Error::Usage {
            what: slot.map_or_else(
                || "nothing is live".to_owned(),
                |slot| format!("nothing answers in {slot}"),
            ),
            help: "`shipit status` shows what runs where".to_owned(),
        });
    }
    let host = session.configuration()?.cluster.host();
    if let Some(machine) = host.and_then(HostCluster::elsewhere)
        && let Some(address) = urls.iter().find_map(loopback)
    {
        return Err(Error::Usage {
            what: format!("{address} is the loopback of {machine}, and not this machine's"),
            help: format!(
                "`ssh -L {}:{address} {}` brings it here; `traffic.address` opens the listener",
                address.port(),
                machine.host()
            ),
        });
    }
    Ok(urls)
}

/// The address of a URL that its own machine alone reaches.
fn loopback(url: &Url) -> Option<SocketAddr> {
    let (_, address) = url.url.split_once("://")?;
    let address: SocketAddr = address.parse().ok()?;
    address.ip().is_loopback().then_some(address)
}
