//! What may be done on the pages. Each is a form; nothing is done by a link.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;

use super::browser::{html, to};
use super::gate::{self, Form};
use super::pages::message;
use super::views::lane_of;
use super::{Dashboard, Visitor, nothing, trouble};
use crate::model::job::JobNumber;
use crate::ops::doors::intake::{Command, Taken, command};
use crate::ops::doors::{Asker, DoorError, Doors, jobs};
use crate::serve::answer::Answer;

/// Does what somebody who is signed in asks for.
pub(super) async fn answer(
    dashboard: &Arc<Dashboard>,
    doors: &Doors,
    visitor: &Visitor,
    head: &Parts,
    body: Incoming,
) -> Answer {
    let form = match Form::read(body).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    if !gate::is_visitors(dashboard, visitor, (head, &form)) {
        let client = &visitor.client.name;
        tracing::warn!(
            client,
            "a form was refused that is from no page of the server"
        );
        let text = "The form is from no page of this server, or of a session that is over. Go \
                    back, load the page anew, and do it again.";
        let page = message(Some(&visitor.frame()), "Nothing was done", text);
        return html(StatusCode::FORBIDDEN, page);
    }

    let path = head.uri.path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let done = match parts.as_slice() {
        ["logout"] => return gate::sign_out(dashboard, visitor),
        ["jobs", number, "cancel"] => match number.parse() {
            Ok(number) => cancel(doors, visitor, number).await,
            Err(_) => return nothing(Some(visitor), StatusCode::NOT_FOUND),
        },
        ["jobs", number, "retry"] => match number.parse() {
            Ok(number) => retry(doors, visitor, number).await,
            Err(_) => return nothing(Some(visitor), StatusCode::NOT_FOUND),
        },
        ["p", project, environment, "deploy"] => {
            match lane_of(&format!("{project}/{environment}")) {
                Some(lane) => {
                    let reference = form.value("ref").map(str::trim);
                    let asked = Command {
                        project: lane.project,
                        environment: Some(lane.environment),
                        reference: reference.filter(|name| !name.is_empty()).map(str::to_owned),
                    };
                    deploy(doors, visitor, &asked).await
                }
                None => return nothing(Some(visitor), StatusCode::NOT_FOUND),
            }
        }
        _ => return nothing(Some(visitor), StatusCode::NOT_FOUND),
    };
    match done {
        Ok(path) => to(&path),
        Err(error) => trouble(visitor, &error),
    }
}

/// Who may not look at a job is told as much as of one that is not there.
async fn is_seen(doors: &Doors, number: JobNumber, asker: &Asker<'_>) -> Result<(), DoorError> {
    match jobs::show(doors, number, asker).await {
        Err(DoorError::Forbidden(_)) => Err(DoorError::Unknown("there is no such job".to_owned())),
        other => other.map(drop),
    }
}

async fn cancel(doors: &Doors, visitor: &Visitor, number: JobNumber) -> Result<String, DoorError> {
    let asker = Asker::Client(&visitor.client);
    is_seen(doors, number, &asker).await?;
    let job = jobs::cancel(doors, number, &asker).await?;
    let client = &visitor.client.name;
    tracing::info!(client, job = %job.number, "a job was cancelled on its page");
    Ok(format!("/jobs/{}", job.number))
}

async fn retry(doors: &Doors, visitor: &Visitor, number: JobNumber) -> Result<String, DoorError> {
    let asker = Asker::Client(&visitor.client);
    is_seen(doors, number, &asker).await?;
    let taken = jobs::retry(doors, number, &asker).await?;
    let client = &visitor.client.name;
    tracing::info!(client, job = %number, "a job is run again, as somebody asked on its page");
    Ok(page_of(&taken))
}

async fn deploy(doors: &Doors, visitor: &Visitor, wanted: &Command) -> Result<String, DoorError> {
    let asker = Asker::Client(&visitor.client);
    let taken = command(doors, wanted, &asker).await?;
    let client = &visitor.client.name;
    tracing::info!(client, project = %wanted.project, "a deployment was asked for on its page");
    Ok(page_of(&taken))
}

/// The page of the job that does it.
fn page_of(taken: &Taken) -> String {
    let job = taken.jobs.first();
    job.map_or_else(|| "/jobs".to_owned(), |job| format!("/jobs/{}", job.number))
}
