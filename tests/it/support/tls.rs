//! Certificates: of an authority of our own, made by openssl, and of nobody's, made by rcgen.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::World;

/// What a server on 127.0.0.1 shows, and who signed it.
pub struct Certificate {
    pub authority: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// A certificate in a world's folder.
pub fn certificate(world: &World) -> Certificate {
    let openssl = |arguments: &str| {
        let arguments = arguments.split_whitespace();
        let made = Command::new("openssl")
            .args(arguments)
            .current_dir(world.path())
            .output();
        let made = made.expect("openssl starts");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {new_key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"
    ));
    openssl(&format!(
        "req {new_key} -keyout key.pem -out request.pem -subj /CN=server"
    ));
    world.put(
        "leaf.txt",
        "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n",
    );
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.txt -out leaf.pem",
    );
    Certificate {
        authority: world.file("ca.pem"),
        chain: world.file("leaf.pem"),
        key: world.file("key.pem"),
    }
}

/// The years that a certificate is for.
pub type Years = (i32, i32);

/// For as long as anybody will run this.
pub const VALID: Years = (2024, 2999);

/// An authority of a test's own.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name = called(name);
        let pem = params.self_signed(&key).expect("an authority").pem();
        let issuer = rcgen::Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A certificate for these hosts, as `NAME.pem` with the authority behind it, and `NAME.key`.
    pub fn issue(&self, world: &World, name: &str, hosts: &[&str], years: Years) -> Certificate {
        let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params.distinguished_name = called(name);
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");

        let made = Certificate {
            authority: world.file(&format!("{name}-ca.pem")),
            chain: world.file(&format!("{name}.pem")),
            key: world.file(&format!("{name}.key")),
        };
        place(&made.authority, &self.pem);
        place(&made.key, &key.serialize_pem());
        place(&made.chain, &(leaf.pem() + &self.pem));
        made
    }
}

fn called(name: &str) -> rcgen::DistinguishedName {
    let mut called = rcgen::DistinguishedName::new();
    called.push(rcgen::DnType::CommonName, name);
    called
}

/// A certificate of an authority that nobody else has.
pub fn issued(world: &World, name: &str, hosts: &[&str], years: Years) -> Certificate {
    Authority::new("an authority of its own").issue(world, name, hosts, years)
}

/// Takes the place of another certificate and its key: the key first, as some do.
pub fn replace(there: &Certificate, by: &Certificate) {
    let text = |path: &Path| std::fs::read_to_string(path).expect("a file");
    place(&there.key, &text(&by.key));
    place(&there.chain, &text(&by.chain));
}

/// Writes a file in one step, as those who renew certificates do.
pub fn place(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, path).expect("it takes its place");
}
