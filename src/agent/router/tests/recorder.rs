//! An instance that notes each byte of each request, below any library's idea of what a request is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{RawInstance, soon};

/// One request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Request line and headers, without line ends.
    pub lines: Vec<String>,
    /// The body, its chunks joined.
    pub body: Vec<u8>,
}

impl Seen {
    /// The request line.
    pub fn line(&self) -> &str {
        &self.lines[0]
    }

    /// The values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let own = self.lines[1..].iter().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        own.collect()
    }
}

/// Answers each request with 200 and `ok`, and notes it.
pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    _instance: RawInstance,
}

impl Recorder {
    pub async fn start() -> Self {
        let (seen, wrong) = <(Arc<Mutex<Vec<Seen>>>, Arc<Mutex<Vec<String>>>)>::default();
        let noted = (Arc::clone(&seen), Arc::clone(&wrong));
        let instance = RawInstance::serving(move |_, stream| {
            let (seen, wrong) = noted.clone();
            async move {
                if let Err(panic) = tokio::spawn(serve(stream, seen)).await {
                    wrong.lock().unwrap().push(panic.to_string());
                }
            }
        })
        .await;
        Self {
            address: instance.address,
            seen,
            wrong,
            _instance: instance,
        }
    }

    /// What has come since this was last asked. Fails the test when something was not as clear as
    /// it has to be.
    pub fn take(&self) -> Vec<Seen> {
        let wrong = std::mem::take(&mut *self.wrong.lock().unwrap());
        assert!(wrong.is_empty(), "{wrong:#?}");
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut bytes = Vec::new();
    while let Some(request) = next(&mut stream, &mut bytes).await {
        seen.lock().unwrap().push(request);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// Whatever is not as clear as it has to be is a panic.
async fn next(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = find(bytes, b"\r\n\r\n") {
            break end;
        }
        if !more(stream, bytes).await {
            assert!(bytes.is_empty(), "half a head: {}", bytes.escape_ascii());
            return None;
        }
    };
    let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
    let lines: Vec<String> = head.trim_end().split("\r\n").map(str::to_owned).collect();
    assert!(
        lines.iter().all(|line| !line.contains(['\r', '\n', '\0'])),
        "{head:?}"
    );
    let mut seen = Seen {
        lines,
        body: Vec::new(),
    };
    assert_eq!(seen.header("host").len(), 1, "{head:?}");

    let (length, coding) = (
        seen.header("content-length"),
        seen.header("transfer-encoding"),
    );
    match (&length[..], &coding[..]) {
        ([], []) => return Some(seen),
        ([length], []) => {
            let length = length.parse().unwrap();
            while bytes.len() < length {
                if !more(stream, bytes).await {
                    return None;
                }
            }
            seen.body = bytes.drain(..length).collect();
            return Some(seen);
        }
        ([], ["chunked"]) => {}
        _ => panic!("it is not clear where the body ends: {head:?}"),
    }
    loop {
        let line = line(stream, bytes).await?;
        let length = usize::from_str_radix(&line, 16).expect("a size without extensions");
        while bytes.len() < length + 2 {
            if !more(stream, bytes).await {
                return None;
            }
        }
        if length == 0 {
            // Trailers, up to an empty line.
            while !self::line(stream, bytes).await?.is_empty() {}
            break;
        }
        seen.body.extend(bytes.drain(..length));
        assert_eq!(bytes.drain(..2).collect::<Vec<_>>(), b"\r\n");
    }
    Some(seen)
}

async fn line(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = find(bytes, b"\r\n") {
            let line: Vec<u8> = bytes.drain(..end + 2).collect();
            return Some(String::from_utf8(line[..end].to_vec()).unwrap());
        }
        if !more(stream, bytes).await {
            return None;
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    stream.read_buf(bytes).await.unwrap_or(0) > 0
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Sends these bytes and nothing more, and reads until the other end closes: the statuses of what
/// it answered.
pub async fn statuses(address: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let talking = async {
        // A router that refuses may close before it has read all.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    soon(talking).await;
    answered(&answer)
}

/// The statuses of the answers, whose bodies these tests know.
pub fn answered(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| {
        let at = line.find("HTTP/1.")?;
        line.get(at + 9..at + 12)?.parse().ok()
    });
    lines.collect()
}
