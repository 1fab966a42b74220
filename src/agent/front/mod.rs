//! What stands in front of the slots and is told of a switch: a proxy of its own, and whoever asks
//! an etcd.

pub(in crate::agent) mod etcd;
pub(in crate::agent) mod nginx;
pub(in crate::agent) mod seen;
