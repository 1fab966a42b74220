//! Answers that go on: watches and logs.

use std::sync::atomic::Ordering;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::call::ANSWER;
use super::fault::{fault, status};
use super::{Api, ApiError, Kind, Selector, encode};

/// How much of an error is read, where a stream was asked for.
const ERROR_LIMIT: usize = 64 << 10;
/// The largest event of a watch, and the longest line of a log.
const OBJECT_LIMIT: usize = 8 << 20;
const LINE_LIMIT: usize = 64 << 10;

impl Api {
    /// The events of a kind since a resource version. The stream ends when the server ends it.
    pub async fn watch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selector: &Selector,
        since: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, ApiError>> + Send + use<>, ApiError>
    {
        let path = format!(
            "{}?watch=1&{}&resourceVersion={}&timeoutSeconds=120",
            kind.path(namespace, None),
            selector.query(),
            encode(since)
        );
        let lines = self.stream(&path, OBJECT_LIMIT).await?;
        Ok(lines.map(|line| {
            let line = line.map_err(|error| ApiError::Unreachable {
                reason: error.to_string(),
            })?;
            serde_json::from_str(&line).map_err(|error| ApiError::Malformed(error.to_string()))
        }))
    }

    /// A stream of a log's lines.
    pub async fn lines(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<String, std::io::Error>> + Send + use<>, ApiError> {
        self.stream(path, LINE_LIMIT).await
    }

    async fn stream(
        &self,
        path: &str,
        limit: usize,
    ) -> Result<impl Stream<Item = Result<String, std::io::Error>> + Send + use<>, ApiError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|error| ApiError::Malformed(error.to_string()))?;
        let response = tokio::time::timeout(ANSWER, self.client.send(request.map(Into::into)))
            .await
            .map_err(|_| ApiError::Unreachable {
                reason: format!("{}: connected, no answer", self.server),
            })?
            .map_err(|error| fault(&error))?;

        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let limited = http_body_util::Limited::new(body, ERROR_LIMIT).collect();
            let bytes = tokio::time::timeout(ANSWER, limited).await;
            let bytes = bytes.ok().and_then(Result::ok);
            let bytes = bytes.map(http_body_util::Collected::to_bytes);
            let bytes = bytes.unwrap_or_default();
            return Err(ApiError::Refused(Box::new(status(head.status, &bytes))));
        }

        let stream = body.into_data_stream().map_err(std::io::Error::other);
        let lines = FramedRead::new(
            StreamReader::new(stream),
            LinesCodec::new_with_max_length(limit),
        );
        Ok(lines.map_err(std::io::Error::other))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use http::{Response, StatusCode};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use kube::Client;

    use super::*;
    use crate::driver::kubernetes::client::connect::Connected;

    const PIECE: usize = 4 << 10;

    /// A server that answers with a body without an end, and counts what of it was taken.
    fn endless(status: StatusCode) -> (Api, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let answer = move |_: Request<kube::client::Body>| {
            let taken = Arc::clone(&counted);
            let pieces = std::iter::repeat_with(move || {
                taken.fetch_add(PIECE, Ordering::Relaxed);
                Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; PIECE])))
            });
            let body = StreamBody::new(futures_util::stream::iter(pieces));
            let response = Response::builder().status(status).body(body);
            std::future::ready(Ok::<_, Infallible>(response.expect("a response")))
        };
        let api = Api::new(Connected {
            client: Client::new(tower::service_fn(answer), "default"),
            upgrading: Box::new(|| unreachable!("nothing is upgraded")),
            login: None,
            server: "https://cluster.example.com".to_owned(),
            answered: Arc::default(),
        });
        (api, taken)
    }

    #[tokio::test]
    async fn of_an_error_in_the_place_of_a_stream_little_is_read() {
        let (api, taken) = endless(StatusCode::FORBIDDEN);
        let refused = api
            .stream("/log", LINE_LIMIT)
            .await
            .err()
            .expect("an error");
        assert!(matches!(refused, ApiError::Refused(_)), "{refused:?}");
        assert!(taken.load(Ordering::Relaxed) <= 2 * ERROR_LIMIT);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error_and_takes_no_memory() {
        let (api, taken) = endless(StatusCode::OK);
        let lines = api.stream("/log", LINE_LIMIT).await.expect("a stream");
        let line = std::pin::pin!(lines).next().await.expect("an item");
        assert!(line.is_err(), "{line:?}");
        assert!(taken.load(Ordering::Relaxed) <= 4 * LINE_LIMIT);
    }
}
