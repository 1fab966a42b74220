//! Certificates of an authority of our own, made by openssl.

use std::path::PathBuf;
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
