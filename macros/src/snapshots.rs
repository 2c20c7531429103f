//! What the macros write, as Rust that a reader can review: `macros/snapshots/*.rs`.
//!
//! `SNAPSHOTS=overwrite cargo test -p catamaran-macros` writes them anew.

use std::{env, fs, path::Path};

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, File, Item, Meta};

/// Compares with the file of this name, or writes it.
#[track_caller]
fn assert_snapshot(name: &str, tokens: TokenStream) {
    let written = prettyplease::unparse(&syn::parse2(tokens).expect("the macros write items"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots").join(name);
    if env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        return fs::write(path, written).expect("the snapshots are in the source tree");
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, expected, "SNAPSHOTS=overwrite accepts the new text");
}

/// Expands the actions inside, as the compiler does next.
fn expand_actions(tokens: TokenStream) -> TokenStream {
    let file: File = syn::parse2(tokens).expect("the macros write items");
    let items = file.items.into_iter().map(|item| match item {
        Item::Mod(mut module) => {
            let items = module.content.take().map_or(Vec::new(), |(_, items)| items);
            let items = items.into_iter().map(expand_action);
            let (attrs, vis, name) = (&module.attrs, &module.vis, &module.ident);
            quote!(#(#attrs)* #vis mod #name { #(#items)* })
        }
        item => expand_action(item),
    });
    quote!(#(#items)*)
}

fn expand_action(item: Item) -> TokenStream {
    let is_action = |attr: &Attribute| attr.path().is_ident("action");
    match item {
        Item::Fn(mut function) if function.attrs.iter().any(is_action) => {
            let at = function.attrs.iter().position(is_action).expect("the guard found one");
            match function.attrs.remove(at).meta {
                Meta::List(list) => crate::action::action(list.tokens, quote!(#function)),
                _ => unreachable!("an action has a route"),
            }
        }
        item => quote!(#item),
    }
}

#[test]
fn a_controller_of_two_actions() {
    let controller = crate::controller::controller(
        quote!("/chat"),
        &quote! {
            pub mod chat {
                use super::*;

                /// Greets the caller.
                #[action(get "/hello")]
                pub async fn hello() -> &'static str {
                    "hello"
                }

                #[action(post "/rooms/{id}")]
                pub async fn say(ctx: Ctx<Socket>, id: u64, State(db): State<Db>, Json(line): Json<Line>) -> Result<StatusCode> {
                    db.add(id, line).await?;
                    Ok(StatusCode::CREATED)
                }
            }
        },
    );
    assert_snapshot("controller.rs", expand_actions(controller));
}

#[test]
fn an_action_alone() {
    let action = quote! {
        #[action(get "/users/{name}")]
        pub async fn show(name: String, State(db): State<Db>) -> Result<Json<User>> {
            Ok(Json(db.user(&name).await?))
        }
    };
    assert_snapshot("action.rs", expand_actions(action));
}

#[test]
fn an_action_alone_with_an_extractor_of_the_application() {
    let action = quote! {
        #[action(get "/me")]
        pub async fn me(user: CurrentUser) -> Json<User> {
            Json(user.0)
        }
    };
    assert_snapshot("action_on_any_state.rs", expand_actions(action));
}

#[test]
fn a_controller_in_its_own_file() {
    let actions =
        crate::table::actions(quote!("/users", state = AppState => list, #[cfg(feature = "admin")] admin::remove));
    assert_snapshot("actions.rs", actions);
}

#[test]
fn a_table() {
    let routes = crate::table::routes(quote!(hello, api::chat, admin => RequireAdmin));
    assert_snapshot("routes.rs", quote!(fn table() -> Table<AppState> { #routes }));
}
