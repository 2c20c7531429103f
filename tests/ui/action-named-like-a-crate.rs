use catamaran::action;

#[action(get "/tokio")]
async fn tokio() {
    ::tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

fn main() {}
