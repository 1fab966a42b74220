//! Streams of a command in a container, over a WebSocket.

use k8s_openapi::api::core::v1::Pod;
use kube::Api as Typed;
use kube::api::{AttachParams, AttachedProcess};

use super::call::ANSWER;
use super::fault::fault;
use super::{Api, ApiError};

impl Api {
    /// Starts a command in a container.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        command: &[String],
        params: &AttachParams,
    ) -> Result<AttachedProcess, ApiError> {
        let pods: Typed<Pod> = self.pods(namespace)?;
        self.in_time(pods.exec(pod, command.to_vec(), params)).await
    }

    /// Attaches to the command that a container runs.
    pub async fn attach(
        &self,
        namespace: &str,
        pod: &str,
        params: &AttachParams,
    ) -> Result<AttachedProcess, ApiError> {
        let pods: Typed<Pod> = self.pods(namespace)?;
        self.in_time(pods.attach(pod, params)).await
    }

    fn pods(&self, namespace: &str) -> Result<Typed<Pod>, ApiError> {
        let client = (self.upgrading)().map_err(|error| ApiError::Unreachable {
            reason: error.to_string(),
        })?;
        Ok(Typed::namespaced(client, namespace))
    }

    async fn in_time(
        &self,
        asking: impl Future<Output = Result<AttachedProcess, kube::Error>>,
    ) -> Result<AttachedProcess, ApiError> {
        let late = |_| ApiError::Unreachable {
            reason: format!("{}: connected, no answer", self.server),
        };
        let answered = tokio::time::timeout(ANSWER, asking).await.map_err(late)?;
        answered.map_err(|error| fault(&error))
    }
}
