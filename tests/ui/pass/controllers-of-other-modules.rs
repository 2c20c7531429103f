#![deny(warnings)]

use catamaran::routes;

mod api {
    pub mod users {
        use catamaran::{action, actions};

        actions! { "/users" => list, self::show }

        #[action(get "/")]
        pub async fn list() {}

        #[action(get "/{name}")]
        pub async fn show(name: String) -> String {
            name
        }
    }
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![api::users, crate::controllers_of_other_modules::api::users::show, catamaran_tests::elsewhere];
    assert_eq!(table.routes.len(), 5);
}
