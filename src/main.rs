//! The program: parse, call, print, exit code.

use std::process::ExitCode;

use clap::Parser;
use shipit::cli::{self, Cli};
use shipit::output::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("shipit cannot start its runtime: {error}");
            return Exit::Failed.into();
        }
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            anstream::eprintln!("{:?}", failure.report);
            failure.exit.into()
        }
    }
}
