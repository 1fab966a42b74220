//! Unpacking for somebody who waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::rootfs::{ImageMeta, Unpacked};
use crate::port::engine::Pull;

/// Unpacks an image, unless it is there. When nobody waits for it any more it stops, and leaves
/// nothing.
pub(in crate::agent) async fn fetch(image: Unpacked, pull: &Pull) -> io::Result<ImageMeta> {
    let pull = pull.clone();
    let waiting = Waiting::default();
    let unwanted = Arc::clone(&waiting.0);
    let fetched = tokio::task::spawn_blocking(move || image.fetch(&pull, &unwanted)).await;
    fetched.map_err(io::Error::other)?.map_err(io::Error::other)
}

/// Somebody who waits; says so when it is dropped.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
