//! Amazon Web Services: repositories of ECR, clusters of EKS, and how to log in to both.
//!
//! Credentials come from where every AWS tool takes them: variables, profiles, SSO, web identity,
//! the machine's own role. [`repository`], [`pull_through`], [`replication`] and [`eks`] read and
//! write resources as settings; [`provider`] puts them behind the port; [`login`] and [`token`] log
//! in to the registry and to the cluster, and [`recipient`] says who may be given that. [`call`]
//! asks services of which one operation is used; [`profiles`] keeps secrets from the programs that
//! a profile names. Start with [`provider`].

pub(in crate::driver) mod call;
pub mod eks;
mod images;
pub mod inventory;
pub mod login;
mod marks;
mod profiles;
pub mod provider;
mod pull_through;
pub mod recipient;
mod replication;
mod repository;
mod scan;
mod silence;
pub mod token;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use tokio::sync::OnceCell;

use crate::driver::aws::silence::Silence;
use crate::driver::redacted::RememberedKeys;
use crate::driver::state::s3::Bucket;
use crate::files::environment;
use crate::model::chain;
use crate::port::provider::ProviderError;
use crate::redact::Redactor;

/// What to do where there were too many requests.
const TOO_MANY: &str = "Amazon asks for fewer requests: try again in a minute";

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// One region, with credentials. Nothing is asked before it is needed.
#[derive(Debug, Default)]
pub struct Aws {
    region: Option<String>,
    redactor: Redactor,
    config: OnceCell<SdkConfig>,
    /// For the requests that no SDK sends.
    http: OnceCell<reqwest::Client>,
    silence: Silence,
}

impl Aws {
    /// A region; that of the environment without one. What opens it is hidden in all that is
    /// printed.
    #[must_use]
    pub fn new(region: Option<String>, redactor: Redactor) -> Self {
        Self {
            region,
            redactor,
            config: OnceCell::new(),
            http: OnceCell::new(),
            silence: Silence::default(),
        }
    }

    /// With a configuration that is known already, credentials included.
    #[must_use]
    pub fn with(config: SdkConfig) -> Self {
        Self {
            config: OnceCell::new_with(Some(config)),
            ..Self::default()
        }
    }

    async fn config(&self) -> &SdkConfig {
        let load = || async {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .operation_attempt_timeout(ANSWER)
                .operation_timeout(Duration::from_secs(90))
                .build();
            let mut loader = aws_config::defaults(BehaviorVersion::latest())
                .retry_config(RetryConfig::standard().with_max_attempts(5))
                .timeout_config(timeouts);
            if let Some(files) = profiles::without(&environment::withheld()) {
                loader = loader.profile_files(files);
            }
            if let Some(region) = &self.region {
                loader = loader.region(Region::new(region.clone()));
            }
            let config = loader.load().await;
            match config.credentials_provider() {
                None => config,
                Some(keys) => {
                    let keys = RememberedKeys::new(keys, self.redactor.clone());
                    let keys = SharedCredentialsProvider::new(keys);
                    config.into_builder().credentials_provider(keys).build()
                }
            }
        };
        self.config.get_or_init(load).await
    }

    /// The address of what stands in for a service, by the variables that every AWS tool knows: the
    /// service's own goes before the one for all. None: the service is Amazon's.
    async fn endpoint(&self, service: &str) -> Option<String> {
        let own = std::env::var(format!("AWS_ENDPOINT_URL_{service}")).ok();
        let own = own.filter(|url| !url.is_empty());
        let of_all = self.config().await.endpoint_url();
        own.or_else(|| of_all.map(str::to_owned))
    }

    /// Whether whoever runs this has something stand in for Amazon: what that gives is not
    /// Amazon's.
    async fn stands_in(&self, service: &str) -> bool {
        self.endpoint(service).await.is_some()
    }

    async fn ecr(&self) -> aws_sdk_ecr::Client {
        let config = aws_sdk_ecr::config::Builder::from(self.config().await);
        let config = config.interceptor(self.silence.clone());
        let config = config.retry_classifier(self.silence.clone());
        aws_sdk_ecr::Client::from_conf(config.build())
    }

    async fn sts(&self) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::config::Builder::from(self.config().await);
        let config = config.interceptor(self.silence.clone());
        let config = config.retry_classifier(self.silence.clone());
        aws_sdk_sts::Client::from_conf(config.build())
    }

    /// For a bucket. A store that is not Amazon's may not know the checksums that the newest SDKs
    /// send besides: TLS and the document's own checksum are enough.
    pub(in crate::driver) async fn s3(&self, bucket: &Bucket) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(self.config().await)
            .interceptor(self.silence.clone())
            .retry_classifier(self.silence.clone())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(bucket.path_style);
        let config = match &bucket.endpoint {
            Some(endpoint) => config.endpoint_url(endpoint),
            None => config,
        };
        aws_sdk_s3::Client::from_conf(config.build())
    }

    async fn eks(&self) -> aws_sdk_eks::Client {
        let config = aws_sdk_eks::config::Builder::from(self.config().await);
        let config = config.interceptor(self.silence.clone());
        let config = config.retry_classifier(self.silence.clone());
        aws_sdk_eks::Client::from_conf(config.build())
    }
}

/// The domain of a region's services.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}

/// The error's code, when the service gave one: `AccessDeniedException`.
fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.code().unwrap_or_default()
}

/// Whether an endpoint does not have an operation at all, as those that stand in for Amazon's.
fn is_unsupported<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(status(error), 404 | 405 | 500 | 501)
        && matches!(code(error), "" | "404" | "500" | "NotImplemented")
}

fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    is_denial(code(error))
}

/// Whether a code says that this identity may not do it.
fn is_denial(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation"
    )
}

/// Whether a code says that there were too many requests.
fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException" | "Throttling" | "TooManyRequestsException"
    )
}

/// What to do about an error, where its code says it, whatever was being done.
fn known_help(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => {
            "the credentials have expired: log in again (`aws sso login`), or renew the variables"
        }
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "IllegalLocationConstraintException" => {
            "it is in another region: write its `region:` in the configuration, or set AWS_REGION"
        }
        "RequestTimeTooSkewed" => "this machine's clock is wrong: set it",
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch" => {
            "the credentials are not known there: look at AWS_PROFILE and AWS_ACCESS_KEY_ID, and \
             at the clock"
        }
        "SlowDown" | "ServiceUnavailable" => TOO_MANY,
        _ if is_throttling(code) => TOO_MANY,
        "OptInRequired" => "the account has not opted in to this region",
        _ => return None,
    })
}

fn status<E>(error: &SdkError<E>) -> u16 {
    error
        .raw_response()
        .map_or(0, |response| response.status().as_u16())
}

/// What went wrong, in words, and what to do: `action` is the permission that it needs.
fn failed<E>(action: &str, what: impl Into<String>, error: &SdkError<E>) -> ProviderError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (reason, help) = explained(action, error);
    ProviderError::Failed {
        what: what.into(),
        reason,
        help,
    }
}

pub(in crate::driver) fn explained<E>(action: &str, error: &SdkError<E>) -> (String, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let message = error.message().unwrap_or_default();
    if is_unsupported(error) {
        let operation = action.split(':').next_back().unwrap_or(action);
        let status = status(error);
        let reason = format!(
            "the endpoint does not know {operation} (HTTP {status}, and no answer of Amazon's)"
        );
        let help = "AWS_ENDPOINT_URL names something that stands in for Amazon: take what needs \
                    this out of the configuration, or use another endpoint; behind a proxy, look \
                    at the proxy";
        return (reason, help.to_owned());
    }

    let (code, status) = (code(error), matches!(error, SdkError::ServiceError(_)));
    let whole = chain(error);
    let help = match (known_help(code), code) {
        _ if is_denial(code) => {
            format!(
                "allow `{action}` to this identity; docs/reference/aws-policy.json has all that \
                 shipit needs"
            )
        }
        (Some(help), _) => help.to_owned(),
        _ if whole.contains("credentials") || whole.contains("Credentials") => {
            without_credentials()
        }
        _ if whole.contains("region") && !status => {
            "write `region:` in the configuration, or set AWS_REGION".to_owned()
        }
        _ if !status => "look at the network, AWS_ENDPOINT_URL and the proxy".to_owned(),
        (None, "") => format!("it was `{action}`: look at AWS_ENDPOINT_URL and the proxy"),
        (None, _) => format!("it was `{action}`"),
    };

    let reason = match (code, message) {
        _ if matches!(error, SdkError::TimeoutError(_)) => {
            format!("connected, no answer within {} s", ANSWER.as_secs())
        }
        ("", "") if status => "the answer is not one of Amazon's".to_owned(),
        ("", "") => whole,
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    (reason, help)
}

/// What to do when there are no credentials: it depends on where they should come from.
fn without_credentials() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(file) = set("AWS_WEB_IDENTITY_TOKEN_FILE") {
        return format!(
            "they come from AWS_WEB_IDENTITY_TOKEN_FILE ({file}) and AWS_ROLE_ARN: look whether \
             the token is there and has not ended, and whether the role trusts who gave it"
        );
    }
    match set("AWS_PROFILE") {
        Some(profile) => format!(
            "they come from the profile {profile}: log in with `aws sso login --profile \
             {profile}`, or look at ~/.aws/config"
        ),
        None => "no credentials were found: set AWS_PROFILE, or log in with `aws sso login`, or \
                 give the machine a role"
            .to_owned(),
    }
}
