//! Hashes: of image content, of build inputs, of observed state.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: `sha256:` and 64 lower-case hexadecimal digits are needed")]
pub struct DigestError(String);

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn is_hex64(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

macro_rules! hash {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = r"^sha256:[0-9a-f]{64}$"))]
        pub struct $type(String);

        impl $type {
            /// The hash of these bytes.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(format!("sha256:{}", hex(&Sha256::digest(bytes))))
            }

            /// The hash of a value's JSON form. Maps must be ordered for it to be stable.
            ///
            /// # Panics
            /// When the value cannot become JSON, which a type of this project always can.
            #[must_use]
            pub fn of_json<T: serde::Serialize>(value: &T) -> Self {
                let json = serde_json::to_vec(value).expect("model types always serialise");
                Self::of(&json)
            }

            /// From a finished SHA-256.
            #[must_use]
            pub fn from_sha256(hasher: Sha256) -> Self {
                Self(format!("sha256:{}", hex(&hasher.finalize())))
            }

            /// `sha256:` and the digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The 64 digits alone: what a file or a tag is named by.
            #[must_use]
            pub fn hex(&self) -> &str {
                &self.0["sha256:".len()..]
            }

            /// The first twelve digits: enough for a person to compare.
            #[must_use]
            pub fn short(&self) -> &str {
                &self.hex()[..12]
            }
        }

        impl TryFrom<String> for $type {
            type Error = DigestError;
            fn try_from(value: String) -> Result<Self, DigestError> {
                match value.strip_prefix("sha256:") {
                    Some(digits) if is_hex64(digits) => Ok(Self(value)),
                    _ => Err(DigestError(value)),
                }
            }
        }

        impl FromStr for $type {
            type Err = DigestError;
            fn from_str(value: &str) -> Result<Self, DigestError> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(hash: $type) -> Self {
                hash.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

hash!(
    /// What names an image or a blob: SHA-256 of its bytes, in the form of the OCI image
    /// specification.
    Digest
);
hash!(
    /// What a build depends on, or a rendered configuration: equal hash, equal result.
    ContentHash
);
hash!(
    /// A resource's observed state. A step that changes the resource is bound to it.
    Fingerprint
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nothing_is_the_known_one() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(
            empty.parse::<Digest>().expect("valid").short(),
            "e3b0c44298fc"
        );
    }

    #[test]
    fn other_algorithms_lengths_and_cases_are_refused() {
        let upper = Digest::of(b"").as_str().to_uppercase();
        for bad in ["", "sha256:", "sha256:abc", "sha512:00", upper.as_str()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
