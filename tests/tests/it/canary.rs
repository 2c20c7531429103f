//! The whole suite as a test of the log: with `CATAMARAN_CANARY` set, all requests of the tests in `it` carry a secret that no
//! test asks for, and the process ends as soon as any crate logs it. Other test binaries have a log of their own.

use std::{
    env,
    io::Write,
    process,
    sync::{LazyLock, Once},
};

use super::log;

/// Names the secret.
pub(crate) const VARIABLE: &str = "CATAMARAN_CANARY";

/// The secret.
static CANARY: LazyLock<Option<String>> =
    LazyLock::new(|| env::var(VARIABLE).ok().filter(|_| env!("CARGO_CRATE_NAME") == "it"));

/// Hears everything from now on, but what docs/security.md says to switch off.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    let Some(canary) = &*CANARY else { return };
    ONCE.call_once(|| {
        log::listen(move |target, text| {
            let off = log::TELLTALES.iter().any(|telltale| target.starts_with(telltale));
            if !off && text.contains(canary) {
                // Not `eprintln`, which a test that passes does not show.
                let _ = writeln!(std::io::stderr(), "\nthe log says a secret: {target}: {text}");
                process::exit(1);
            }
        });
    });
}

/// The headers of a request or a handshake, with secret ones where a test has none of its own. A cookie is not among them:
/// tests look at that; tests/tests/secrets.rs has it.
pub(super) fn headers<T: AsRef<str>>(of_test: &[(T, T)]) -> Vec<(String, String)> {
    let mut headers: Vec<_> =
        of_test.iter().map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned())).collect();
    let Some(canary) = &*CANARY else { return headers };
    for name in ["authorization", "proxy-authorization", "x-api-key"] {
        if !headers.iter().any(|(said, _)| said == name) {
            headers.push((name.to_owned(), format!("Bearer {canary}")));
        }
    }
    headers
}

/// The headers of a handshake. A token there would take the place of those that a test's packets bring.
pub(super) fn handshake<T: AsRef<str>>(of_test: &[(T, T)]) -> Vec<(String, String)> {
    let own = of_test.iter().any(|(name, _)| name.as_ref() == "authorization");
    let mut all = headers(of_test);
    all.retain(|(name, _)| own || name != "authorization");
    all
}

/// A key of a packet, which the server does not look at.
pub(super) fn key() -> String {
    CANARY.as_ref().map(|canary| format!(r#""canary":"{canary}","#)).unwrap_or_default()
}
