//! Ctrl-C, SIGTERM and their like: once to stop cleanly, twice to stop now, three times to end the
//! process whatever it does.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::files::process::ignored_signals;
use crate::output::{Exit, Page, Screen};

/// What asks a command to stop: a terminal that is closed does, too.
const OF_A_COMMAND: [Number; 4] = [Number::INT, Number::TERM, Number::QUIT, Number::HUP];

/// What asks the agent to stop.
const OF_THE_AGENT: [Number; 3] = [Number::INT, Number::TERM, Number::QUIT];

/// What others send to have files opened again or numbers printed. The agent has no use for it, and
/// goes on.
const WITHOUT_A_MEANING: [(Number, &str); 4] = [
    (Number::HUP, "SIGHUP"),
    (Number::USR1, "SIGUSR1"),
    (Number::USR2, "SIGUSR2"),
    (Number::ALARM, "SIGALRM"),
];

/// What the signals call off.
pub(super) struct Signals {
    /// At the first.
    pub interrupted: CancellationToken,
    /// At the second.
    pub killed: CancellationToken,
}

/// Listens from now on.
pub(super) fn listen(screen: &Screen) -> Signals {
    heed(screen, caught(&OF_A_COMMAND))
}

/// The same for the agent, which no other signal ends either.
pub(super) fn listen_for_the_agent(screen: &Screen) -> Signals {
    for (number, name) in WITHOUT_A_MEANING {
        let Ok(mut sent) = signal(SignalKind::from_raw(number.as_raw())) else {
            continue;
        };
        tokio::spawn(async move {
            while sent.recv().await.is_some() {
                tracing::info!("{name} has no meaning for the agent, and is ignored");
            }
        });
    }
    heed(screen, caught(&OF_THE_AGENT))
}

fn heed(screen: &Screen, stopping: io::Result<Vec<Signal>>) -> Signals {
    let screen = screen.clone();
    let signals = Signals {
        interrupted: CancellationToken::new(),
        killed: CancellationToken::new(),
    };
    let (once, twice) = (signals.interrupted.clone(), signals.killed.clone());
    let Ok(mut stopping) = stopping else {
        return signals;
    };
    tokio::spawn(async move {
        for (token, next) in [
            (once, "stopping; once more to stop at once"),
            (
                twice,
                "stopping at once; once more to end this process where it stands",
            ),
        ] {
            one_of(&mut stopping).await;
            if !token.is_cancelled() {
                screen.say(&Page::of(next));
            }
            token.cancel();
        }
        one_of(&mut stopping).await;
        std::process::exit(Exit::Interrupted.code().into());
    });
    signals
}

/// Waits for the first, for who has nothing to bring to an end. The second ends this process where
/// it stands.
pub(super) async fn first() {
    let Ok(mut stopping) = caught(&OF_A_COMMAND) else {
        return std::future::pending().await;
    };
    one_of(&mut stopping).await;
    tokio::spawn(async move {
        one_of(&mut stopping).await;
        std::process::exit(Exit::Interrupted.code().into());
    });
}

/// These signals, from now on. What `nohup` has this process ignore stays ignored.
fn caught(numbers: &[Number]) -> io::Result<Vec<Signal>> {
    let ignored = ignored_signals();
    let is_kept_away =
        |number: &Number| *number == Number::HUP && ignored.contains(&number.as_raw());
    let heeded = numbers.iter().filter(|number| !is_kept_away(number));
    heeded
        .map(|number| signal(SignalKind::from_raw(number.as_raw())))
        .collect()
}

async fn one_of(stopping: &mut [Signal]) {
    let each = stopping.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(each).await;
}
