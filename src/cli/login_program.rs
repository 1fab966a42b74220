//! `shipit login-program`, which shipit starts for itself in the place of a kubeconfig's program.

use std::ffi::OsString;

use crate::ops::wiring::login_program;
use crate::output::{Exit, Page, Screen};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The program and its arguments.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Starts it, and passes on what it gives.
pub(super) async fn exec(args: &Args) -> Exit {
    let screen = Screen::default();
    match login_program::run(&args.command).await {
        Ok(answer) => {
            screen.pass(&answer);
            Exit::Done
        }
        Err(reason) => {
            screen.say(&Page::document(&reason));
            Exit::Failed
        }
    }
}
