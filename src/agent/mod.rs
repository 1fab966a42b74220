//! The long-running side of the host engine: it runs the services' processes and routes traffic to them.
//!
//! ```text
//! posture   what the agent makes of its own process: limits, umask, no core dumps
//! server    gRPC over a Unix socket
//!   core    the engine port: permits, fingerprints, placements, the switch
//!     state      which instances there are and how they are; the one place that sets the router's table
//!     instance   one supervised process: start, readiness, liveness, whose its port is, restart, stop
//!     launch     what stands between the agent and a service until the service is recorded
//!     trouble    whether something is the instance's trouble or this machine's own
//!     runtime    how a process is started, found again and ended
//!     rootfs     an image's files, unpacked and verified
//!     proxy      nginx in front of the slots, and etcd told of a switch (publish)
//!     descriptors how many files may be open, and what for
//!     own_log    what the agent says of itself (log_file: how much of a log is kept)
//!     held       the values of the services' secrets, in memory only
//!     record     what is recorded, so that the next agent goes on where this one was (resume)
//! router    listeners and the reverse proxy
//! ```
//!
//! Uses `model`, `port`, `proto` and `redact`. A service's processes do not need the agent: they outlive it, and the next
//! agent takes them back.

mod clients;
mod confined;
pub mod contain;
mod control_groups;
pub mod core;
mod descriptors;
mod enter;
pub mod environment_state;
mod held;
mod home;
pub mod id_map;
mod instance;
pub mod launch;
mod listeners;
pub mod log_file;
mod log_keeper;
pub mod logs;
pub mod own_log;
mod place;
pub mod posture;
mod proxy;
mod publish;
pub mod record;
mod resume;
mod rootfs;
pub mod router;
pub mod runtime;
mod seccomp;
pub mod server;
mod staging;
pub mod trouble;
pub mod unit;
mod userns;

pub use descriptors::Descriptors;

use crate::proto::Directory;
