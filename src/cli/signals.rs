//! Ctrl-C and SIGTERM: once to stop cleanly, twice to stop now.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals call off.
pub(super) struct Signals {
    /// At the first.
    pub interrupted: CancellationToken,
    /// At the second.
    pub killed: CancellationToken,
}

/// Listens from now on.
pub(super) fn listen() -> Signals {
    let signals = Signals {
        interrupted: CancellationToken::new(),
        killed: CancellationToken::new(),
    };
    let (once, twice) = (signals.interrupted.clone(), signals.killed.clone());
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) else {
            return;
        };
        for token in [once, twice] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if !token.is_cancelled() {
                anstream::eprintln!("stopping; once more to stop at once");
            }
            token.cancel();
        }
    });
    signals
}
