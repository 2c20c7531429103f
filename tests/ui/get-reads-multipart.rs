pub struct Multipart;

#[catamaran::action(get "/x")]
async fn x(_: Multipart) {}

fn main() {}
