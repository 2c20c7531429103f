use catamaran::action;

#[action(get "/{id}")]
async fn x(id: impl ToString) -> String {
    id.to_string()
}

fn main() {}
