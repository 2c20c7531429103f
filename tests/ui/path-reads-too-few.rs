use axum::extract::Path;
use catamaran::action;

#[action(get "/rooms/{room}/posts/{post}")]
async fn post(Path(room): Path<u64>) -> String {
    room.to_string()
}

fn main() {}
