use catamaran::action;

struct Users;

impl Users {
    #[action(get "/users")]
    async fn list(&self) {}
}

fn main() {}
