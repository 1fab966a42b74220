//! Kubernetes, through the real binary against a real control plane, as the account that the
//! documentation describes.

#![allow(clippy::print_stderr)] // a test says what it skips

#[path = "../it/support/build_server.rs"]
mod build_server;
#[path = "../it/support/canaries.rs"]
#[allow(dead_code)] // each test binary uses its own part of it
mod canary;
#[allow(dead_code)] // each test binary uses its own part of it
#[path = "../cluster/support.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "../it/support/http.rs"]
mod http;
#[path = "../it/support/killed.rs"]
mod killed;
#[path = "../it/support/said.rs"]
mod said;
mod site;

mod amazon;
mod autoscaled;
mod balancers;
mod behind;
mod canaries;
mod charts;
mod commands;
mod contents;
mod differential;
mod drift;
mod elsewhere;
mod ends;
mod exclusive;
mod failures;
mod faults;
mod first_light;
mod fixed;
mod front;
mod handover;
mod identity;
mod images;
mod import;
mod jenkins;
mod kills;
mod locks;
mod losses;
mod node;
mod numbers;
mod objects;
mod operations;
mod order;
mod places;
mod pretend;
mod refused;
mod rehearsed;
mod rendered;
mod rounds;
mod schedules;
mod selectors;
mod settled;
mod shown;
mod silent;
mod state;
mod tasks;
mod traffic;
mod workloads;
mod yaml;
