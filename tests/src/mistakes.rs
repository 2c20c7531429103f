//! Code that must not compile.

use std::{env, process::Command};

use trybuild::TestCases;

/// Flags from here come before those that trybuild gives to cargo.
const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
/// What trybuild gives to cargo for a case.
const OF_A_CASE: [&str; 6] = ["--cfg", "trybuild", "--verbose", "-A", "dead_code", "--diagnostic-width=140"];

/// Compares the compiler's text about each file in `ui` with the text beside the file.
///
/// It runs the calling test again with flags in the environment. Without them trybuild compiles the dependencies with fewer flags than the
/// cases, so cargo compiles each of them twice.
///
/// # Panics
///
/// If a text differs.
pub fn have_their_texts() {
    if env::var_os(FLAGS).is_some() {
        TestCases::new().compile_fail("ui/*.rs");
        return;
    }
    let mut again = Command::new(env::current_exe().expect("the path of this test"));
    again.args(env::args_os().skip(1)).env(FLAGS, OF_A_CASE.join("\u{1f}"));
    assert!(again.status().expect("the test runs again").success(), "see above");
}
