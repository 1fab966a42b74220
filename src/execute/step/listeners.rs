//! A service's listeners.

use crate::execute::Run;
use crate::execute::step::facts;
use crate::execute::step::outcome::{Done, StepError};
use crate::model::ServiceName;
use crate::model::journal::Direction;
use crate::model::plan::Step;
use crate::model::route::Route;

pub(super) async fn listen(
    run: &Run,
    step: &Step,
    direction: Direction,
) -> Result<Done, StepError> {
    let routes: Vec<Route> = step.action.routes().cloned().collect();
    let services = routes.iter().map(|route| &route.service);
    let expects = match direction {
        Direction::Forward => step.expects.clone(),
        Direction::Back => facts(run).await?.routes_fingerprint(services),
    };

    let (engine, permit) = (&run.acting().await?.engine, run.permit());
    match &routes[..] {
        [route] => engine.listen(permit, route, expects).await?,
        routes => engine.listen_together(permit, routes, expects).await?,
    }
    let words: Vec<String> = routes.iter().map(Route::to_string).collect();
    Ok(Done::say(words.join("; ")))
}

pub(super) async fn stop_listening(run: &Run, service: &ServiceName) -> Result<Done, StepError> {
    let engine = &run.acting().await?.engine;
    engine.stop_listening(run.permit(), service).await?;
    Ok(Done::say("closed"))
}
