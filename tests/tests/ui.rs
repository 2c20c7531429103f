//! Mistakes in the DSL, and what the compiler says about each; the texts belong to the pinned compiler.

#[test]
fn each_mistake_has_one_error_at_its_own_token() {
    catamaran_tests::mistakes::have_their_texts();
}
