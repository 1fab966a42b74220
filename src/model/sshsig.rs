//! Signatures as `ssh-keygen -Y sign` makes them (OpenSSH, `PROTOCOL.sshsig`), and the public keys
//! that they are compared with.
//!
//! Only what is needed to tell whether a key that is known has signed: a signature brings its key
//! with it, and that says nothing until somebody has named the key. Certificates and DSA are not
//! read.

#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

use aws_lc_rs::digest::{self, SHA256, SHA512};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::model::sshsig::wire::{Reader, left_padded, put};

/// What both a signature and what is signed begin with.
const MAGIC: &[u8] = b"SSHSIG";

/// The longest text of a key or a signature, in bytes.
pub const LONGEST: usize = 16 << 10;

/// The bit of a security key's answer that says that somebody touched it.
const TOUCHED: u8 = 1;

/// A public key, as a line of a `.pub` file has it. What stands behind the key is left out.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct SshKey {
    text: String,
    blob: Vec<u8>,
    kind: Kind,
}

/// What a key is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Ed25519([u8; 32]),
    Ecdsa(Curve, Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// One of a security key, and what it is for there.
    SkEd25519([u8; 32], Vec<u8>),
    /// The same with the curve P-256.
    SkEcdsa(Vec<u8>, Vec<u8>),
}

/// A curve of ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// The length of a coordinate, in bytes.
    const fn field(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    const fn algorithm(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }
}

const ED25519_NAME: &str = "ssh-ed25519";
const RSA_NAME: &str = "ssh-rsa";
const ECDSA_NAMES: [(&str, Curve); 3] = [
    ("ecdsa-sha2-nistp256", Curve::P256),
    ("ecdsa-sha2-nistp384", Curve::P384),
    ("ecdsa-sha2-nistp521", Curve::P521),
];
const SK_ED25519_NAME: &str = "sk-ssh-ed25519@openssh.com";
const SK_ECDSA_NAME: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

impl SshKey {
    /// What people compare keys by: `SHA256:` and the hash in base64 without padding.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&SHA256, &self.blob);
        format!("SHA256:{}", STANDARD_NO_PAD.encode(hash.as_ref()))
    }

    /// From the bytes of a key.
    fn of_blob(blob: &[u8]) -> Result<Self, String> {
        let mut fields = Reader(blob);
        let name = fields.text()?;
        let kind = Kind::read(&name, &mut fields)?;
        fields.end()?;
        Ok(Self {
            text: format!("{name} {}", STANDARD.encode(blob)),
            blob: blob.to_vec(),
            kind,
        })
    }
}

impl TryFrom<String> for SshKey {
    type Error = String;
    fn try_from(line: String) -> Result<Self, String> {
        let form = "write a public key as the line of its .pub file: `ssh-ed25519 AAAA…`";
        if line.contains("PRIVATE KEY") {
            return Err(format!("this is a private key; {form}"));
        }
        if line.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} bytes; {form}"));
        }
        if line.trim().lines().count() > 1 {
            return Err(format!("it has several lines; {form}"));
        }
        let mut words = line.split_whitespace();
        let (Some(name), Some(text)) = (words.next(), words.next()) else {
            return Err(format!("`{line}` is no public key; {form}"));
        };
        let blob = STANDARD
            .decode(text)
            .map_err(|_| format!("what is behind `{name}` is not in base64; {form}"))?;
        let key = Self::of_blob(&blob).map_err(|why| format!("this key cannot be read: {why}"))?;
        if key.text.split(' ').next() != Some(name) {
            return Err(format!("it is no key of the kind `{name}`; {form}"));
        }
        Ok(key)
    }
}

impl From<SshKey> for String {
    fn from(key: SshKey) -> Self {
        key.text
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Kind {
    /// What is behind the name of the kind.
    fn read(name: &str, fields: &mut Reader<'_>) -> Result<Self, String> {
        if name.contains("-cert-v0") {
            return Err("it is a certificate; use the key itself".to_owned());
        }
        if let Some((_, curve)) = ECDSA_NAMES.iter().find(|(own, _)| *own == name) {
            return Ok(Self::Ecdsa(*curve, point(*curve, fields)?));
        }
        match name {
            ED25519_NAME => Ok(Self::Ed25519(ed25519(fields)?)),
            SK_ED25519_NAME => Ok(Self::SkEd25519(ed25519(fields)?, fields.string()?.to_vec())),
            SK_ECDSA_NAME => {
                let point = point(Curve::P256, fields)?;
                Ok(Self::SkEcdsa(point, fields.string()?.to_vec()))
            }
            RSA_NAME => {
                let exponent = fields.integer()?.to_vec();
                let modulus = fields.integer()?.to_vec();
                match modulus.len() {
                    256..=1024 => Ok(Self::Rsa { modulus, exponent }),
                    short => Err(format!(
                        "it is an RSA key of {} bits; 2048 to 8192 are taken",
                        short * 8
                    )),
                }
            }
            "ssh-dss" => Err("it is a DSA key; use one of ed25519".to_owned()),
            _ => Err(format!("keys of the kind `{name}` are not known")),
        }
    }

    /// What a signature of such a key may be called.
    fn takes(&self, format: &str) -> bool {
        match self {
            Self::Ed25519(_) => format == ED25519_NAME,
            Self::Ecdsa(curve, _) => ECDSA_NAMES.contains(&(format, *curve)),
            Self::Rsa { .. } => matches!(format, "rsa-sha2-256" | "rsa-sha2-512"),
            Self::SkEd25519(..) => format == SK_ED25519_NAME,
            Self::SkEcdsa(..) => format == SK_ECDSA_NAME,
        }
    }

    /// Whether a signature is this key's over a message; an error where it cannot even be one.
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> Result<bool, String> {
        let mut fields = Reader(signature);
        let format = fields.text()?;
        if !self.takes(&format) {
            return Err(format!("a signature `{format}` is none of its key's kind"));
        }
        let bytes = fields.string()?;
        let framed = match self {
            Self::SkEd25519(_, application) | Self::SkEcdsa(_, application) => {
                security_key_frame(application, message, &mut fields)?
            }
            _ => message.to_vec(),
        };
        fields.end()?;
        match self {
            Self::Ed25519(key) | Self::SkEd25519(key, _) => {
                Ok(UnparsedPublicKey::new(&ED25519, key)
                    .verify(&framed, bytes)
                    .is_ok())
            }
            Self::Ecdsa(curve, point) => ecdsa(*curve, point, &framed, bytes),
            Self::SkEcdsa(point, _) => ecdsa(Curve::P256, point, &framed, bytes),
            Self::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                // Some leave the zeros out that a signature begins with.
                let bytes = left_padded(bytes, modulus.len())?;
                let algorithm = if format == "rsa-sha2-256" {
                    &RSA_PKCS1_2048_8192_SHA256
                } else {
                    &RSA_PKCS1_2048_8192_SHA512
                };
                Ok(key.verify(algorithm, &framed, &bytes).is_ok())
            }
        }
    }
}

fn ed25519(fields: &mut Reader<'_>) -> Result<[u8; 32], String> {
    let key = fields.string()?;
    key.try_into()
        .map_err(|_| format!("an ed25519 key has 32 bytes, and not {}", key.len()))
}

fn point(curve: Curve, fields: &mut Reader<'_>) -> Result<Vec<u8>, String> {
    if fields.text()? != curve.name() {
        return Err(format!("its curve is not {}", curve.name()));
    }
    let point = fields.string()?;
    // Uncompressed: a byte that says so, and both coordinates.
    if point.len() != 1 + 2 * curve.field() || point[0] != 4 {
        return Err(format!("its point is none of {}", curve.name()));
    }
    Ok(point.to_vec())
}

fn ecdsa(curve: Curve, point: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, String> {
    let mut fields = Reader(signature);
    let (r, s) = (fields.integer()?, fields.integer()?);
    fields.end()?;
    let mut fixed = left_padded(r, curve.field())?;
    fixed.extend(left_padded(s, curve.field())?);
    let key = UnparsedPublicKey::new(curve.algorithm(), point);
    Ok(key.verify(message, &fixed).is_ok())
}

/// What a security key has signed for a message (OpenSSH, `PROTOCOL.u2f`).
fn security_key_frame(
    application: &[u8],
    message: &[u8],
    fields: &mut Reader<'_>,
) -> Result<Vec<u8>, String> {
    let (flags, counter) = (fields.byte()?, fields.bytes(4)?);
    if flags & TOUCHED == 0 {
        return Err("nobody touched the security key".to_owned());
    }
    let mut frame = digest::digest(&SHA256, application).as_ref().to_vec();
    frame.push(flags);
    frame.extend_from_slice(counter);
    frame.extend_from_slice(digest::digest(&SHA256, message).as_ref());
    Ok(frame)
}

/// How the message is hashed before it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn of(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }
}

/// A signature that was read, and that nothing is known of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sshsig {
    key: SshKey,
    namespace: String,
    hash: Hash,
    signature: Vec<u8>,
}

impl Sshsig {
    /// Reads what `ssh-keygen -Y sign` wrote.
    ///
    /// # Errors
    /// Why it is none that is known.
    pub fn read(armored: &str) -> Result<Self, String> {
        Self::of_blob(&unarmored(armored)?)
    }

    fn of_blob(blob: &[u8]) -> Result<Self, String> {
        let mut fields = Reader(blob);
        if fields.bytes(MAGIC.len())? != MAGIC {
            return Err("it is no SSH signature".to_owned());
        }
        let version = fields.number()?;
        if version != 1 {
            return Err(format!("it is of version {version}, and 1 is known"));
        }
        let key = SshKey::of_blob(fields.string()?)?;
        let namespace = fields.text()?;
        if !fields.string()?.is_empty() {
            return Err("it has something in a field that is not used".to_owned());
        }
        let name = fields.text()?;
        let hash = [Hash::Sha256, Hash::Sha512]
            .into_iter()
            .find(|hash| hash.name() == name)
            .ok_or_else(|| format!("it is over a hash `{name}`, which is not known"))?;
        let signature = fields.string()?.to_vec();
        fields.end()?;
        Ok(Self {
            key,
            namespace,
            hash,
            signature,
        })
    }

    /// The key that it says it was made with.
    #[must_use]
    pub const fn key(&self) -> &SshKey {
        &self.key
    }

    /// What it says it is for.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// That this key has signed this message for this purpose.
    ///
    /// # Errors
    /// Why it does not count, in a few words.
    pub fn is_by(&self, key: &SshKey, namespace: &str, message: &[u8]) -> Result<(), String> {
        if self.key.blob != key.blob {
            return Err("made with another key".to_owned());
        }
        if self.namespace != namespace {
            return Err(format!("made for the namespace {}", self.namespace));
        }
        let signed = signed(namespace, self.hash, message);
        match key.kind.has_signed(&signed, &self.signature) {
            Ok(true) => Ok(()),
            Ok(false) => Err("made for another plan".to_owned()),
            Err(reason) => Err(reason),
        }
    }
}

/// What is really signed for a message.
fn signed(namespace: &str, hash: Hash, message: &[u8]) -> Vec<u8> {
    let mut signed = MAGIC.to_vec();
    let hashed = hash.of(message);
    for field in [namespace.as_bytes(), b"", hash.name().as_bytes(), &hashed] {
        put(&mut signed, field);
    }
    signed
}

/// The bytes between the lines that say what it is. Ends of lines do not matter.
fn unarmored(text: &str) -> Result<Vec<u8>, String> {
    const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
    const END: &str = "-----END SSH SIGNATURE-----";
    if text.len() > LONGEST {
        return Err(format!("it has more than {LONGEST} bytes"));
    }
    let inside = text
        .trim()
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END));
    let inside = inside.ok_or_else(|| format!("it does not go from `{BEGIN}` to `{END}`"))?;
    let joined: String = inside.split_ascii_whitespace().collect();
    STANDARD
        .decode(joined)
        .map_err(|_| "it is not in base64".to_owned())
}
