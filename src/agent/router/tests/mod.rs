//! The router between real sockets: clients on one side, instances on the other, all in this
//! process.

mod access;
mod forwarding;
mod frames;
mod fuzz;
mod heads;
mod http;
mod interim;
mod limits;
mod pace;
mod recorder;
mod reuse;
mod routes;
mod shares;
mod strict;
mod support;
mod switch;
mod tcp;
mod tls;
mod websocket;
