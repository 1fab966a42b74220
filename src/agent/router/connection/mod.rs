//! A client's connection: bound, accepted, given its place, watched, served and ended.

pub(in crate::agent::router) mod acceptor;
pub(in crate::agent::router) mod activity;
pub(in crate::agent::router) mod budget;
pub(in crate::agent::router) mod client_stream;
pub(in crate::agent::router) mod clients;
pub(in crate::agent::router) mod head_watch;
pub(in crate::agent::router) mod interim;
pub(in crate::agent::router) mod line_ends;
pub(in crate::agent::router) mod listen;
pub(in crate::agent::router) mod open;
pub(in crate::agent::router) mod pace;
pub(in crate::agent::router) mod serve;
pub(in crate::agent::router) mod socket;
pub(in crate::agent::router) mod streams;
pub(in crate::agent::router) mod turn_away;
pub(in crate::agent::router) mod wait;
pub(in crate::agent::router) mod wire;
