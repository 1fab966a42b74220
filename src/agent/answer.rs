//! How the agent answers: a call that has begun goes on when its client goes away.

use std::pin::{Pin, pin};

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};

use crate::port::engine::EngineError;
use crate::proto::v1;

pub(super) type Answer<T> = Result<Response<T>, Status>;
pub(super) type Lines<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) fn done(result: Result<(), EngineError>) -> Answer<v1::Done> {
    result
        .map(|()| Response::new(v1::Done {}))
        .map_err(Into::into)
}

/// Runs a call in a task of its own. It goes on when its client goes away: half of it helps nobody.
pub(super) async fn whole<F>(work: F) -> Answer<v1::Done>
where
    F: Future<Output = Result<(), EngineError>> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(result) => done(result),
        Err(error) => Err(Status::internal(format!("the call was not done: {error}"))),
    }
}

/// Runs a call that says how far it is. It goes on when its client goes away: half a placement
/// helps nobody.
pub(super) fn with_progress<F>(work: impl FnOnce(Say) -> F) -> Response<Lines<v1::Progress>>
where
    F: Future<Output = Result<(), EngineError>> + Send + 'static,
{
    with_progress_until(work, CancellationToken::new())
}

/// Says how far a call is.
pub(super) type Say = Box<dyn Fn(&str) + Send + Sync>;

/// The same, and tells when the client has gone away.
pub(super) fn with_progress_until<F>(
    work: impl FnOnce(Say) -> F,
    gone: CancellationToken,
) -> Response<Lines<v1::Progress>>
where
    F: Future<Output = Result<(), EngineError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(64);
    let lines = sender.clone();
    let say = Box::new(move |line: &str| {
        // A reader that is slow misses lines, and not the result.
        let _ = lines.try_send(Ok(v1::Progress {
            line: line.to_owned(),
        }));
    });
    let work = work(say);
    tokio::spawn(async move {
        let mut work = pin!(work);
        let ended = tokio::select! {
            ended = &mut work => ended,
            () = sender.closed() => {
                gone.cancel();
                work.await
            }
        };
        if let Err(error) = ended {
            let _ = sender.send(Err(error.into())).await;
        }
    });
    Response::new(Box::pin(ReceiverStream::new(receiver)))
}
