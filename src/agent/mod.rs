//! The long-running side of the host engine: it runs the services' processes and routes traffic to them.

pub mod router;
