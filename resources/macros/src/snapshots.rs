//! The code that the macro writes, as Rust that a reader can review: `snapshots/resource.rs`.
//!
//! `SNAPSHOTS=overwrite cargo test -p catamaran-resources-macros` writes it again.

use std::{env, fs, path::Path};

use quote::quote;

#[test]
fn a_resource() {
    let resource = crate::expanded(
        quote!(path = "/pet", policy = OwnPets, except = [destroy]),
        &quote! {
            #[sea_orm::model]
            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = "pet")]
            pub struct Model {
                #[sea_orm(primary_key)]
                pub id: i64,
                /// What it is called.
                #[garde(length(min = 1))]
                pub name: String,
                #[field(default = false)]
                pub private: bool,
                #[field(hidden, read_only, default = token())]
                pub token: String,
                #[field(create = viewer.tenant)]
                pub tenant: i64,
                #[field(create = now(), update = now())]
                pub changed: i64,
                pub owner_id: Option<i64>,
                #[sea_orm(belongs_to, from = "owner_id", to = "id")]
                pub owner: BelongsTo<Option<super::user::Entity>>,
                #[sea_orm(has_many, via = "pet_toy")]
                #[field(writable)]
                pub toys: HasMany<super::toy::Entity>,
            }
        },
    );
    let written = prettyplease::unparse(&syn::parse2(resource).expect("the macro writes items"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/resource.rs");
    if env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        return fs::write(path, written).expect("the snapshots are in the source tree");
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, expected, "SNAPSHOTS=overwrite accepts the new text");
}
