//! Sending a blob (distribution-spec, "Pushing blobs"): a session, and one request with all of it.
//!
//! When that breaks, the registry is asked how much it has, and gets the rest. One that has given
//! the session up gets all of it again; those made from Docker's own do so whenever a request
//! breaks, since a session's address there holds how much had come.

use std::io::SeekFrom;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use oci_spec::distribution::Reference;
use reqwest::{Body, Method, RequestBuilder, Response, Url};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::driver::registry::oci::auth::Access;
use crate::driver::registry::oci::fault::{Attempts, RegistryFault};
use crate::driver::registry::oci::guard::place;
use crate::driver::registry::oci::remote::{RegistryConnection, Remote, SILENCE};
use crate::driver::registry::oci::wire::{Wire, send, taken};
use crate::port::Progress;
use crate::port::registry::{Blob, RegistryError};

/// As much more as this counts as having come further: then there are as many attempts again.
const FURTHER: u64 = 1 << 20;

/// Sends a blob from its file until the registry has it, as long as that comes further.
pub(super) async fn upload(
    remote: &Remote,
    open: &RegistryConnection,
    image: &Reference,
    (blob, file): (&Blob, &Path),
    progress: Progress<'_>,
) -> Result<(), RegistryError> {
    let mut upload = Upload {
        image,
        blob,
        file,
        session: None,
        furthest: 0,
        progress,
    };

    let (mut open, mut attempts) = (open.clone(), Attempts::default());
    loop {
        let before = upload.furthest;
        let Err(fault) = upload.go_on(&open.wire).await else {
            return Ok(());
        };
        if upload.furthest >= before + FURTHER {
            attempts.progress();
        }
        let Some(pause) = attempts.next(&fault, may_get_better(&fault)) else {
            let what = format!("pushing {} to {}", blob.digest, image.repository());
            return Err(open.failed(what, &fault));
        };
        tokio::time::sleep(pause).await;
        // What was sent may have outlived the login.
        open = match fault {
            RegistryFault::Unauthorized { .. } => remote.open_anew(image, Access::Push).await?,
            _ => remote.open(image, Access::Push).await?,
        };
    }
}

fn may_get_better(fault: &RegistryFault) -> bool {
    fault.is_transient() || matches!(fault, RegistryFault::Unauthorized { .. })
}

struct Upload<'a> {
    image: &'a Reference,
    blob: &'a Blob,
    file: &'a Path,
    /// Where the session goes on, once there is one.
    session: Option<Url>,
    /// How many bytes the registry has ever said to have.
    furthest: u64,
    progress: Progress<'a>,
}

impl Upload<'_> {
    async fn go_on(&mut self, wire: &Wire) -> Result<(), RegistryFault> {
        let Some(session) = self.session.clone() else {
            return self.begin(wire).await;
        };

        let digest = &self.blob.digest;
        if let Some((session, has)) = reached(wire, session).await?
            && (1..=self.blob.size).contains(&has)
        {
            (self.progress)(&format!(
                "{digest} broke off; it goes on at byte {has} of {}",
                self.blob.size
            ));
            self.furthest = self.furthest.max(has);
            self.session = Some(session.clone());
            match self.rest(wire, session, has).await {
                Err(RegistryFault::Refused {
                    status: 400..=428 | 430..=499,
                    ..
                }) => {}
                ended => return ended,
            }
        }
        self.session = None;
        // It may have been the answer that was lost.
        if wire.has(self.image, digest).await? {
            return Ok(());
        }

        (self.progress)(&format!(
            "{digest} broke off; the registry wants all of it again"
        ));
        self.begin(wire).await
    }

    /// A new session, and the whole blob in one request.
    async fn begin(&mut self, wire: &Wire) -> Result<(), RegistryFault> {
        let request = wire
            .about(Method::POST, self.image, "blobs/uploads/")?
            .header(CONTENT_LENGTH, 0);
        let session = location(&taken(send(request).await?).await?)?;
        self.session = Some(session.clone());
        self.stream(wire.at(Method::PUT, self.last(session))?, 0)
            .await
            .map(drop)
    }

    /// What the registry does not have yet, and the end.
    async fn rest(&mut self, wire: &Wire, mut session: Url, has: u64) -> Result<(), RegistryFault> {
        if has < self.blob.size {
            let range = format!("{has}-{}", self.blob.size - 1);
            let request = wire
                .at(Method::PATCH, session)?
                .header(CONTENT_RANGE, range);
            session = location(&self.stream(request, has).await?)?;
            self.session = Some(session.clone());
        }
        let request = wire
            .at(Method::PUT, self.last(session))?
            .timeout(SILENCE)
            .header(CONTENT_LENGTH, 0);
        taken(send(request).await?).await.map(drop)
    }

    /// Where the request goes that ends the session.
    fn last(&self, mut session: Url) -> Url {
        session
            .query_pairs_mut()
            .append_pair("digest", self.blob.digest.as_str());
        session
    }

    /// Sends the file's bytes from there on.
    async fn stream(&self, request: RequestBuilder, from: u64) -> Result<Response, RegistryFault> {
        let mut file = File::open(self.file).await?;
        file.seek(SeekFrom::Start(from)).await?;
        let (left, gone) = (self.blob.size - from, Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&gone);
        let bytes = ReaderStream::with_capacity(file.take(left), 256 << 10)
            .inspect_ok(move |part| _ = count.fetch_add(part.len() as u64, Ordering::Relaxed));
        let request = request
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, left)
            .body(Body::wrap_stream(bytes));
        taken(moving(send(request), &gone, SILENCE).await??).await
    }
}

/// Where a session goes on and how many bytes it has; none when the registry knows it no more.
async fn reached(wire: &Wire, session: Url) -> Result<Option<(Url, u64)>, RegistryFault> {
    let answer = send(wire.at(Method::GET, session.clone())?.timeout(SILENCE)).await?;
    if !answer.status().is_success() {
        return match taken(answer).await {
            Err(error) if may_get_better(&error) => Err(error),
            _ => Ok(None),
        };
    }
    let range = answer
        .headers()
        .get(RANGE)
        .and_then(|range| range.to_str().ok());
    let Some(has) = range.and_then(end) else {
        return Ok(None);
    };
    Ok(Some((location(&answer).unwrap_or(session), has)))
}

/// How many bytes a range from the first on has: `0-1023`. A registry has no other words for none
/// than `0-0`.
fn end(range: &str) -> Option<u64> {
    let (first, last) = range.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok().filter(|_| first == "0")?;
    Some(if last == 0 { 0 } else { last + 1 })
}

/// Where an upload goes on.
pub(super) fn location(answer: &Response) -> Result<Url, RegistryFault> {
    let said = answer.headers().get(LOCATION);
    let said = said.and_then(|said| said.to_str().ok());
    let url = said.and_then(|said| answer.url().join(said).ok());
    url.ok_or_else(|| RegistryFault::Malformed {
        host: place(answer.url()),
        reason: "nothing says where the upload goes on".to_owned(),
    })
}

/// Waits for an answer as long as bytes go out: a large blob takes its time, a dead connection does
/// not.
async fn moving<T>(
    request: impl Future<Output = T>,
    gone: &AtomicU64,
    silence: Duration,
) -> Result<T, std::io::Error> {
    let mut request = pin!(request);
    loop {
        let before = gone.load(Ordering::Relaxed);
        match tokio::time::timeout(silence, &mut request).await {
            Ok(answer) => return Ok(answer),
            Err(_) if gone.load(Ordering::Relaxed) == before => {
                let text = format!("nothing went through for {} s", silence.as_secs());
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_how_many_bytes_are_there() {
        for (range, bytes) in [
            ("0-0", Some(0)),
            ("0-1023", Some(1024)),
            ("bytes=0-9", Some(10)),
        ] {
            assert_eq!(end(range), bytes, "{range}");
        }
        for range in ["", "7", "5-9", "0-x", "0--1"] {
            assert_eq!(end(range), None, "{range}");
        }
    }

    #[tokio::test]
    async fn what_moves_is_waited_for_and_what_does_not_is_given_up() {
        let (gone, silence) = (AtomicU64::new(0), Duration::from_millis(5));
        // Looked at once for each silence: something has gone out each time.
        let slow = std::future::poll_fn(|_| match gone.fetch_add(1, Ordering::Relaxed) {
            0..5 => std::task::Poll::Pending,
            _ => std::task::Poll::Ready("done"),
        });
        assert_eq!(
            moving(slow, &gone, silence).await.expect("it moves"),
            "done"
        );
        let dead = moving(std::future::pending::<()>(), &gone, silence).await;
        assert_eq!(
            dead.expect_err("it does not").kind(),
            std::io::ErrorKind::TimedOut
        );
    }
}
