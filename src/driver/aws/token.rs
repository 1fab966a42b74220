//! Logging in to a cluster of EKS: a request to STS that is signed and not sent, made in this
//! process. The cluster sends it, and learns who signed it (`aws-iam-authenticator`, "API
//! Authorization from Outside a Cluster").

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::driver::aws::recipient::{Recipient, is_cluster};
use crate::driver::aws::{Aws, code, domain, explained};
use crate::driver::kubernetes::client::{ClusterLogin, ClusterPlace};
use crate::port::engine::EngineError;

/// A token is good for fifteen minutes; it is replaced before.
const LIFETIME: Duration = Duration::from_mins(10);

/// Logs in to one cluster.
#[derive(Debug)]
pub struct EksLogin {
    aws: Arc<Aws>,
    cluster: String,
    /// Address and certificate of the configuration's own, instead of Amazon's.
    instead: Option<ClusterPlace>,
    recipient: Recipient,
    token: Mutex<Option<(String, Instant)>>,
}

impl EksLogin {
    /// For the cluster of this name.
    #[must_use]
    pub fn new(
        aws: Arc<Aws>,
        cluster: String,
        instead: Option<ClusterPlace>,
        recipient: Recipient,
    ) -> Self {
        Self {
            aws,
            cluster,
            instead,
            recipient,
            token: Mutex::new(None),
        }
    }

    fn unreachable(&self, reason: impl Into<String>, help: impl Into<String>) -> EngineError {
        let what = format!("logging in to cluster {}", self.cluster);
        EngineError::Unreachable {
            what,
            reason: reason.into(),
            help: help.into(),
        }
    }

    /// A token says who one is to the cluster of this name, wherever that is shown.
    async fn may_have_it(&self) -> Result<(), EngineError> {
        let Some(instead) = &self.instead else {
            return Ok(());
        };
        let is_trusted = self.recipient == Recipient::Anybody || is_cluster(&instead.url);
        if is_trusted || self.aws.stands_in("EKS").await {
            return Ok(());
        }
        let url = &instead.url;
        Err(self.unreachable(
            format!("{url} is no cluster of Amazon's, and the login to it would be sent there"),
            "write `cluster: {endpoint_gets_credentials: true}` if this address is yours and leads \
             to the cluster",
        ))
    }

    async fn sign(&self) -> Result<String, EngineError> {
        let config = self.aws.config().await;
        let credentials = self.aws.keys().await;
        let credentials =
            credentials.map_err(|fault| self.unreachable(fault.reason, fault.help))?;

        let region = config
            .region()
            .map_or("us-east-1", |region| region.as_ref())
            .to_owned();
        let named = self.aws.endpoint("STS").await;
        let endpoint = named.unwrap_or_else(|| sts(&region));
        let url = format!(
            "{}/?Action=GetCallerIdentity&Version=2011-06-15",
            endpoint.trim_end_matches('/')
        );

        let wrong = |reason: String| self.unreachable(reason, "this is a fault of shipit's own");
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_mins(1));
        let identity = credentials.into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name("sts")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| wrong(error.to_string()))?
            .into();

        let headers = [("x-k8s-aws-id", self.cluster.as_str())];
        let request = SignableRequest::new(
            "GET",
            url.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(&[]),
        )
        .map_err(|error| wrong(error.to_string()))?;
        let (signed, _) = sign(request, &params)
            .map_err(|error| wrong(error.to_string()))?
            .into_parts();

        let mut request = http::Request::builder()
            .uri(&url)
            .body(())
            .map_err(|error| wrong(error.to_string()))?;
        signed.apply_to_request_http1x(&mut request);
        Ok(format!(
            "k8s-aws-v1.{}",
            URL_SAFE_NO_PAD.encode(request.uri().to_string())
        ))
    }
}

/// STS of a region: a token for one region is signed there.
fn sts(region: &str) -> String {
    format!("https://sts.{region}.{}", domain(region))
}

#[async_trait]
impl ClusterLogin for EksLogin {
    async fn place(&self) -> Result<Option<ClusterPlace>, EngineError> {
        self.may_have_it().await?;
        let answer = self
            .aws
            .eks()
            .await
            .describe_cluster()
            .name(&self.cluster)
            .send()
            .await;
        let cluster = match answer {
            Ok(answer) => answer.cluster,
            Err(error) if code(&error) == "ResourceNotFoundException" => return Ok(None),
            Err(error) => {
                let (reason, help) = explained("eks:DescribeCluster", &error);
                return Err(self.unreachable(reason, help));
            }
        };

        let Some(cluster) = cluster else {
            return Ok(None);
        };
        if let Some(instead) = &self.instead {
            return Ok(Some(instead.clone()));
        }

        // While it is made it has neither.
        let (Some(url), Some(ca)) = (
            cluster.endpoint().map(str::to_owned),
            cluster
                .certificate_authority()
                .and_then(aws_sdk_eks::types::Certificate::data),
        ) else {
            return Ok(None);
        };

        let ca = STANDARD.decode(ca).map_err(|error| {
            self.unreachable(
                format!("its certificate authority: {error}"),
                "look at `aws eks describe-cluster`",
            )
        })?;
        Ok(Some(ClusterPlace { url, ca: Some(ca) }))
    }

    async fn token(&self) -> Result<String, EngineError> {
        self.may_have_it().await?;
        let mut token = self.token.lock().await;
        if let Some((known, _)) = token
            .as_ref()
            .filter(|(_, since)| since.elapsed() < LIFETIME)
        {
            return Ok(known.clone());
        }
        let made = self.sign().await?;
        *token = Some((made.clone(), Instant::now()));
        Ok(made)
    }

    async fn renew(&self) {
        *self.token.lock().await = None;
    }

    fn names(&self) -> String {
        format!("cluster {}", self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;

    #[tokio::test]
    async fn a_login_to_a_cluster_is_not_even_made_to_be_sent_elsewhere() {
        for url in [
            "https://cluster.example.com",
            "https://a.eks.amazonaws.com.example.com",
        ] {
            let aws = Aws::new(Some("eu-central-1".to_owned()), Redactor::default());
            let place = ClusterPlace {
                url: url.to_owned(),
                ca: None,
            };
            let (aws, name) = (Arc::new(aws), "shop".to_owned());
            let login = EksLogin::new(aws, name, Some(place), Recipient::Amazon);
            let error = login.token().await.expect_err("refused");
            assert!(
                error.to_string().contains("no cluster of Amazon's"),
                "{error}"
            );
            let error = login.place().await.expect_err("refused");
            assert!(
                error.to_string().contains("no cluster of Amazon's"),
                "{error}"
            );
        }
    }
}
