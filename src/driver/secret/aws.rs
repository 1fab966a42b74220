//! Amazon's Secrets Manager, and the Parameter Store of its Systems Manager.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::driver::aws::Aws;
use crate::driver::aws::call::{CallFault, Operation};
use crate::driver::secret::{Fault, Found, keys, plain};
use crate::model::secret::{AwsParameter, AwsSecret, SecretVersion};
use crate::port::secret::SecretErrorKind;

const SECRET: Operation = Operation {
    service: "secretsmanager",
    variable: "SECRETS_MANAGER",
    target: "secretsmanager.GetSecretValue",
};

const PARAMETER: Operation = Operation {
    service: "ssm",
    variable: "SSM",
    target: "AmazonSSM.GetParameter",
};

/// A secret of the Secrets Manager, or one value of the map that it is.
pub(super) async fn secret(aws: &Arc<Aws>, secret: &AwsSecret) -> Result<Found, Fault> {
    let name = &secret.name;
    let mut asked = json!({"SecretId": name});
    if let Some(version) = &secret.version {
        asked["VersionId"] = version.clone().into();
    }
    let answer = aws.call(SECRET, &asked).await;
    let what = format!("the secret {name} of Amazon");
    let is_gone = |fault: &CallFault| {
        let codes = ["ResourceNotFoundException", "InvalidRequestException"];
        secret.version.is_some() && codes.contains(&fault.code.as_str())
    };
    let answer = answer.map_err(|fault| failed(&what, &fault, is_gone(&fault)))?;

    let text = answer["SecretString"].as_str().ok_or_else(|| {
        let reason = format!("{what} is no text");
        Fault::new(
            reason,
            "keep it as a text (`SecretString`), in base64 for one",
        )
    })?;
    let version = answer["VersionId"].as_str();
    Ok(Found {
        text: match &secret.key {
            None => text.to_owned(),
            Some(key) => part(&what, text, key)?,
        },
        version: version.map(|id| SecretVersion::Id(id.to_owned())),
        until: None,
    })
}

/// A value of a secret that is a map in JSON.
fn part(what: &str, text: &str, key: &str) -> Result<String, Fault> {
    // What cannot be read is not repeated: it is the secret.
    let map: Value = serde_json::from_str(text).unwrap_or_default();
    let Value::Object(map) = map else {
        let reason = format!("{what} is no map in JSON, and `key` names a part of one");
        return Err(Fault::new(reason, "take `key` out for all of it"));
    };
    let value = map.get(key);
    let value = value.ok_or_else(|| Fault::new(format!("{what} has no `{key}`"), keys(&map)))?;
    plain(value).ok_or_else(|| {
        let reason = format!("`{key}` of {what} is no text");
        Fault::new(reason, "keep it as a text of its own")
    })
}

/// A parameter, decrypted where it is encrypted.
pub(super) async fn parameter(aws: &Arc<Aws>, parameter: &AwsParameter) -> Result<Found, Fault> {
    let name = &parameter.name;
    let asked = match parameter.version {
        None => name.clone(),
        Some(version) => format!("{name}:{version}"),
    };
    let asked = json!({"Name": asked, "WithDecryption": true});
    let answer = aws.call(PARAMETER, &asked).await;
    let what = format!("the parameter {name} of Amazon");
    let is_gone = |fault: &CallFault| {
        let codes = ["ParameterVersionNotFound", "ParameterNotFound"];
        parameter.version.is_some() && codes.contains(&fault.code.as_str())
    };
    let answer = answer.map_err(|fault| failed(&what, &fault, is_gone(&fault)))?;

    let found = &answer["Parameter"];
    let text = found["Value"].as_str().ok_or_else(|| {
        let reason = format!("{what}: there is no value in the answer");
        Fault::new(reason, "look at AWS_ENDPOINT_URL and the proxy")
    })?;
    Ok(Found {
        text: text.to_owned(),
        version: found["Version"].as_u64().map(SecretVersion::Number),
        until: None,
    })
}

fn failed(what: &str, fault: &CallFault, is_gone: bool) -> Fault {
    let reason = format!("{what}: {}", fault.reason);
    if is_gone {
        return Fault {
            reason: format!("this version is not there any more: {reason}"),
            help: "make a new plan, which has the newest".to_owned(),
            kind: SecretErrorKind::Gone,
        };
    }
    Fault::new(reason, fault.help.clone())
}

/// Where the credentials are from, and how long they hold.
pub(super) async fn examine(aws: &Arc<Aws>) -> Result<String, Fault> {
    let holds = aws.credentials().await;
    let holds = holds.map_err(|fault| Fault::new(fault.reason, fault.help))?;
    let until = holds.until.map(|until| format!(", until {until:.0}"));
    Ok(format!(
        "Amazon's credentials are there{}",
        until.unwrap_or_default()
    ))
}
