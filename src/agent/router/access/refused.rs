//! What never became a request: a head that hyper refused, a connection that got no place.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

use crate::agent::router::access::entry::Line;
use crate::agent::router::config::ListenerConfig;
use crate::agent::router::connection::budget::Full;
use crate::agent::router::tls::HandshakeError;

/// Notes a connection that ended because of what its client sent, if it did.
pub fn note(config: &Arc<ListenerConfig>, client: SocketAddr, error: &(dyn Error + 'static)) {
    let Some(error) = error.downcast_ref::<hyper::Error>() else {
        return;
    };
    if error.is_parse() {
        let status = if error.is_parse_too_large() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        write(config, client, status, error.to_string());
    }
}

/// Notes a connection that was turned away.
pub fn note_full(config: &Arc<ListenerConfig>, client: SocketAddr, full: Full) {
    let status = match full {
        Full::Client(_) => StatusCode::TOO_MANY_REQUESTS,
        Full::Router | Full::Streams => StatusCode::SERVICE_UNAVAILABLE,
    };
    write(config, client, status, full.to_string());
}

/// Notes a connection that got no further than its beginning.
pub fn note_handshake(config: &Arc<ListenerConfig>, client: SocketAddr, error: &HandshakeError) {
    let status = match error {
        HandshakeError::Late(_) => StatusCode::REQUEST_TIMEOUT,
        HandshakeError::Plain(_) | HandshakeError::Failed(_) | HandshakeError::Gone => {
            StatusCode::BAD_REQUEST
        }
    };
    write(config, client, status, error.to_string());
}

fn write(config: &Arc<ListenerConfig>, client: SocketAddr, status: StatusCode, error: String) {
    let access = &config.shared.access;
    if access.is_on() {
        access.write(Line::refused(config, client, status, error));
    }
}
