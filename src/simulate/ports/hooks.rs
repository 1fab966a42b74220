//! Hooks, of which nothing comes in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::model::hook::{Hook, HookFacts};
use crate::model::secret::SecretValue;
use crate::port::Progress;
use crate::port::hooks::{HookCaller, HookFailure};
use crate::simulate::world::Runner;

#[async_trait]
impl HookCaller for Runner {
    async fn call(
        &self,
        _: &Hook,
        _: &HookFacts,
        _: &BTreeMap<String, SecretValue>,
        _: Progress<'_>,
    ) -> Result<(), HookFailure> {
        Ok(())
    }
}
