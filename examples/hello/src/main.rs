//! The example service: says which release it is. All it needs of shipit is the port that it is told.

use tiny_http::{Header, Response, Server};

/// What visitors read. Change it and apply again: the new release comes beside the old one.
const GREETING: &str = "Hello from shipit!";

fn main() {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    // In a container the world comes from outside: `HOST=0.0.0.0`.
    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let server = match Server::http(format!("{host}:{port}")) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            std::process::exit(1);
        }
    };
    println!("listening on port {port}");
    for request in server.incoming_requests() {
        let (status, text) = match request.url() {
            "/healthz" => (200, "ok\n".to_owned()),
            "/" => (200, greeting()),
            _ => (404, "not here\n".to_owned()),
        };
        let plain = Header::from_bytes("content-type", "text/plain; charset=utf-8");
        let mut response = Response::from_string(text).with_status_code(status);
        if let Ok(plain) = plain {
            response.add_header(plain);
        }
        if let Err(error) = request.respond(response) {
            eprintln!("a visitor went away: {error}");
        }
    }
}

fn greeting() -> String {
    let about =
        |name: &str| std::env::var(format!("SHIPIT_{name}")).unwrap_or_else(|_| "?".to_owned());
    format!(
        "{GREETING}\nrelease {} in {} of {}\n",
        about("RELEASE"),
        about("SLOT"),
        about("ENVIRONMENT")
    )
}
