use catamaran_resources::resource;

#[resource(path = "/pet", policy = catamaran_resources::Public)]
fn pet() {}

fn main() {}
