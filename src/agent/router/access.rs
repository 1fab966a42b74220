//! The access log: one JSON line per request, written beside the traffic and never in its way.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use http::Request;
use hyper::body::Incoming;
use jiff::Timestamp;

use crate::agent::router::RouteKey;

/// How many lines may wait to be written; more are dropped and counted.
const QUEUE: usize = 4096;

/// How large the file grows until it is set aside.
const FILE_LIMIT: u64 = 10 << 20;

/// Where lines go.
#[derive(Clone)]
pub struct AccessLog {
    sender: Option<SyncSender<String>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// A log that is written nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self { sender: None, dropped: Arc::default() }
    }

    /// A log in this file. At 10 MiB it is set aside as `.1`, the one before as `.2`.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        std::thread::spawn(move || write_all(&path, &receiver));
        Self { sender: Some(sender), dropped }
    }

    fn write(&self, line: String) {
        let Some(sender) = &self.sender else { return };
        if sender.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were dropped because the disk could not keep up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Writes until the router is gone. A disk that does not take a line loses that line.
fn write_all(path: &Path, lines: &Receiver<String>) {
    let mut file = None;
    let mut size = 0;
    while let Ok(mut line) = lines.recv() {
        if size > FILE_LIMIT {
            set_aside(path);
            file = None;
        }
        let opened = match file.take() {
            Some(there) => Some(there),
            None => open(path, &mut size),
        };
        let Some(mut there) = opened else { continue };
        line.push('\n');
        if there.write_all(line.as_bytes()).is_ok() {
            size += line.len() as u64;
        }
        file = Some(there);
    }
}

fn open(path: &Path, size: &mut u64) -> Option<File> {
    let file = OpenOptions::new().create(true).append(true).open(path).ok()?;
    *size = file.metadata().map_or(0, |meta| meta.len());
    Some(file)
}

fn set_aside(path: &Path) {
    let numbered = |number: u8| path.with_extension(format!("log.{number}"));
    let _ = fs::rename(numbered(1), numbered(2));
    let _ = fs::rename(path, numbered(1));
}

/// One request's line, until it is written.
pub(super) struct Entry {
    log: AccessLog,
    since: Instant,
    line: serde_json::Map<String, serde_json::Value>,
    pub status: u16,
    pub bytes: u64,
    pub upstream: Option<SocketAddr>,
}

impl Entry {
    pub fn begin(
        to: &AccessLog,
        key: &RouteKey,
        live: bool,
        request: &Request<Incoming>,
        peer: SocketAddr,
    ) -> Self {
        let mut fields = serde_json::Map::new();
        if to.sender.is_some() {
            let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value.into());
            put("time", Timestamp::now().to_string());
            put("client", peer.ip().to_string());
            put("environment", key.scope.to_string());
            put("service", key.service.to_string());
            put("listener", if live { "live" } else { "preview" }.to_owned());
            put("method", request.method().to_string());
            // Without the query: it may carry what nobody should read in a log.
            put("path", request.uri().path().to_owned());
        }
        Self { log: to.clone(), since: Instant::now(), line: fields, status: 0, bytes: 0, upstream: None }
    }

    pub fn write(mut self) {
        if self.log.sender.is_none() {
            return;
        }
        self.line.insert("status".to_owned(), self.status.into());
        self.line.insert("bytes".to_owned(), self.bytes.into());
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.line.insert("micros".to_owned(), micros.into());
        if let Some(upstream) = self.upstream {
            self.line.insert("upstream".to_owned(), upstream.to_string().into());
        }
        let line = serde_json::Value::Object(std::mem::take(&mut self.line)).to_string();
        self.log.write(line);
    }
}
