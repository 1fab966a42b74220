//! A service that takes a connection and says nothing is asked once. One that has answered before
//! is asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_ecr::config::ConfigBag;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Whether any service has answered; whoever has a clone knows of the same answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Silence(Arc<AtomicBool>);

impl Intercept for Silence {
    fn name(&self) -> &'static str {
        "Silence"
    }

    fn read_after_transmit(
        &self,
        _answer: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl ClassifyRetry for Silence {
    fn classify_retry(&self, call: &InterceptorContext) -> RetryAction {
        let error = call.output_or_error().and_then(Result::err);
        let is_late = error.is_some_and(|error| {
            let connector = error.as_connector_error();
            error.is_timeout_error() || connector.is_some_and(ConnectorError::is_timeout)
        });
        if is_late && !self.0.load(Ordering::Relaxed) {
            RetryAction::RetryForbidden
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "Silence"
    }
}
