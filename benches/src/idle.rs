//! Memory of a socket that is connected and says nothing.

use crate::{
    client::Socket,
    rounds::{Plan, Rounds, Side},
    server::Server,
};

pub(crate) async fn run(plan: Plan) {
    let sockets = if plan.smoke { 50 } else { 2_000 };
    // Each round starts new processes, since an allocator keeps what it once had.
    let plan = Plan { rounds: plan.rounds.min(3), ..plan };
    let rounds = Rounds::measure(plan, async |side| {
        let server = Server::start(match side {
            Side::Catamaran => "catamaran",
            Side::Twin => "silent",
        });
        // What the first connection allocates once for all does not count.
        let mut connected = vec![Socket::connect(server.address).await];
        let before = server.memory();
        while connected.len() <= sockets {
            connected.push(Socket::connect(server.address).await);
        }
        (server.memory() - before) / sockets as f64 / 1024.0
    });
    rounds.await.print_difference(&format!("{sockets} idle sockets, each"), "KiB");
}
