//! Requests to services of Amazon of which one operation is used: signed here, and sent as JSON.
//! An SDK of its own for each would be thousands of lines to compile for one call.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use jiff::Timestamp;
use reqwest::redirect::Policy;
use serde_json::Value;

use crate::driver::aws::{
    ANSWER, Aws, domain, is_denial, is_throttling, known_help, without_credentials,
};
use crate::driver::http::{self as servers, BodyFault};
use crate::driver::retry::{Attempts, retry_after};
use crate::model::chain;

/// How long all attempts together may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a service is waited for that says when to come back.
const PATIENCE: Duration = Duration::from_secs(20);

/// The largest answer that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// An operation of a service that speaks JSON (`awsJson1_1`).
#[derive(Debug, Clone, Copy)]
pub(in crate::driver) struct Operation {
    /// The name that requests are signed for, and the first of its host's: `secretsmanager`.
    pub service: &'static str,
    /// The service in the names of variables: `SECRETS_MANAGER`.
    pub variable: &'static str,
    /// As the header `X-Amz-Target` has it: `secretsmanager.GetSecretValue`.
    pub target: &'static str,
}

/// How long credentials hold.
pub(in crate::driver) struct Holding {
    /// Until when; for ever without it.
    pub until: Option<Timestamp>,
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) struct CallFault {
    /// Amazon's name of the error: `ResourceNotFoundException`; empty when it gave none.
    pub code: String,
    pub reason: String,
    pub help: String,
}

impl CallFault {
    fn new(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            code: String::new(),
            reason: reason.into(),
            help: help.into(),
        }
    }
}

/// A request that came to nothing.
struct Refusal {
    fault: CallFault,
    /// The answer's status; 503 without an answer, 0 where another attempt has no sense.
    status: u16,
    /// When to come back, if the service says so.
    wait: Option<Duration>,
}

impl Refusal {
    /// Nothing was answered, or nothing that can be read.
    const fn unanswered(status: u16, fault: CallFault) -> Self {
        let wait = None;
        Self {
            fault,
            status,
            wait,
        }
    }

    /// Whether another attempt may be answered otherwise.
    fn may_get_better(&self) -> bool {
        is_throttling(&self.fault.code) || matches!(self.status, 429 | 500 | 502 | 503 | 504)
    }
}

impl Aws {
    /// The answer to a call. Only for what may be done twice.
    pub(in crate::driver) async fn call(
        &self,
        operation: Operation,
        body: &Value,
    ) -> Result<Value, CallFault> {
        // Where they come from has a deadline of its own, and its own words when it is over.
        let keys = self.keys().await?;
        let attempts = async {
            let mut attempts = Attempts::within(PATIENCE);
            loop {
                let refusal = match self.once(operation, body, &keys).await {
                    Ok(answer) => return Ok(answer),
                    Err(refusal) => refusal,
                };
                let next = refusal
                    .may_get_better()
                    .then(|| attempts.next(refusal.wait));
                match next.flatten() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(refusal.fault),
                }
            }
        };
        match tokio::time::timeout(DEADLINE, attempts).await {
            Ok(answer) => answer,
            Err(_) => Err(CallFault::new(
                format!("no answer within {} s", DEADLINE.as_secs()),
                "look at the network, AWS_ENDPOINT_URL and the proxy",
            )),
        }
    }

    /// How long the credentials hold.
    pub(in crate::driver) async fn credentials(&self) -> Result<Holding, CallFault> {
        let keys = self.keys().await?;
        let until = keys.expiry().map(Timestamp::try_from);
        Ok(Holding {
            until: until.and_then(Result::ok),
        })
    }

    /// The credentials, of whatever source has them.
    pub(super) async fn keys(&self) -> Result<Credentials, CallFault> {
        self.keys_within(DEADLINE).await
    }

    async fn keys_within(&self, limit: Duration) -> Result<Credentials, CallFault> {
        let without = |reason: String| CallFault::new(reason, without_credentials());
        let provider = self.config().await.credentials_provider();
        let provider = provider.ok_or_else(|| without("no credentials".to_owned()))?;
        let keys = tokio::time::timeout(limit, provider.provide_credentials()).await;
        let late = |_| without(format!("no credentials within {} s", limit.as_secs()));
        keys.map_err(late)?.map_err(|error| without(chain(&error)))
    }

    /// The client of all calls.
    async fn client(&self) -> reqwest::Result<&reqwest::Client> {
        let make = async || {
            let builder = servers::client().timeout(ANSWER);
            builder.redirect(Policy::none()).build()
        };
        self.http.get_or_try_init(make).await
    }

    async fn once(
        &self,
        operation: Operation,
        body: &Value,
        keys: &Credentials,
    ) -> Result<Value, Refusal> {
        let signed = self.signed(operation, body, keys).await;
        let request = signed.map_err(|fault| Refusal::unanswered(0, fault))?;
        let unanswered = |error: reqwest::Error| {
            let reason = if error.is_timeout() {
                format!("no answer within {} s", ANSWER.as_secs())
            } else {
                servers::cause(&error)
            };
            // What could not be sent is sent again, as what could not be done.
            let help = "look at the network, AWS_ENDPOINT_URL and the proxy";
            Refusal::unanswered(503, CallFault::new(reason, help))
        };

        let client = self.client().await.map_err(unanswered)?;
        // Another attempt makes no other request.
        let malformed = |error| Refusal {
            status: 0,
            ..unanswered(error)
        };
        let request = reqwest::Request::try_from(request).map_err(malformed)?;
        let response = client.execute(request).await.map_err(unanswered)?;
        let status = response.status();
        let wait = retry_after(response.headers(), SystemTime::now());
        let read = servers::body(response, LIMIT).await;
        let bytes = read.map_err(|fault| match fault {
            BodyFault::TooLarge => {
                let reason = format!("the answer has more than {LIMIT} bytes");
                Refusal::unanswered(0, CallFault::new(reason, "a secret is short"))
            }
            BodyFault::Broken(error) => unanswered(error),
        })?;

        let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(answer);
        }
        let status = status.as_u16();
        Err(Refusal {
            fault: refused(operation, status, &answer),
            status,
            wait,
        })
    }

    /// Where a service is in a region, or what stands in for it.
    async fn address(&self, operation: Operation, region: &str) -> String {
        let named = self.endpoint(operation.variable).await;
        let config = self.config().await;
        let amazons = || {
            let fips = match config.use_fips() {
                Some(true) => "-fips",
                Some(false) | None => "",
            };
            let service = operation.service;
            format!("https://{service}{fips}.{region}.{}", domain(region))
        };
        let url = named.unwrap_or_else(amazons);
        format!("{}/", url.trim_end_matches('/'))
    }

    async fn signed(
        &self,
        operation: Operation,
        body: &Value,
        keys: &Credentials,
    ) -> Result<http::Request<String>, CallFault> {
        let config = self.config().await;
        let region = config.region().ok_or_else(|| {
            let help = "write `sources: {aws: {region: eu-central-1}}`, or set AWS_REGION";
            CallFault::new("nothing says which region it is in", help)
        })?;

        let url = self.address(operation, region.as_ref()).await;
        let wrong = |error: &dyn std::error::Error| {
            CallFault::new(chain(error), "look at AWS_ENDPOINT_URL")
        };
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::Headers;
        let identity = keys.clone().into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_ref())
            .name(operation.service)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| wrong(&error))?
            .into();

        let text = body.to_string();
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", operation.target),
        ];
        let signable = SignableRequest::new(
            "POST",
            url.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(text.as_bytes()),
        );
        let signable = signable.map_err(|error| wrong(&error))?;
        let (signature, _) = sign(signable, &params)
            .map_err(|error| wrong(&error))?
            .into_parts();
        let mut request = http::Request::post(&url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut request = request.body(text).map_err(|error| wrong(&error))?;
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// What Amazon says of a call that it did not carry out.
fn refused(operation: Operation, status: u16, answer: &Value) -> CallFault {
    // `ssm#ParameterNotFound` in some services, the bare name in others.
    let code = answer["__type"].as_str().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default().to_owned();
    let texts = ["message", "Message"].map(|key| answer[key].as_str());
    let message = texts.into_iter().flatten().next().unwrap_or_default();
    let message: String = message.chars().take(300).collect();
    let action = operation.target.rsplit('.').next().unwrap_or_default();
    let action = format!("{}:{action}", operation.service);

    let help = match known_help(&code) {
        _ if is_denial(&code) => format!(
            "allow `{action}` to this identity, and `kms:Decrypt` where the secret has a key of \
             its own"
        ),
        Some(help) => help.to_owned(),
        None => format!("it was `{action}`: look at the name, and at the region"),
    };
    let reason = match (code.as_str(), message.as_str()) {
        ("", "") => format!("HTTP {status}, and no answer of Amazon's"),
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    CallFault { code, reason, help }
}

#[cfg(test)]
mod tests {
    use aws_config::SdkConfig;
    use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

    use super::*;

    /// A source that never answers.
    #[derive(Debug)]
    struct Silent;

    impl ProvideCredentials for Silent {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(std::future::pending())
        }
    }

    #[tokio::test]
    async fn credentials_that_do_not_come_are_not_waited_for_for_ever() {
        let source = SharedCredentialsProvider::new(Silent);
        let config = SdkConfig::builder().credentials_provider(source).build();
        let fault = Aws::with(config).keys_within(Duration::ZERO).await;
        let fault = fault.expect_err("they do not come");
        assert_eq!(fault.reason, "no credentials within 0 s");
    }
}
