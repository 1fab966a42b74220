//! Objects of slots, shown to the server before they are made: what it would warn of. What makes pods is asked about,
//! for policies about pods only warn of it, and refuse the pods themselves later.

use futures_util::future::join_all;

use crate::driver::cluster::kubernetes::api::{Api, Fault, How};
use crate::driver::cluster::kubernetes::finish::shared;
use crate::model::Manifest;
use crate::model::object::{RELEASE, rewrite};
use crate::port::engine::EngineError;

/// Asks by dry runs. A refusal is nothing that is known for certain yet: the image, the secrets and the objects that
/// come before are not there.
pub(super) async fn ask(api: &Api, set: &str, objects: &[Manifest]) -> Result<(), EngineError> {
    let mut wanted: Vec<Manifest> = objects.iter().map(|object| shared(object, set)).collect();
    wanted.retain_mut(|object| object.pod_template().is_some());
    for object in &mut wanted {
        object.edit(|body| {
            rewrite(body, &|text| {
                text.contains(RELEASE).then(|| text.replace(RELEASE, "0"))
            });
        });
    }
    let how = How {
        dry_run: true,
        force: true,
    };
    let asked = wanted.iter().map(|object| api.apply(object.body(), how));
    for answer in join_all(asked).await {
        if let Err(fault @ (Fault::LockLost(_) | Fault::Unreachable { .. })) = answer {
            return Err(fault.while_("asking what the server would say"));
        }
    }
    Ok(())
}
