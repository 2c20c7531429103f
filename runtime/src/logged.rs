//! What a client says, as it may stand in a log: one line of a bounded length.

use std::fmt::{self, Display, Write};

use axum::http::Method;

/// The most characters of one value of a client.
const MAX_VALUE: usize = 200;
/// The most characters of an error with its causes, which may quote a client.
const MAX_ERROR: usize = 1000;
/// The most characters of a method, which a client can make up.
const MAX_METHOD: usize = 16;

/// A value of a client.
pub(crate) fn value(value: impl Display) -> impl Display {
    Bounded { value, limit: MAX_VALUE }
}

/// An error, which may quote a client.
pub(crate) fn error(error: impl Display) -> impl Display {
    Bounded { value: error, limit: MAX_ERROR }
}

/// A method, cut where no standard one is as long.
pub(crate) fn method(method: &Method) -> &str {
    let text = method.as_str();
    text.get(..MAX_METHOD).unwrap_or(text)
}

/// A text without control characters, cut after so many characters.
struct Bounded<T> {
    value: T,
    limit: usize,
}

impl<T: Display> Display for Bounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { out: f, left: self.limit, cut: false };
        // An error of ours only stops the value where it is cut.
        let written = write!(line, "{}", self.value);
        if line.cut { f.write_str("…") } else { written }
    }
}

/// Writes what fits.
struct Line<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
    cut: bool,
}

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let escaped = c.is_control().then(|| c.escape_default());
            let width = escaped.as_ref().map_or(1, ExactSizeIterator::len);
            if width > self.left {
                self.cut = true;
                return Err(fmt::Error);
            }
            self.left -= width;
            match escaped {
                Some(escaped) => write!(self.out, "{escaped}")?,
                None => self.out.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_one_bounded_line() {
        assert_eq!(value("app.example").to_string(), "app.example");
        assert_eq!(value("a\r\nb\u{1b}[2J").to_string(), r"a\r\nb\u{1b}[2J");
        assert_eq!(value("x".repeat(200)).to_string(), "x".repeat(200));
        assert_eq!(value("é".repeat(70_000)).to_string(), format!("{}…", "é".repeat(200)));
        assert!(value("\n".repeat(70_000)).to_string().chars().count() <= 201);
        assert_eq!(error("x".repeat(70_000)).to_string().chars().count(), 1001);
    }

    #[test]
    fn methods_are_cut() {
        assert_eq!(method(&Method::OPTIONS), "OPTIONS");
        let long = Method::from_bytes("X".repeat(60_000).as_bytes()).unwrap();
        assert_eq!(method(&long).len(), MAX_METHOD);
    }
}
