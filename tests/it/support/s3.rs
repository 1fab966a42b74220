//! Another server that speaks S3: gofakes3, as it is and as it was before it knew conditions.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// It knows `If-Match` and `If-None-Match`.
pub const CAREFUL: &str = "gofakes3";

/// The same of the year before: it knows neither, and takes every write.
pub const CARELESS: &str = "gofakes3-without-conditions";

/// One that runs, with its objects in its memory. A bucket is there as soon as it is named.
pub struct OtherS3 {
    pub endpoint: String,
    child: Child,
}

impl OtherS3 {
    /// None, with a word, where there is no such program.
    pub fn start(program: &str) -> Option<Self> {
        super::parts::has(program).then_some(())?;
        let mut child = Command::new(program)
            .args(["-backend", "memory", "-autobucket", "-host", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut says = BufReader::new(child.stderr.take().expect("its output"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            let count = says.read_line(&mut line).expect("text");
            assert_ne!(count, 0, "{program} ended without a port");
            if let Some((_, port)) = line.split_once("using port: ") {
                break port.trim().to_owned();
            }
        };
        // It must never wait for somebody who reads.
        std::thread::spawn(move || std::io::copy(&mut says, &mut std::io::sink()));
        Some(Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            child,
        })
    }
}

impl Drop for OtherS3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
