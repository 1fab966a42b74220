//! The calls of an agent that keeps the state of its environments.

use super::{HostEngine, SHORT, request};
use crate::driver::host::AgentPlace;
use crate::port::engine::EngineError;
use crate::proto::v1;
use crate::proto::v1::agent_client::AgentClient;
use tonic::Status;
use tonic::transport::Channel;

impl HostEngine {
    /// Where its agent is, for a reader.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.place {
            AgentPlace::Here(directory, _) => {
                format!("the agent in {}", directory.path().display())
            }
            AgentPlace::There(machine) => format!("the agent on {}", machine.address()),
        }
    }

    async fn documents(&self) -> Result<AgentClient<Channel>, EngineError> {
        self.client().await
    }

    async fn told(&self, status: Status) -> EngineError {
        if status.code() == tonic::Code::Unimplemented {
            return EngineError::Unreachable {
                what: format!("asking {}", self.place()),
                reason: "it is of an earlier version and keeps no state".to_owned(),
                help:
                    "`shipit agent upgrade --at …` puts this version on another machine; `shipit \
                       agent stop` ends the one here, and the next command starts one of this \
                       version"
                        .to_owned(),
            };
        }
        let error = EngineError::from(status);
        match &self.place {
            AgentPlace::Here(..) => error,
            AgentPlace::There(machine) => machine.explained(error).await,
        }
    }

    pub(in crate::driver) async fn read_document(
        &self,
        key: &str,
    ) -> Result<Option<v1::Document>, EngineError> {
        let message = v1::ReadDocumentRequest {
            key: key.to_owned(),
        };
        let mut client = self.documents().await?;
        match client.read_document(request(message, SHORT)).await {
            Ok(reply) => Ok(reply.into_inner().document),
            Err(status) => Err(self.told(status).await),
        }
    }

    pub(in crate::driver) async fn write_document(
        &self,
        message: v1::WriteDocumentRequest,
    ) -> Result<Option<String>, EngineError> {
        let mut client = self.documents().await?;
        match client.write_document(request(message, SHORT)).await {
            Ok(reply) => Ok(reply.into_inner().version),
            Err(status) => Err(self.told(status).await),
        }
    }

    pub(in crate::driver) async fn delete_document(&self, key: &str) -> Result<(), EngineError> {
        let message = v1::DeleteDocumentRequest {
            key: key.to_owned(),
        };
        let mut client = self.documents().await?;
        match client.delete_document(request(message, SHORT)).await {
            Ok(_) => Ok(()),
            Err(status) => Err(self.told(status).await),
        }
    }

    pub(in crate::driver) async fn list_documents(
        &self,
        folder: &str,
    ) -> Result<Vec<String>, EngineError> {
        let message = v1::ListDocumentsRequest {
            folder: folder.to_owned(),
        };
        let mut client = self.documents().await?;
        match client.list_documents(request(message, SHORT)).await {
            Ok(reply) => Ok(reply.into_inner().keys),
            Err(status) => Err(self.told(status).await),
        }
    }
}
