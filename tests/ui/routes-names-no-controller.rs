use catamaran::routes;

mod plain {}

fn main() {
    let _: catamaran::Table<()> = routes![plain];
}
