use catamaran::action;

#[action(get "/x")]
async fn x() {
    let shared = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
}

fn main() {}
