//! From the start of the process to its first answer.

use std::time::Instant;

use crate::{
    client::Http,
    rounds::{Plan, Rounds, Side},
    server::Server,
};

pub(crate) async fn run(plan: Plan) {
    let plan = Plan { rounds: if plan.smoke { 1 } else { 21 }, ..plan };
    let rounds = Rounds::measure(plan, async |side| {
        let start = Instant::now();
        let server = Server::start(match side {
            Side::Catamaran => "catamaran",
            Side::Twin => "axum",
        });
        let request = "GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n";
        Http::connect(server.address).await.ask(request, r#"{"message":"hello"}"#).await;
        start.elapsed().as_secs_f64() * 1e3
    });
    rounds.await.print_ratio("first answer after", "ms");
}
