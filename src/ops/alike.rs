//! `diff ENV --with ENV`: whether two environments are alike. Looks, starts no agent, and changes
//! nothing.

use futures_util::future::join_all;

use crate::model::comparison::{Comparison, FieldPattern};
use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::secret::HashKey;
use crate::ops::{Error, Session, wiring};
use crate::plan::{self, Hashes, Side};

/// Compares the environments of two sessions.
pub async fn alike(session: &Session, other: &Session) -> Result<Comparison, Error> {
    if other.environment == session.environment {
        return Err(Error::Usage {
            what: format!("{} would be compared with itself", other.environment),
            help: "name another environment with --with".to_owned(),
        });
    }

    // What a hash tells is only whether two values are the same, and only to this run.
    let key = HashKey::random();
    let (left, right) = tokio::try_join!(look(session, &key), look(other, &key))?;
    let may_differ = [may_differ(session)?, may_differ(other)?].concat();
    Ok(plan::alike(left.side(), right.side(), &may_differ))
}

fn may_differ(session: &Session) -> Result<Vec<FieldPattern>, Error> {
    Ok(session.configuration()?.may_differ.clone())
}

/// What is known of one environment.
struct Looked {
    desired: Desired,
    facts: Facts,
    secrets: Hashes,
}

impl Looked {
    const fn side(&self) -> Side<'_> {
        Side {
            desired: &self.desired,
            facts: &self.facts,
            secrets: &self.secrets,
        }
    }
}

async fn look(session: &Session, key: &HashKey) -> Result<Looked, Error> {
    let desired = session.desired().await?;
    let engine = wiring::looking_engine(session)?;
    let facts = engine.observe(&session.scope()).await?;
    let configured = session.configuration()?.secrets.iter();
    let asked = configured.filter_map(|(name, secret)| {
        let from = secret.source()?;
        Some(async move {
            let read = session.ports.secrets.read(name, &from).await;
            let hash = read.map(|read| key.hash(read.value.expose().as_bytes()));
            (name.clone(), hash.map_err(|error| error.reason))
        })
    });
    let secrets = join_all(asked).await.into_iter().collect();
    Ok(Looked {
        desired,
        facts,
        secrets,
    })
}
