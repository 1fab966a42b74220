//! Ctrl-C and SIGTERM: once to stop cleanly, twice to stop now, three times to end the process
//! whatever it does.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::output::{Exit, Page, Screen};

/// What the signals call off.
pub(super) struct Signals {
    /// At the first.
    pub interrupted: CancellationToken,
    /// At the second.
    pub killed: CancellationToken,
}

/// Listens from now on.
pub(super) fn listen(screen: &Screen) -> Signals {
    let screen = screen.clone();
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
        for (token, next) in [
            (once, "stopping; once more to stop at once"),
            (
                twice,
                "stopping at once; once more to end this process where it stands",
            ),
        ] {
            one_of(&mut interrupt, &mut terminate).await;
            if !token.is_cancelled() {
                screen.say(&Page::of(next));
            }
            token.cancel();
        }
        one_of(&mut interrupt, &mut terminate).await;
        std::process::exit(Exit::Interrupted.code().into());
    });
    signals
}

/// Waits for the first, for who has nothing to bring to an end. The second ends this process where
/// it stands.
pub(super) async fn first() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    one_of(&mut interrupt, &mut terminate).await;
    tokio::spawn(async move {
        one_of(&mut interrupt, &mut terminate).await;
        std::process::exit(Exit::Interrupted.code().into());
    });
}

async fn one_of(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
