//! `shipit client` and `shipit token`: who may ask the server from another machine. They are for
//! the server's machine and its user.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::cli::Cx;
use crate::cli::door::ConfigArg;
use crate::files;
use crate::model::Period;
use crate::model::client::{Client, Proof, Verb};
use crate::ops::doors::DoorError;
use crate::ops::doors::clients::{ClientRequest, Clients, Issued};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const CLIENT_EXAMPLES: &str = "\
Examples:
  shipit client issue jenkins --in 'shop/*' --out jenkins/   a certificate, with its key
  shipit client list                                         who may what, and until when
  shipit client revoke jenkins                               from its next call on it may nothing";

/// What people type most.
const TOKEN_EXAMPLES: &str = "\
Examples:
  shipit token issue ci --in shop/staging   print a token, once
  shipit token list                         who may what, and until when
  shipit token revoke ci                    from its next call on it may nothing";

/// The arguments of `shipit client`.
#[derive(Debug, clap::Args)]
#[command(after_help = CLIENT_EXAMPLES)]
pub struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,

    #[command(flatten)]
    config: ConfigArg,
}

/// The arguments of `shipit token`.
#[derive(Debug, clap::Args)]
#[command(after_help = TOKEN_EXAMPLES)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,

    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Issue a certificate: three files that `trigger --identity` takes.
    #[command(after_help = "Examples:\n  shipit client issue jenkins --in 'shop/*' --out jenkins/")]
    Issue {
        #[command(flatten)]
        given: GivenArgs,

        /// The folder for `client.crt`, `client.key` and `authority.crt`.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// List the clients with certificates.
    #[command(after_help = "Examples:\n  shipit client list --output json")]
    List,
    /// Revoke a client.
    #[command(after_help = "Examples:\n  shipit client revoke jenkins")]
    Revoke {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Issue a token and print it; it is kept nowhere.
    #[command(after_help = "Examples:\n  shipit token issue ci --in shop/staging --valid 30d")]
    Issue {
        #[command(flatten)]
        given: GivenArgs,
    },
    /// List the clients with tokens.
    #[command(after_help = "Examples:\n  shipit token list --output json")]
    List,
    /// Revoke a token.
    #[command(after_help = "Examples:\n  shipit token revoke ci")]
    Revoke {
        /// The client's name.
        name: String,
    },
}

/// What a client is given.
#[derive(Debug, Clone, clap::Args)]
struct GivenArgs {
    /// Its name, which stands in the history of what it asked for.
    name: String,

    /// Where it may: `PROJECT/ENVIRONMENT`, or a glob; once for each.
    #[arg(long = "in", value_name = "GLOB", required = true)]
    within: Vec<String>,

    /// What it may: `view`, `deploy`, `cancel`.
    #[arg(
        long,
        value_name = "VERB",
        value_delimiter = ',',
        default_value = "view,deploy"
    )]
    may: Vec<Verb>,

    /// For how long.
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    valid: Period,
}

impl GivenArgs {
    fn request(&self) -> ClientRequest {
        ClientRequest {
            name: self.name.clone(),
            may: self.may.clone(),
            within: self.within.clone(),
            valid: self.valid,
        }
    }
}

fn failed(error: &DoorError) -> Failure {
    let help = "run it as the server's user; `shipit client list` and `shipit token list` show who \
                there is";
    Failure::say(Exit::Failed, error.to_string(), help)
}

fn clients(config: &ConfigArg) -> Result<Clients, Failure> {
    Ok(Clients::of(&config.load()?.config.data))
}

pub(in crate::cli) fn exec_client(cx: &Cx, args: &ClientArgs) -> Result<Exit, Failure> {
    let clients = clients(&args.config)?;
    match &args.command {
        ClientCommand::Issue { given, out } => {
            let issued = clients
                .certificate(&given.request())
                .map_err(|error| failed(&error))?;
            let files = write(out, &issued).map_err(|error| {
                let what = format!("{}: {error}", out.display());
                Failure::say(
                    Exit::Failed,
                    what,
                    "revoke the client, and issue it under another name",
                )
            })?;
            told(cx, &given.name, &files);
            Ok(Exit::Done)
        }
        ClientCommand::List => list(cx, &clients, Proof::Certificate),
        ClientCommand::Revoke { name } => revoke(cx, &clients, name),
    }
}

pub(in crate::cli) fn exec_token(cx: &Cx, args: &TokenArgs) -> Result<Exit, Failure> {
    let clients = clients(&args.config)?;
    match &args.command {
        TokenCommand::Issue { given } => {
            let token = clients
                .token(&given.request())
                .map_err(|error| failed(&error))?;
            if cx.format == Format::Json {
                cx.screen
                    .document(Kind::Token, &json!({"name": given.name, "token": token}));
            } else {
                cx.screen.show(&Page::of(token));
            }
            Ok(Exit::Done)
        }
        TokenCommand::List => list(cx, &clients, Proof::Token),
        TokenCommand::Revoke { name } => revoke(cx, &clients, name),
    }
}

/// Writes the files of a client. Only their owner can read them.
fn write(folder: &Path, issued: &Issued) -> std::io::Result<Vec<PathBuf>> {
    files::private_folder(folder)?;
    let texts = [
        ("client.crt", &issued.certificate),
        ("client.key", &issued.key),
        ("authority.crt", &issued.authority),
    ];
    let mut written = Vec::new();
    for (name, text) in texts {
        let path = folder.join(name);
        files::replace(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

fn told(cx: &Cx, name: &str, files: &[PathBuf]) {
    if cx.format == Format::Json {
        cx.screen.document(Kind::Init, &json!({"files": files}));
        return;
    }
    for file in files {
        cx.screen
            .show(&Page::of(format!("wrote {}", file.display())));
    }
    cx.screen.say(&Page::of(format!(
        "next: take the folder to where {name} runs, and `shipit trigger PROJECT --server \
         https://HOST:9443 --identity FOLDER`"
    )));
}

fn list(cx: &Cx, clients: &Clients, proof: Proof) -> Result<Exit, Failure> {
    let all = clients.list().map_err(|error| failed(&error))?;
    let found: Vec<Client> = all
        .into_iter()
        .filter(|client| client.proof == proof)
        .collect();
    if cx.format == Format::Json {
        cx.screen.document(Kind::Clients, &found);
    } else if found.is_empty() {
        cx.screen.show(&Page::of("There are none."));
    } else {
        let row = |client: &Client| {
            let may: Vec<&str> = client.may.iter().map(|verb| verb.word()).collect();
            let day = |time: jiff::Timestamp| time.strftime("%Y-%m-%d").to_string();
            let until = match client.revoked {
                Some(revoked) => format!("revoked {}", day(revoked)),
                None => day(client.expires),
            };
            [
                client.name.clone(),
                may.join(", "),
                client.within.join(", "),
                until,
            ]
        };
        let rows = found.iter().map(row).collect();
        cx.screen
            .show(&Page::table(["client", "may", "in", "until"], rows));
    }
    Ok(Exit::Done)
}

fn revoke(cx: &Cx, clients: &Clients, name: &str) -> Result<Exit, Failure> {
    let revoked = clients.revoke(name).map_err(|error| failed(&error))?;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Clients, &[revoked]);
    } else {
        cx.screen.show(&Page::of(format!(
            "{name} is revoked: from its next call on it may nothing."
        )));
    }
    Ok(Exit::Done)
}
