use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use proptest::prelude::*;

use super::*;

const NAMESPACE: &str = "shipit-approval";
const MESSAGE: &[u8] = b"a message\n";

macro_rules! signed {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("signed/", $name, ".pub")),
            include_str!(concat!("signed/", $name, ".sig")),
        )
    };
}

/// What OpenSSH 9.2 made, with keys of each kind.
const SIGNED: [(&str, &str, &str); 6] = [
    signed!("ed25519"),
    signed!("ecdsa256"),
    signed!("ecdsa384"),
    signed!("ecdsa521"),
    signed!("rsa256"),
    signed!("rsa512"),
];

fn key(line: &str) -> SshKey {
    line.to_owned().try_into().expect("a key")
}

fn blob_of(armored: &str) -> Vec<u8> {
    unarmored(armored).expect("a signature")
}

#[test]
fn what_ssh_keygen_has_signed_counts_for_its_key_its_message_and_its_namespace_alone() {
    for (name, public, armored) in SIGNED {
        let (key, signature) = (key(public), Sshsig::read(armored).expect(name));
        assert_eq!(signature.key(), &key, "{name}");
        assert_eq!(signature.is_by(&key, NAMESPACE, MESSAGE), Ok(()), "{name}");

        let why = |namespace, message| signature.is_by(&key, namespace, message).expect_err(name);
        assert_eq!(why(NAMESPACE, b"a message"), "made for another plan");
        assert_eq!(
            why("git", MESSAGE),
            "made for the namespace shipit-approval"
        );
        let (_, other, _) = SIGNED
            .iter()
            .find(|(other, ..)| *other != name)
            .expect("one");
        let why = signature.is_by(&self::key(other), NAMESPACE, MESSAGE);
        assert_eq!(why.is_err(), self::key(other) != key, "{name}");
    }
}

#[test]
fn a_signature_for_something_else_says_what_for() {
    let (_, public, _) = SIGNED[0];
    let of_git = Sshsig::read(include_str!("signed/git.sig")).expect("a signature");
    assert_eq!(of_git.namespace(), "git");
    let why = of_git
        .is_by(&key(public), NAMESPACE, MESSAGE)
        .expect_err("refused");
    assert_eq!(why, "made for the namespace git");
    // Whoever changes what it says changes what is signed.
    let renamed = Sshsig {
        namespace: NAMESPACE.to_owned(),
        ..of_git
    };
    let why = renamed
        .is_by(&key(public), NAMESPACE, MESSAGE)
        .expect_err("refused");
    assert_eq!(why, "made for another plan");
}

#[test]
fn ends_of_lines_do_not_matter() {
    let (_, public, armored) = SIGNED[0];
    for text in [
        armored.replace('\n', "\r\n"),
        format!("\n{armored}\n\n"),
        armored.trim().to_owned(),
    ] {
        let signature = Sshsig::read(&text).expect("a signature");
        assert_eq!(signature.is_by(&key(public), NAMESPACE, MESSAGE), Ok(()));
    }
    let key_with_cr = key(&public.replace('\n', "\r\n"));
    assert_eq!(key_with_cr, key(public));
}

#[test]
fn certificates_and_other_keys_are_refused_when_they_are_read() {
    let certificate = include_str!("signed/certificate.pub").to_owned();
    let why = SshKey::try_from(certificate).expect_err("a certificate");
    assert!(why.contains("it is a certificate"), "{why}");
    let why = Sshsig::read(include_str!("signed/certificate.sig")).expect_err("a certificate");
    assert!(why.contains("it is a certificate"), "{why}");

    let mut dsa = Vec::new();
    put(&mut dsa, b"ssh-dss");
    let mut short = Vec::new();
    for field in [&b"ssh-rsa"[..], &[1, 0, 1], &[0x7f; 128]] {
        put(&mut short, field);
    }
    let short = format!("ssh-rsa {}", STANDARD.encode(&short));
    for (line, says) in [
        (format!("ssh-dss {}", STANDARD.encode(&dsa)), "DSA"),
        (short, "1024 bits"),
        ("ssh-ed25519".to_owned(), "no public key"),
        ("ssh-ed25519 ?".to_owned(), "base64"),
        ("ssh-ed25519 AAAA".to_owned(), "cut off"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
            "a private key",
        ),
        (
            SIGNED[0].1.replace("ssh-ed25519 ", "ssh-rsa "),
            "kind `ssh-rsa`",
        ),
        (format!("{}{}", SIGNED[0].1, SIGNED[1].1), "several lines"),
    ] {
        let why = SshKey::try_from(line.clone()).expect_err(&line);
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn a_key_has_the_fingerprint_that_ssh_shows() {
    let shown = "SHA256:w9J0vL4W51njLGNXk6B6Xc6iSoq3z5f2dS1mgagDJzY";
    assert_eq!(key(SIGNED[0].1).fingerprint(), shown);
    let line = String::from(key(SIGNED[0].1));
    assert!(
        SIGNED[0].1.starts_with(&line) && !line.contains('@'),
        "{line}"
    );
}

const APPLICATION: &[u8] = b"ssh:";

/// A signature as a security key makes it, with these flags.
fn by_security_key(
    name: &str,
    public: &[&[u8]],
    flags: u8,
    sign: impl Fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut key = Vec::new();
    put(&mut key, name.as_bytes());
    for field in public.iter().chain([&APPLICATION]) {
        put(&mut key, field);
    }

    let message = signed(NAMESPACE, Hash::Sha512, MESSAGE);
    let tail = [&[flags][..], &[0, 0, 0, 7]].concat();
    let (application, hashed) = (digest(&SHA256, APPLICATION), digest(&SHA256, &message));
    let mut signature = Vec::new();
    put(&mut signature, name.as_bytes());
    put(
        &mut signature,
        &sign(&[application.as_ref(), &tail, hashed.as_ref()].concat()),
    );
    signature.extend(tail);

    let mut blob = [MAGIC, &[0, 0, 0, 1]].concat();
    for field in [&key, NAMESPACE.as_bytes(), b"", b"sha512", &signature] {
        put(&mut blob, field);
    }
    blob
}

#[test]
fn a_security_key_counts_when_somebody_touched_it() {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let public = pair.public_key().as_ref();
    let of = |flags| {
        let sign = |frame: &[u8]| pair.sign(frame).as_ref().to_vec();
        let blob = by_security_key(SK_ED25519_NAME, &[public], flags, sign);
        let signature = Sshsig::of_blob(&blob).expect("a signature");
        signature.is_by(signature.key(), NAMESPACE, MESSAGE)
    };
    assert_eq!(of(1), Ok(()));
    assert_eq!(of(5), Ok(()));
    let why = "nobody touched the security key".to_owned();
    assert_eq!((of(0), of(4)), (Err(why.clone()), Err(why)));

    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let sign = |frame: &[u8]| {
        let fixed = pair.sign(&SystemRandom::new(), frame).expect("signed");
        let mut signature = Vec::new();
        for half in fixed.as_ref().chunks(32) {
            let mut half: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
            if half.first().is_some_and(|first| first & 0x80 != 0) {
                half.insert(0, 0);
            }
            put(&mut signature, &half);
        }
        signature
    };
    let public: [&[u8]; 2] = [b"nistp256", pair.public_key().as_ref()];
    let blob = by_security_key(SK_ECDSA_NAME, &public, 1, sign);
    let signature = Sshsig::of_blob(&blob).expect("a signature");
    assert_eq!(signature.is_by(signature.key(), NAMESPACE, MESSAGE), Ok(()));
    let why = signature.is_by(signature.key(), NAMESPACE, b"another");
    assert_eq!(why, Err("made for another plan".to_owned()));
}

proptest! {
    #[test]
    fn a_signature_with_any_byte_changed_or_left_out_does_not_count(
        which in 0..SIGNED.len(),
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
        cut in any::<bool>(),
    ) {
        let (_, public, armored) = SIGNED[which];
        let mut blob = blob_of(armored);
        let at = at.index(blob.len());
        if cut {
            blob.truncate(at);
        } else {
            blob[at] ^= change;
        }
        if let Ok(signature) = Sshsig::of_blob(&blob) {
            prop_assert!(signature.is_by(&key(public), NAMESPACE, MESSAGE).is_err());
        }
    }

    #[test]
    fn what_is_made_up_ends_nothing(bytes in any::<Vec<u8>>(), text in any::<String>()) {
        let _ = Sshsig::of_blob(&bytes);
        let _ = Sshsig::of_blob(&[MAGIC, &[0, 0, 0, 1], &bytes].concat());
        let _ = Sshsig::read(&text);
        let _ = SshKey::try_from(text);
        let _ = SshKey::try_from(format!("ssh-ed25519 {}", STANDARD.encode(&bytes)));
    }
}
