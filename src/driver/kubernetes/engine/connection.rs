//! An engine, and how it comes to its API server: with the first call that needs it.

use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};

use crate::driver::kubernetes::client::api::Api;
use crate::driver::kubernetes::client::connect;
use crate::driver::kubernetes::engine::record::Records;
use crate::driver::kubernetes::engine::{KubernetesEngine, Settings};
use crate::port::engine::{EngineError, Scope};

impl KubernetesEngine {
    /// An engine for one environment. Nothing is asked of the cluster yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            api: OnceCell::new(),
            newest: Mutex::default(),
            placed: std::sync::Mutex::default(),
            seen: std::sync::Mutex::default(),
            observed: std::sync::Mutex::default(),
            key: std::sync::Mutex::default(),
            announced: std::sync::Mutex::default(),
            leavings: std::sync::Mutex::default(),
        }
    }

    pub(super) async fn api(&self) -> Result<&Arc<Api>, EngineError> {
        let connect = async {
            let connected = connect::connect(&self.settings.connection).await?;
            Ok::<_, EngineError>(Arc::new(Api::new(connected)))
        };
        self.api.get_or_try_init(|| connect).await
    }

    /// The same; none when the cluster is not there yet.
    pub(super) async fn try_api(&self) -> Result<Option<&Arc<Api>>, EngineError> {
        if let Some(api) = self.api.get() {
            return Ok(Some(api));
        }
        let Some(connected) = connect::try_connect(&self.settings.connection).await? else {
            return Ok(None);
        };
        let made = async { Ok::<_, EngineError>(Arc::new(Api::new(connected))) };
        self.api.get_or_try_init(|| made).await.map(Some)
    }

    /// How many requests were sent so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.api.get().map_or(0, |api| api.requests())
    }

    pub(super) fn records<'a>(&'a self, api: &'a Api, scope: &'a Scope) -> Records<'a> {
        Records {
            api,
            scope,
            namespaces: &self.settings.namespaces,
            known_key: &self.key,
        }
    }
}
