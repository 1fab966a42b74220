//! Where the objects of a user's own manifests are written, for what a server says of them later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::schema::Manifests;
use crate::desired::cluster::own::{self, Document};
use crate::desired::cluster::{Site, mark, yaml};
use crate::desired::{DesiredErrors, DesiredPlace};
use crate::model::{Manifest, ObjectKey, ServiceName, Slot};

/// Where an object is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    place: DesiredPlace,
    /// The text of its file as it was rendered, where that has the lines of the file.
    text: Option<Arc<str>>,
}

impl Written {
    /// Where a field of it is written, or the nearest thing above it; the field as a server writes
    /// its path: `.spec.template.spec.containers[name="web"].image`.
    #[must_use]
    pub fn place(&self, field: Option<&str>) -> DesiredPlace {
        match (&self.place, &self.text, field) {
            (DesiredPlace::File { path, line }, Some(text), Some(field)) => file(
                path.clone(),
                yaml::line_of(text, *line, field).unwrap_or(*line),
            ),
            (place, ..) => place.clone(),
        }
    }
}

fn file(path: PathBuf, line: usize) -> DesiredPlace {
    DesiredPlace::File { path, line }
}

/// Where each object of an environment is written, those of its services in both slots. What
/// shipit makes itself is nowhere.
pub(in crate::desired) fn places(
    site: &Site<'_>,
) -> Result<BTreeMap<ObjectKey, Written>, DesiredErrors> {
    let mut all = BTreeMap::new();
    if let Some(manifests) = &site.configuration.manifests {
        let documents = own::documents(site, None, manifests, Slot::Blue, "manifests")?;
        let (mut objects, written) = settled(site, documents, &site.namespaces.home);
        for object in &mut objects {
            mark::common(site, object);
        }
        all.extend(objects.iter().map(Manifest::key).zip(written));
    }

    let services = site.configuration.services.iter();
    for (name, manifests) in
        services.filter_map(|(name, service)| Some((name, service.manifests.as_ref()?)))
    {
        for slot in Slot::ALL {
            all.extend(of_service(site, name, manifests, slot)?);
        }
    }
    Ok(all)
}

fn of_service(
    site: &Site<'_>,
    name: &ServiceName,
    manifests: &Manifests,
    slot: Slot,
) -> Result<Vec<(ObjectKey, Written)>, DesiredErrors> {
    let at = format!("services.{name}.manifests");
    let documents = own::documents(site, Some(name), manifests, slot, &at)?;
    let (mut objects, written) = settled(site, documents, &site.namespaces.slots[&slot]);
    mark::mark(site, name, slot, &mut objects);
    Ok(objects.iter().map(Manifest::key).zip(written).collect())
}

/// The objects in their namespaces, and in the same order where they are written.
fn settled(
    site: &Site<'_>,
    documents: Vec<Document>,
    namespace: &str,
) -> (Vec<Manifest>, Vec<Written>) {
    let pairs = documents.into_iter().map(|document| {
        let Document {
            mut manifest,
            origin: place,
            text,
            ..
        } = document;
        mark::settle(site, &mut manifest, namespace);
        (manifest, Written { place, text })
    });
    pairs.unzip()
}
