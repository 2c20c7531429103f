//! Programs that must compile and run, next to the mistakes that must not. They are modules of one program: `trybuild` would build
//! each alone, and all dependencies again.

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
    alias_of_the_context: "alias-of-the-context.rs",
    conditional_actions: "conditional-actions.rs",
    context_beside_an_extractor: "context-beside-an-extractor.rs",
    controllers_of_other_modules: "controllers-of-other-modules.rs",
    names_that_generated_code_uses: "names-that-generated-code-uses.rs",
    private_actions: "private-actions.rs",
    raw_names: "raw-names.rs",
    renamed_attribute: "renamed-attribute.rs",
    socket_as_an_argument: "socket-as-an-argument.rs",
    strict_lints: "strict-lints.rs",
}
