use catamaran::action;

pub struct NotAReply;

#[action(get "/x")]
async fn x() -> NotAReply {
    NotAReply
}

fn main() {}
