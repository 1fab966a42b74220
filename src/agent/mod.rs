//! The long-running side of the host engine: it runs the services' processes and routes traffic to
//! them.
//!
//! ```text
//! posture    what the agent makes of its own process: limits, umask, no core dumps
//! server     gRPC over a Unix socket
//!   received   images of clients on other machines
//!   documents  the state of environments, for clients on several machines
//!   engine     the engine port: permits, fingerprints, placements, the switch
//!     environment_state  which instances there are and how they are; the one place that sets the router's table
//!     held       the values of the services' secrets, in memory only
//!     record     what is recorded, so that the next agent goes on where this one was (resume)
//!   instance   one supervised process: start, readiness, liveness, whose its port is, restart, stop
//!   launch     what stands between the agent and a service until the service is recorded
//!   trouble    whether something is the instance's trouble or this machine's own
//!   runtime    how a process is started, found again and ended; one folder or file for each kind
//!   rootfs     an image's files, unpacked and verified
//!   front      nginx in front of the slots, and etcd told of a switch
//!   log        the instances' logs and the agent's own
//!   descriptors  how many files may be open, and what for
//! host_probe what this machine can start, for those who ask beforehand
//! router     the reverse proxy: connection, request, upstream
//! ```
//!
//! Uses `model`, `port`, `proto` and `redact`. A service's processes do not need the agent: they
//! outlive it, and the next agent takes them back.

mod answer;
mod clients;
mod descriptors;
mod documents;
pub mod engine;
mod family;
mod front;
mod home;
pub mod host_probe;
mod identity;
mod instance;
pub mod launch;
pub mod log;
pub mod posture;
mod received;
mod rootfs;
pub mod router;
pub mod runtime;
pub mod server;
pub mod trouble;
pub mod unit;

pub use descriptors::Descriptors;
#[cfg(any(test, fuzzing))]
pub(crate) use rootfs::hostile as hostile_layer;

use crate::proto::Directory;
