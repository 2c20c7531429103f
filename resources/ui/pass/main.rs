//! Programs that must compile, next to the mistakes that must not. They are modules of one program: `trybuild` would build each
//! alone, and all dependencies again.

// Most of the actions are never called. The other lints are for each program to turn on.
#![allow(dead_code, missing_docs, unreachable_pub)]

macro_rules! programs {
    ($($name:ident: $file:literal,)*) => {
        $(
            #[path = $file]
            pub mod $name;
        )*

        fn main() {
            let listed = [$($file,)* "main.rs"];
            for entry in std::fs::read_dir("ui/pass").expect("the folder of this file") {
                let file = entry.expect("an entry").file_name();
                assert!(listed.iter().any(|name| file == *name), "{file:?} is not listed in ui/pass/main.rs");
            }
            $($name::main();)*
        }
    };
}

programs! {
    a_state_of_its_own: "a-state-of-its-own.rs",
    except_with_an_action_of_its_own: "except-with-an-action-of-its-own.rs",
}
