//! The program: parse, call, print, exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use shipit::cli;
use shipit::output::{Exit, Page, Screen, paints_messages};

/// How long what is still under way may take to come to its end when the command is done.
const LEAVING: Duration = Duration::from_secs(2);

/// Lines are wrapped for a person at a terminal; in a log they stay whole, so that they can be
/// searched.
fn report_handler() -> miette::MietteHandler {
    miette::MietteHandlerOpts::new()
        .wrap_lines(std::io::stderr().is_terminal())
        .color(paints_messages())
        .build()
}

fn main() -> ExitCode {
    shipit::files::process::pass_nothing_on();
    let _ = miette::set_hook(Box::new(|_| Box::new(report_handler())));
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => return cli::misused(error).into(),
    };
    if let Some(code) = cli::direct(&cli) {
        return code.into();
    }

    // Secrets are in its memory from here on.
    shipit::agent::posture::hide();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let page = Page::of(format!("shipit cannot start its runtime: {error}"));
            Screen::default().say(&page);
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(async {
        // Where it cannot be caught, a file that is too large ends this process as it ends any.
        let _ = shipit::files::process::survive_large_files();
        cli::run(cli).await
    });
    // What still blocks (a lock, a file of a network that is gone) keeps nobody from leaving.
    runtime.shutdown_timeout(LEAVING);
    exit.into()
}
