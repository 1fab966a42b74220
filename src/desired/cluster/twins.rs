//! One object, one place in the configuration: what two places would make, each would undo for the
//! other.

use std::collections::BTreeMap;

use crate::desired::DesiredError;
use crate::desired::cluster::Site;
use crate::model::desired::DesiredService;
use crate::model::route::Route;
use crate::model::{Manifest, ObjectKey, ServiceName};

/// Refuses an object that two of the services, the environment and shipit itself would make.
pub(super) fn refuse(
    site: &Site<'_>,
    own: &[Manifest],
    services: &BTreeMap<ServiceName, DesiredService>,
) -> Result<(), DesiredError> {
    let mut makers: BTreeMap<ObjectKey, String> = BTreeMap::new();
    for (key, maker) in made(own, services) {
        if is_record(site, &key) {
            return Err(twice(
                &key,
                &maker,
                "shipit's own record of the environment",
            ));
        }
        let short = key.clone();
        if let Some(other) = makers
            .insert(key, maker.clone())
            .filter(|other| *other != maker)
        {
            return Err(twice(&short, &maker, &other));
        }
    }
    Ok(())
}

fn twice(key: &ObjectKey, one: &str, other: &str) -> DesiredError {
    let namespace = key.namespace.as_deref();
    let place = namespace
        .map(|name| format!(" in {name}"))
        .unwrap_or_default();
    DesiredError::new(
        format!("{one}: {}{place} is {other}, too", key.short()),
        "an object is made by one of them: remove one, or give it another name",
    )
}

/// Every object that would be made, and by what.
fn made<'a>(
    own: &'a [Manifest],
    services: &'a BTreeMap<ServiceName, DesiredService>,
) -> impl Iterator<Item = (ObjectKey, String)> + 'a {
    let own = own
        .iter()
        .map(|manifest| (manifest.key(), "the environment's own object".to_owned()));
    let of_services = services.iter().flat_map(|(name, service)| {
        let objects = service.workload.all_objects();
        let objects =
            objects.map(move |object| (object.key(), format!("an object of service {name}")));
        let route = service.route.iter().filter_map(Route::objects);
        let ways = route.flat_map(|route| route.fixed.iter().chain([&route.off]));
        let ways =
            ways.map(move |object| (object.key(), format!("the entry point of service {name}")));
        objects.chain(ways)
    });
    own.chain(of_services)
}

/// Whether shipit keeps something of its own under this name.
fn is_record(site: &Site<'_>, key: &ObjectKey) -> bool {
    let name = format!("shipit-{}-{}", site.project, site.environment);
    let state = format!("shipit-state-{}-{}", site.project, site.environment);
    let is_home = key.namespace.as_deref() == Some(site.namespaces.home.as_str());
    is_home
        && match (key.group(), key.kind.as_str()) {
            ("", "ConfigMap") | ("coordination.k8s.io", "Lease") => {
                key.name == name || key.name == state
            }
            ("", "Secret") => [name, state]
                .iter()
                .any(|name| key.name.starts_with(&format!("{name}-"))),
            _ => false,
        }
}
