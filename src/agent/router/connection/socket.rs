//! Options of a TCP connection, the same towards clients and towards instances.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// How long a connection is silent before the kernel asks whether the other end is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
/// How often it asks then.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// After how many questions without an answer the connection is dead.
const KEEPALIVE_PROBES: u32 = 6;
/// How long sent bytes may stay unacknowledged, in milliseconds: the deadline of every write.
const USER_TIMEOUT_MILLIS: u32 = 120_000;

/// Sends at once, and notices a peer that went away without a word. An option that the system
/// refuses is no reason to refuse the connection.
pub fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES);
    let _ = sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MILLIS);
}
