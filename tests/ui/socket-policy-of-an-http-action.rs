use catamaran::{App, Ctx, Http, Socket, action, routes};

#[action(get "/x")]
async fn export(_: Ctx<Http>) {}

fn main() {
    App::new(()).mount(routes![export => Socket]);
}
