//! Manifests and indexes, as foreign documents: read up to a bound on what they are made of, for a
//! few bytes of JSON can become many of memory.

use oci_spec::distribution::Reference;
use serde_json::Value;

use crate::driver::registry::oci::fault::malformed;
use crate::port::registry::{Blob, RegistryError};

/// The most values in one document: an index of thousands of images has fewer.
const MOST_VALUES: usize = 200_000;
/// The most layers of one image; no runtime takes a quarter of that.
const MOST_LAYERS: usize = 512;
/// The largest blob that an image may have.
const LARGEST: u64 = 64 << 30;

/// A manifest or an index.
pub(super) fn read(image: &Reference, bytes: &[u8]) -> Result<Value, RegistryError> {
    parse(bytes).map_err(|reason| malformed(&image.whole(), &reason))
}

/// JSON that stays small.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    // Each value but the first comes after one of these, in a text or outside of it.
    let values = bytes.iter().filter(|byte| b",[{:".contains(byte)).count();
    if values > MOST_VALUES {
        return Err(format!("it has more than {MOST_VALUES} values"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// A manifest's layers.
pub(super) fn blobs(manifest: &Value) -> Result<Vec<Blob>, RegistryError> {
    let layers = manifest["layers"].as_array().map_or(&[][..], Vec::as_slice);
    if layers.len() > MOST_LAYERS {
        let reason = format!("it has {} layers, more than {MOST_LAYERS}", layers.len());
        return Err(malformed("an image", &reason));
    }
    layers.iter().map(blob).collect()
}

/// What a descriptor says of a blob.
pub(super) fn blob(descriptor: &Value) -> Result<Blob, RegistryError> {
    let name: String = text(&descriptor["digest"]).chars().take(100).collect();
    let digest = name
        .parse()
        .map_err(|_| malformed(&name, &"only sha256 is understood"))?;
    let size = descriptor["size"].as_u64();
    let size = size.ok_or_else(|| malformed(&name, &"nothing says how large it is"))?;
    if size > LARGEST {
        let reason = format!("it says to have {size} bytes, more than {LARGEST}");
        return Err(malformed(&name, &reason));
    }
    Ok(Blob {
        media_type: text(&descriptor["mediaType"]).to_owned(),
        digest,
        size,
        file: None,
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    if let Ok(document) = parse(bytes) {
        let _ = blobs(&document);
        let _ = blob(&document["config"]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::Digest;

    #[test]
    fn a_document_of_many_values_is_not_read() {
        let many = format!("[{}0]", "0,".repeat(MOST_VALUES));
        let reason = parse(many.as_bytes()).expect_err("too many");
        assert!(reason.contains("values"), "{reason}");
        assert!(parse("[".repeat(100_000).as_bytes()).is_err(), "too deep");
    }

    #[test]
    fn what_an_image_says_of_its_blobs_is_held_to_a_bound() {
        let digest = Digest::of(b"x");
        let fits = json!({"digest": digest, "size": 10});
        assert_eq!(blob(&fits).expect("it fits").size, 10);
        for wrong in [
            json!({"digest": digest, "size": u64::MAX}),
            json!({"digest": digest, "size": -1}),
            json!({"digest": digest, "size": "10"}),
            json!({"digest": digest}),
            json!({"digest": "sha512:00", "size": 1}),
            json!({"digest": "../../etc", "size": 1}),
            json!(null),
        ] {
            assert!(blob(&wrong).is_err(), "{wrong}");
        }
        let many = json!({"layers": vec![fits; MOST_LAYERS + 1]});
        assert!(blobs(&many).is_err());
    }

    proptest! {
        #[test]
        fn no_document_makes_it_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            hostile(&bytes);
        }

        #[test]
        fn no_descriptor_makes_it_fall_over(digest in "\\PC{0,80}", size in any::<i64>(), kind in "\\PC{0,9}") {
            let layer = json!({"digest": digest, "size": size, "mediaType": kind});
            let _ = blobs(&json!({"layers": [layer, 7, null]}));
        }
    }
}
