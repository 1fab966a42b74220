//! The integration tests: one binary, a file per scenario. Each goes through the real binary and a
//! real agent.

#![allow(clippy::print_stderr)] // a test says what it skips, and what its world looked like when it failed

mod support;

mod activation;
mod alike;
mod approvals;
mod behind;
mod branches;
mod cache;
mod canaries;
mod changes;
mod clients;
mod containers;
mod crowds;
mod damage;
mod docker;
mod documents;
mod drift;
mod elsewhere;
mod exclusive;
mod failures;
mod foreign;
mod habits;
mod hooks;
mod hostile;
mod house;
mod images;
mod interrupts;
mod kills;
mod launch;
mod listeners;
mod load;
mod locks;
mod manual;
mod nginx;
mod notify;
mod pipelines;
mod plan_files;
mod platforms;
mod promote;
mod proto;
mod readiness;
mod registry;
mod rehearse;
mod report_status;
mod restart;
mod rollback;
mod rules;
mod schema;
mod secrets;
mod serve;
mod service_files;
mod settled;
mod several_ports;
mod silent;
mod spoiled;
mod state;
mod strategies;
mod supply;
mod systemd;
mod tasks;
mod tcp;
mod trust;
mod vault;
