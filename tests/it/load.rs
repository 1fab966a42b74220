//! Zero downtime, measured: promotion after promotion under a load of kept connections, bodies and
//! a WebSocket. `SHIPIT_TEST_PROMOTIONS` sets how many; the full number is in `benches/`.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::support::World;
use crate::support::http::Load;

#[test]
fn promotions_under_load_lose_no_request() {
    let promotions: u32 = std::env::var("SHIPIT_TEST_PROMOTIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let world = World::live();
    world.message("v2");
    world.apply().code(0);
    let load = Load::start(&world.live_address(), 32, 1000);
    let socket = WebSocketLoad::start(&world.live_address());
    for turn in 0..promotions {
        let slot = if turn % 2 == 0 { "blue" } else { "green" };
        world
            .run(&["promote", slot, "--env", "staging", "--auto-approve"])
            .code(0)
            .says("0 of ");
    }
    let (seen, echoes) = (load.stop(), socket.stop());
    seen.has_lost_none_of(u64::from(promotions) * 20);
    assert!(
        echoes > u64::from(promotions),
        "the WebSocket was on: {echoes}"
    );
    eprintln!(
        "{promotions} promotions, {} requests, {echoes} echoes, 0 failures",
        seen.requests
    );
}

/// One WebSocket that goes through all promotions: its slot is retained, so nothing may close it.
struct WebSocketLoad {
    stop: tokio_util::sync::CancellationToken,
    thread: std::thread::JoinHandle<u64>,
}

impl WebSocketLoad {
    fn start(address: &str) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let (token, url) = (stop.clone(), format!("ws://{address}/ws"));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let (mut socket, _) = tokio_tungstenite::connect_async(url)
                    .await
                    .expect("a WebSocket");
                let mut echoes = 0;
                while !token.is_cancelled() {
                    socket
                        .send(Message::text(echoes.to_string()))
                        .await
                        .expect("it is open");
                    let answer = socket.next().await.expect("an echo").expect("an echo");
                    assert_eq!(answer.into_text().expect("text"), echoes.to_string());
                    echoes += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                echoes
            })
        });
        Self { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.cancel();
        self.thread.join().expect("the WebSocket lived")
    }
}
