//! The router between real sockets: clients on one side, instances on the other, all in this process.

mod access;
mod forwarding;
mod http;
mod limits;
mod reuse;
mod routes;
mod support;
mod switch;
mod websocket;
