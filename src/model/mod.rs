//! The words of shipit as types: environment, service, source, image, release, slot, plan, event.
//!
//! Plain data only: no I/O, no clients, no clock. Uses nothing else of the project, and everything
//! else uses it. Start with [`release`] and [`slot`] for the nouns, then [`plan`] for what is done
//! to them.

pub mod access;
pub mod address;
pub mod alb;
pub mod approval;
pub mod branch;
pub mod build;
pub mod chain;
pub mod check;
pub mod command;
pub mod comparison;
pub mod desired;
pub mod digest;
pub mod drift;
pub mod endpoint;
pub mod event;
pub mod facts;
pub mod fields;
pub mod first_of;
pub mod garbage;
pub mod health;
pub mod host;
pub mod identity;
pub mod image;
pub mod journal;
pub mod kind;
pub mod lease;
pub mod limits;
pub mod loss;
pub mod mark_key;
pub mod name;
pub mod object;
pub mod object_key;
pub mod object_name;
pub mod observed;
pub mod outcome;
pub mod own_rule;
pub mod period;
pub mod plan;
pub mod platform;
pub mod promotion;
pub mod provenance;
pub mod quantity;
pub mod release;
pub mod resource;
pub mod route;
pub mod sbom;
pub mod secret;
pub mod signature;
pub mod size;
pub mod slot;
pub mod source;
pub mod sshsig;
pub mod state;
pub mod ticket;
pub mod trusted_proxies;
pub mod verdict;
pub mod window;
pub mod workload;

pub use address::Address;
pub use chain::chain;
pub use digest::{ContentHash, Digest, Fingerprint};
pub use endpoint::is_loopback;
pub use host::Host;
pub use name::{EnvironmentName, ProjectName, ServiceName};
pub use object::Manifest;
pub use object_key::{ObjectKey, group_of};
pub use period::Period;
pub use platform::Platform;
pub use release::ReleaseNumber;
pub use size::ByteSize;
pub use slot::{Role, Slot};
pub use trusted_proxies::TrustedProxies;
