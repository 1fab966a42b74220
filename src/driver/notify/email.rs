//! E-mail, by a server that takes mail for others (RFC 5321).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{AsyncTransport as _, Tokio1Executor};

use crate::files;
use crate::model::notice::Receipt;
use crate::model::secret::SecretValue;
use crate::model::{chain, is_loopback};
use crate::port::Notifier;
use crate::port::notifier::{DeliveryError, DeliveryFault, Message};

/// How long the server has for each of its answers.
const ANSWER: Duration = Duration::from_secs(20);
/// The longest subject, in characters.
const SUBJECT: usize = 200;
/// The largest file of certificates, in bytes.
const CERTIFICATES: u64 = 1 << 20;

/// A mail server, and who gets mail by it.
pub struct Email {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: MailTls,
    /// The certificates that are trusted besides the machine's.
    pub ca: Option<PathBuf>,
    /// The user and the password, where the server wants a login.
    pub login: Option<(String, SecretValue)>,
    /// Who sends.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// It begins in the open, and goes on encrypted or not at all.
    Starttls,
    /// From the first byte on.
    Implicit,
    /// Not at all: for a server on this machine.
    None,
}

#[async_trait]
impl Notifier for Email {
    /// A letter is plain text; what would begin another line of its head, or hide what stands
    /// before it, is left out.
    fn escape(&self, text: &str) -> String {
        plain(text)
    }

    async fn send(&self, message: &Message) -> Result<Option<Receipt>, DeliveryError> {
        let letter = self.letter(message)?;
        let transport = self.transport()?;
        let (envelope, letter) = (letter.envelope().clone(), letter.formatted());
        match transport.send_raw(&envelope, &letter).await {
            Ok(_) => return Ok(None),
            Err(error) if !error.is_permanent() || envelope.to().len() < 2 => {
                return Err(self.refused(&error));
            }
            Err(_) => {}
        }
        // One whom the server does not take keeps it from nobody else (RFC 5321, 3.3).
        let (mut is_sent, mut failure) = (false, None);
        for to in envelope.to() {
            let own = Envelope::new(envelope.from().cloned(), vec![to.clone()]);
            let own = own.map_err(|error| refused(chain(&error)))?;
            match transport.send_raw(&own, &letter).await {
                Ok(_) => is_sent = true,
                // What may pass is tried again for all, unless somebody has it already.
                Err(error) if !error.is_permanent() && !is_sent => return Err(self.refused(&error)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if !is_sent => Err(self.refused(&error)),
            _ => Ok(None),
        }
    }
}

impl Email {
    fn letter(&self, message: &Message) -> Result<lettre::Message, DeliveryError> {
        let notice = &message.notice;
        let from = mailbox(&self.from)?;
        let domain = from.email.domain().to_owned();
        let subject = message.title.clone().unwrap_or_else(|| notice.title());
        let subject: String = plain(&subject).chars().take(SUBJECT).collect();

        // The same letter has the same id, however often it is sent.
        let own = format!(
            "<{}.{}.{}@{domain}>",
            notice.id, notice.environment, notice.project
        );
        let thread = notice
            .release
            .map_or_else(|| notice.run.clone(), |it| it.to_string());
        let thread = format!(
            "<{thread}.{}.{}@{domain}>",
            notice.environment, notice.project
        );
        let mut builder = MessageBuilder::new()
            .from(from)
            .subject(subject)
            .date(notice.at.into())
            .message_id(Some(own))
            .in_reply_to(thread.clone())
            .references(thread)
            .header(ContentType::TEXT_PLAIN)
            // RFC 3834: nobody's answering machine answers.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &self.to {
            builder = builder.to(mailbox(to)?);
        }
        let body = message.text.clone().unwrap_or_else(|| body(message));
        let letter = builder.body(body);
        letter.map_err(|error| refused(format!("the letter cannot be made: {}", chain(&error))))
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, DeliveryError> {
        let tls = match self.tls {
            MailTls::Starttls => Tls::Required(self.trust()?),
            MailTls::Implicit => Tls::Wrapper(self.trust()?),
            MailTls::None if is_loopback(&self.host) => Tls::None,
            MailTls::None => {
                let reason = "without TLS all of it would be readable on its way";
                return Err(refused(reason.to_owned()));
            }
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .timeout(Some(ANSWER))
            .tls(tls);
        let builder = match &self.login {
            Some((user, password)) => {
                let password = password.expose().to_owned();
                builder.credentials(Credentials::new(user.clone(), password))
            }
            None => builder,
        };
        Ok(builder.build())
    }

    fn trust(&self) -> Result<TlsParameters, DeliveryError> {
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(path) = &self.ca {
            let wrong = |reason: String| refused(format!("{}: {reason}", path.display()));
            let bundle =
                files::read(path, CERTIFICATES).map_err(|error| wrong(error.to_string()))?;
            let certificate = Certificate::from_pem(&bundle);
            let certificate = certificate.map_err(|error| wrong(chain(&error)))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder
            .build_rustls()
            .map_err(|error| refused(chain(&error)))
    }

    fn refused(&self, error: &smtp::Error) -> DeliveryError {
        let server = format!("{}:{}", self.host, self.port);
        let (kind, help) = if error.is_permanent() {
            let help = "look at the addresses, the user and the password, and at what it says";
            (DeliveryFault::Refused, help)
        } else {
            let help = "look at `server` and `tls`; it is tried again by the next command";
            (DeliveryFault::Unavailable(None), help)
        };
        DeliveryError {
            reason: format!("{server}: {}", plain(&chain(error))),
            help: help.to_owned(),
            kind,
        }
    }
}

/// Whether a text is an address, as `shipit <shipit@example.com>`.
fn mailbox(text: &str) -> Result<Mailbox, DeliveryError> {
    let parsed = text.parse();
    parsed.map_err(|error| refused(format!("`{text}` is no address: {}", chain(&error))))
}

fn refused(reason: String) -> DeliveryError {
    DeliveryError {
        reason,
        help: "look at `email` under `notify`".to_owned(),
        kind: DeliveryFault::Refused,
    }
}

/// What stands in a letter where the configuration has no text of its own.
fn body(message: &Message) -> String {
    let notice = &message.notice;
    let mut text = format!("{}\n\n", plain(&notice.title()));
    for (name, value) in notice.facts() {
        let _ = writeln!(text, "{name}: {}", plain(&value));
    }
    text
}

/// A text in one line, without control characters and marks that turn its direction.
fn plain(text: &str) -> String {
    let is_mark = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = text.chars().filter(|c| !is_mark(*c));
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::notify::tests::hostile;

    fn email() -> Email {
        Email {
            host: "127.0.0.1".to_owned(),
            port: 25,
            tls: MailTls::None,
            ca: None,
            login: None,
            from: "shipit <ship@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned()],
        }
    }

    #[test]
    fn a_text_of_somebody_elses_is_no_header_and_no_second_letter() {
        let text = "x\r\nBcc: evil@example.com\r\n\r\n.\r\nMAIL FROM:<evil@example.com>\r\n";
        let mut message = hostile(text);
        for title in [None, Some(text.to_owned())] {
            message.title = title;
            let letter = email().letter(&message).expect("a letter");
            let text = String::from_utf8(letter.formatted()).expect("text");
            let (head, _) = text.split_once("\r\n\r\n").expect("a head");
            let names = head
                .lines()
                .filter(|line| line.to_lowercase().starts_with("bcc"));
            assert_eq!(names.count(), 0, "{head}");
            assert_eq!(letter.envelope().to().len(), 1);
        }
    }

    #[test]
    fn the_same_letter_has_the_same_id_and_a_release_one_thread() {
        let message = hostile("a reason");
        let head = |message: &Message| {
            let letter = email().letter(message).expect("a letter");
            String::from_utf8(letter.formatted()).expect("text")
        };
        let text = head(&message);
        assert_eq!(text, head(&message));
        assert!(text.contains("Message-ID: <20260101-2-ended.staging.shop@example.com>"));
        assert!(
            text.contains("References: <7.staging.shop@example.com>"),
            "{text}"
        );
    }

    #[test]
    fn nothing_is_sent_in_the_open_but_on_this_machine() {
        let elsewhere = Email {
            host: "mail.example.com".to_owned(),
            ..email()
        };
        let error = elsewhere.transport().expect_err("it is refused");
        assert!(error.reason.contains("readable"), "{error}");
        email().transport().expect("this machine");
    }
}
