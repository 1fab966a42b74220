//! The keys of `shipit.yaml` and of `environments/*.yaml`: both are one document, the second laid
//! over the first. The JSON Schema is made from these types, and so are the descriptions that an
//! editor shows.
//!
//! Start with [`EnvironmentConfig`]; the other files have its parts.

mod access;
mod approvals;
mod branches;
mod build;
mod cluster;
mod ecr;
mod eks;
mod file;
mod hook;
mod host;
mod host_traffic;
mod image;
mod kubernetes;
mod manifests;
mod marks;
mod nginx;
mod notify;
mod port_listeners;
mod ports;
mod project;
mod publish;
mod registry;
mod rules;
mod secret;
mod service;
mod sources;
mod state;
mod task;
mod text;
mod tls;
mod traffic;
mod volume;

pub use access::*;
pub use approvals::*;
pub use branches::*;
pub use build::*;
pub use cluster::*;
pub use ecr::*;
pub use eks::*;
pub use file::*;
pub use hook::*;
pub use host::*;
pub use host_traffic::*;
pub use image::*;
pub use kubernetes::*;
pub use manifests::*;
pub use marks::*;
pub use nginx::*;
pub use notify::*;
pub(in crate::config) use port_listeners::written_at;
pub use port_listeners::*;
pub use ports::*;
pub use project::*;
pub use publish::*;
pub use registry::*;
pub use rules::*;
pub use secret::*;
pub use service::*;
pub use sources::*;
pub use state::*;
pub use task::*;
pub use text::*;
pub(in crate::config) use tls::check_redirects;
pub use tls::*;
pub use traffic::*;
pub use volume::*;
