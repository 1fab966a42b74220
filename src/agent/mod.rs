//! The long-running side of the host engine: it runs the services' processes and routes traffic to them.
//!
//! ```text
//! server    gRPC over a Unix socket
//!   core    the engine port: permits, fingerprints, placements, the switch
//!     board      which instances there are and how they are; the one place that sets the router's table
//!     instance   one supervised process: start, health, restart, stop
//!     runtime    how a process is started, found again and ended
//!     rootfs     an image's files, unpacked and verified
//!     proxy      nginx in front of the slots, and etcd told of a switch (publish)
//!     record     what is written down, so that the next agent goes on where this one was (resume)
//! router    listeners and the reverse proxy
//! ```
//!
//! Uses `model`, `port`, `proto` and `redact`. A service's processes do not need the agent: they outlive it, and the next
//! agent takes them back.

pub mod board;
mod confined;
pub mod contain;
pub mod core;
mod health;
mod instance;
mod log_keeper;
pub mod logs;
mod place;
mod proxy;
mod publish;
pub mod record;
mod resume;
mod rootfs;
pub mod router;
pub mod runtime;
mod seccomp;
pub mod server;
pub mod unit;
mod userns;

use crate::proto::Directory;
