//! Signatures of images, as `cosign sign --key` makes them: a payload under cosign's own tag or
//! among the referrers (sigstore/cosign, `specs/SIGNATURE_SPEC.md`), or a sigstore bundle with an
//! in-toto statement (DSSE).
//!
//! A registry is believed in nothing: what it has is compared with the keys here. Who signed, with
//! a key, is all that is asked; certificates and transparency logs are not looked at.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::model::Digest;
use crate::model::check::KeyFile;

/// The media type of a payload that is signed.
pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation that has the payload's signature.
pub const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What an artifact with such payloads is among the referrers.
pub const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// How the media types of sigstore bundles begin.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// A key that signatures are compared with.
#[derive(Debug, Clone)]
pub struct PublicKey(ParsedPublicKey);

impl PublicKey {
    /// From PEM: ECDSA with P-256 as cosign makes it, Ed25519, or RSA.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(pem: &str) -> Result<Self, String> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "there is no `-----BEGIN PUBLIC KEY-----` in it".to_owned())?;
        let algorithms: [&'static dyn VerificationAlgorithm; 3] = [
            &ECDSA_P256_SHA256_ASN1,
            &ED25519,
            &RSA_PKCS1_2048_8192_SHA256,
        ];
        let key = algorithms
            .into_iter()
            .find_map(|kind| ParsedPublicKey::new(kind, der.as_ref()).ok());
        key.map(Self).ok_or_else(|| {
            "it is a key of another kind than ECDSA P-256, Ed25519 or RSA".to_owned()
        })
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// What a registry has that may be an image's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureFound {
    /// Where it was, for people.
    pub place: String,
    /// What it is.
    pub form: Form,
}

/// The forms of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A payload's bytes, and its signature in base64.
    Payload(Vec<u8>, String),
    /// A sigstore bundle.
    Bundle(Vec<u8>),
    /// Nothing that could be read, and why.
    Unreadable(String),
}

/// The file of the key that an image is signed with.
///
/// # Errors
/// Why each of those that were found does not count.
pub fn signer<'a>(
    found: &[SignatureFound],
    image: &Digest,
    keys: &'a [KeyFile],
) -> Result<&'a KeyFile, Vec<String>> {
    let keys: Vec<(&KeyFile, PublicKey)> = keys
        .iter()
        .filter_map(|key| Some((key, PublicKey::read(&key.pem).ok()?)))
        .collect();
    let mut reasons = Vec::new();
    for one in found {
        match one.form.signer(image, &keys) {
            Ok(key) => return Ok(key),
            Err(reason) => reasons.push(format!("{}: {reason}", one.place)),
        }
    }
    Err(reasons)
}

/// The command that signs an image.
#[must_use]
pub fn command(repository: &str, image: &Digest) -> String {
    format!("cosign sign --key KEY {repository}@{image}")
}

impl Form {
    fn signer<'a>(
        &self,
        image: &Digest,
        keys: &[(&'a KeyFile, PublicKey)],
    ) -> Result<&'a KeyFile, String> {
        match self {
            Self::Payload(payload, signature) => {
                let key = by(keys, payload, &decode(signature)?)?;
                names(&json(payload)?, image).map(|()| key)
            }
            Self::Bundle(bundle) => {
                let bundle = json(bundle)?;
                let envelope = &bundle["dsseEnvelope"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (kind, payload) = (
                    text(&envelope["payloadType"]),
                    decode(&text(&envelope["payload"]))?,
                );
                let message = authenticated(&kind, &payload);
                let signatures = envelope["signatures"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .take(MOST);
                let key = signatures
                    .filter_map(|signature| decode(&text(&signature["sig"])).ok())
                    .find_map(|signature| by(keys, &message, &signature).ok())
                    .ok_or_else(|| OTHER.to_owned())?;
                states(&kind, &json(&payload)?, image).map(|()| key)
            }
            Self::Unreadable(reason) => Err(reason.clone()),
        }
    }
}

/// The most signatures of one envelope that are looked at.
const MOST: usize = 16;
const OTHER: &str = "it was not made with one of the keys";

/// The key that has signed.
fn by<'a>(
    keys: &[(&'a KeyFile, PublicKey)],
    message: &[u8],
    signature: &[u8],
) -> Result<&'a KeyFile, String> {
    let found = keys
        .iter()
        .find(|(_, key)| key.has_signed(message, signature));
    found.map(|(file, _)| *file).ok_or_else(|| OTHER.to_owned())
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text.trim())
        .map_err(|_| "it is not in base64".to_owned())
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("it cannot be read: {error}"))
}

/// Whether a payload names this image.
fn names(payload: &Value, image: &Digest) -> Result<(), String> {
    let critical = &payload["critical"];
    if critical["type"] != "cosign container image signature" {
        return Err("what was signed is not an image".to_owned());
    }
    match critical["image"]["docker-manifest-digest"].as_str() {
        Some(named) if named == image.as_str() => Ok(()),
        Some(named) => Err(format!("it is for {named}")),
        None => Err("it names no image".to_owned()),
    }
}

/// What the signature of an envelope is made over (DSSE, "pre-authentication encoding").
fn authenticated(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// Whether a statement says that this image is signed. Others say where it comes from, or what was
/// found in it.
fn states(kind: &str, statement: &Value, image: &Digest) -> Result<(), String> {
    if kind != "application/vnd.in-toto+json"
        || statement["predicateType"] != "https://sigstore.dev/cosign/sign/v1"
    {
        return Err("it is a statement about the image, and not its signature".to_owned());
    }
    let mut subjects = statement["subject"].as_array().into_iter().flatten();
    if subjects.any(|subject| subject["digest"]["sha256"] == image.hex()) {
        return Ok(());
    }
    Err("it is for another image".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };
    use serde_json::json;

    use super::*;

    fn pem(der: &PublicKeyX509Der<'_>) -> KeyFile {
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        KeyFile {
            file: PathBuf::from("cosign.pub"),
            pem,
        }
    }

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key"))
        }

        fn key(&self) -> KeyFile {
            pem(&self.0.public_key().as_der().expect("a key"))
        }

        fn sign(&self, message: &[u8]) -> String {
            STANDARD.encode(self.0.sign(&SystemRandom::new(), message).expect("signed"))
        }

        fn payload(&self, payload: &[u8]) -> SignatureFound {
            found(Form::Payload(payload.to_vec(), self.sign(payload)))
        }

        fn bundle(&self, kind: &str, statement: &Value) -> SignatureFound {
            let payload = statement.to_string();
            let signature = self.sign(&authenticated(kind, payload.as_bytes()));
            let envelope = json!({"payload": STANDARD.encode(&payload), "payloadType": kind, "signatures": [{"sig": signature}]});
            found(Form::Bundle(
                json!({"dsseEnvelope": envelope}).to_string().into_bytes(),
            ))
        }
    }

    fn found(form: Form) -> SignatureFound {
        SignatureFound {
            place: "there".to_owned(),
            form,
        }
    }

    fn payload(kind: &str, image: &Digest) -> Vec<u8> {
        let critical =
            json!({"identity": {}, "image": {"docker-manifest-digest": image}, "type": kind});
        json!({"critical": critical, "optional": null})
            .to_string()
            .into_bytes()
    }

    fn statement(kind: &str, image: &Digest) -> Value {
        json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": kind,
            "subject": [{"digest": {"sha256": image.hex()}}]})
    }

    fn refused(found: SignatureFound, image: &Digest, keys: &[KeyFile]) -> String {
        signer(&[found], image, keys)
            .expect_err("refused")
            .join("\n")
    }

    const IMAGE: &str = "cosign container image signature";
    const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
    const STATEMENT: &str = "application/vnd.in-toto+json";

    #[test]
    fn a_payload_counts_with_the_right_key_for_the_right_image_alone() {
        let (right, wrong) = (Signer::new(), Signer::new());
        let (image, other) = (Digest::of(b"image"), Digest::of(b"other"));
        let keys = [right.key()];
        let good = right.payload(&payload(IMAGE, &image));
        assert_eq!(
            signer(std::slice::from_ref(&good), &image, &keys),
            Ok(&keys[0])
        );
        assert!(
            refused(wrong.payload(&payload(IMAGE, &image)), &image, &keys)
                .contains("one of the keys")
        );
        assert!(
            refused(right.payload(&payload(IMAGE, &other)), &image, &keys).contains(other.as_str())
        );
        assert!(
            refused(right.payload(&payload("atomic", &image)), &image, &keys)
                .contains("not an image")
        );
        assert!(refused(right.payload(b"{}"), &image, &keys).contains("not an image"));
        assert!(refused(right.payload(b"garbage"), &image, &keys).contains("cannot be read"));
        assert!(
            refused(
                found(Form::Payload(payload(IMAGE, &image), "?".to_owned())),
                &image,
                &keys
            )
            .contains("base64")
        );
        let Form::Payload(mut bytes, signature) = good.form.clone() else {
            panic!("a payload")
        };
        bytes.push(b' ');
        assert!(
            refused(found(Form::Payload(bytes, signature)), &image, &keys)
                .contains("one of the keys")
        );
        // One that counts is enough, wherever it stands, and whichever key it was made with.
        let (several, both) = ([wrong.payload(b"{}"), good], [wrong.key(), right.key()]);
        assert_eq!(signer(&several, &image, &both), Ok(&both[1]));
        assert_eq!(signer(&[], &image, &keys), Err(Vec::new()));
        assert_eq!(signer(&several, &image, &[]).expect_err("refused").len(), 2);
    }

    #[test]
    fn a_bundle_counts_when_it_states_that_the_image_is_signed() {
        let (right, wrong) = (Signer::new(), Signer::new());
        let (image, other) = (Digest::of(b"image"), Digest::of(b"other"));
        let keys = [right.key()];
        let good = right.bundle(STATEMENT, &statement(SIGNED, &image));
        assert_eq!(signer(&[good], &image, &keys), Ok(&keys[0]));
        assert!(
            refused(
                wrong.bundle(STATEMENT, &statement(SIGNED, &image)),
                &image,
                &keys
            )
            .contains("one of the keys")
        );
        assert!(
            refused(
                right.bundle(STATEMENT, &statement(SIGNED, &other)),
                &image,
                &keys
            )
            .contains("another image")
        );
        let attested = statement("https://slsa.dev/provenance/v1", &image);
        assert!(
            refused(right.bundle(STATEMENT, &attested), &image, &keys).contains("statement about")
        );
        assert!(
            refused(
                right.bundle("text/plain", &statement(SIGNED, &image)),
                &image,
                &keys
            )
            .contains("statement about")
        );
        for bundle in [
            "",
            "[]",
            "{\"messageSignature\": {}}",
            "{\"dsseEnvelope\": {\"payload\": \"e30=\"}}",
        ] {
            refused(
                found(Form::Bundle(bundle.as_bytes().to_vec())),
                &image,
                &keys,
            );
        }
    }

    /// What cosign 3.1.3 made, in the form of each version.
    #[test]
    fn what_cosign_itself_has_signed_counts() {
        let image = "sha256:a253ea64eea393bdc0488fcd69f6ca87dbd36e85845b0594c0dd6fc06eb62402"
            .parse()
            .expect("a digest");
        let keys = [KeyFile {
            file: "cosign.pub".into(),
            pem: include_str!("signature/cosign.pub").to_owned(),
        }];
        let payload = include_bytes!("signature/payload.json").to_vec();
        let signature = include_str!("signature/payload.sig").to_owned();
        let bundle = include_bytes!("signature/bundle.json").to_vec();
        for form in [Form::Payload(payload, signature), Form::Bundle(bundle)] {
            assert_eq!(
                signer(&[found(form.clone())], &image, &keys),
                Ok(&keys[0]),
                "{form:?}"
            );
            refused(found(form.clone()), &Digest::of(b"another"), &keys);
            refused(found(form), &image, &[Signer::new().key()]);
        }
    }

    #[test]
    fn keys_of_other_kinds_are_read_too_and_what_is_none_is_refused() {
        let key = Ed25519KeyPair::generate().expect("a key");
        let public = pem(&key.public_key().as_der().expect("a key"));
        let image = Digest::of(b"image");
        let bytes = payload(IMAGE, &image);
        let signature = STANDARD.encode(key.sign(&bytes));
        let keys = [public];
        assert_eq!(
            signer(&[found(Form::Payload(bytes, signature))], &image, &keys),
            Ok(&keys[0])
        );
        let rsa = include_str!("signature/rsa.pub");
        PublicKey::read(rsa).expect("a key");
        assert!(
            PublicKey::read("no key")
                .expect_err("none")
                .contains("BEGIN PUBLIC KEY")
        );
        let p384 = include_str!("signature/p384.pub");
        assert!(
            PublicKey::read(p384)
                .expect_err("another kind")
                .contains("ECDSA P-256")
        );
    }
}
