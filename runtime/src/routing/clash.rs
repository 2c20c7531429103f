//! Which routes cannot stand in one table, found while compiling.
//!
//! The rules are those of axum's router, which would panic at start instead; `tests/tests/overlap.rs` holds the two
//! against each other. Everything here is `const`, so it has neither iterators nor allocation.

use super::Route;

/// What is wrong with a table, by the positions of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// The second of these routes cannot stand beside the first.
    Pair(usize, usize),
    /// This route's path belongs to the runtime.
    Reserved(usize),
}

/// The path of Socket.IO: no action may answer there or below.
const SOCKET_IO: &str = "/socket.io/";

/// The first clash in a table that is known while compiling.
pub const fn clash<const N: usize>(routes: &[Route; N]) -> Option<Clash> {
    let mut keys = [0; N];
    let mut i = 0;
    while i < N {
        if reserves(SOCKET_IO, routes[i].path) {
            return Some(Clash::Reserved(i));
        }
        keys[i] = key(routes[i].path);
        i += 1;
    }
    scan(routes, &keys, &sorted(&keys))
}

/// The same check for tables that meet only when the application starts.
///
/// A path in `reserved` keeps itself; one that ends with `/` keeps everything below as well.
pub fn check(routes: &[Route], reserved: &[&str]) -> Result<(), String> {
    for route in routes {
        if let Some(path) = reserved.iter().chain([&SOCKET_IO]).find(|path| reserves(path, route.path)) {
            return Err(reserved_path(route, path).as_str().to_owned());
        }
    }
    let keys: Vec<u64> = routes.iter().map(|route| key(route.path)).collect();
    let mut order: Vec<usize> = (0..routes.len()).collect();
    order.sort_by_key(|&i| keys[i]);
    match scan(routes, &keys, &order) {
        Some(Clash::Pair(first, second)) => Err(clashing(&routes[first], &routes[second]).as_str().to_owned()),
        _ => Ok(()),
    }
}

/// Fails at the caller when the clash's later route belongs to the controller at this position.
#[track_caller]
pub const fn settle(routes: &[Route], clash: Option<Clash>, controllers: &[&[Route]], position: usize) {
    let from = super::table::total(controllers.split_at(position).0);
    let to = from + controllers[position].len();
    let message = match clash {
        Some(Clash::Pair(first, second)) if from <= second && second < to => clashing(&routes[first], &routes[second]),
        Some(Clash::Reserved(at)) if from <= at && at < to => reserved_path(&routes[at], SOCKET_IO),
        _ => return,
    };
    panic!("{}", message.as_str())
}

/// Whether a reserved path keeps `path`; with a `/` at its end it keeps everything below, too.
const fn reserves(reserved: &str, path: &str) -> bool {
    let (reserved, path) = (reserved.as_bytes(), path.as_bytes());
    let (stem, below) = match reserved {
        [stem @ .., b'/'] => (stem, true),
        stem => (stem, false),
    };
    if path.len() < stem.len() || (path.len() > stem.len() && (!below || path[stem.len()] != b'/')) {
        return false;
    }
    let mut i = 0;
    while i < stem.len() {
        if stem[i] != path[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Looks for a clash among routes that are in the order of their keys.
const fn scan(routes: &[Route], keys: &[u64], order: &[usize]) -> Option<Clash> {
    let mut i = 0;
    while i < order.len() {
        let one = order[i];
        // Equal shapes have equal keys, so they are neighbours in this order.
        let mut j = i + 1;
        while j < order.len() && keys[order[j]] == keys[one] {
            if let clash @ Some(_) = pair(routes, one, order[j]) {
                return clash;
            }
            j += 1;
        }
        // A `{*rest}` may clash with any shape; such routes are few.
        if takes_rest(routes[one].path) {
            let mut other = 0;
            while other < routes.len() {
                if other != one
                    && let clash @ Some(_) = pair(routes, one, other)
                {
                    return clash;
                }
                other += 1;
            }
        }
        i += 1;
    }
    None
}

const fn pair(routes: &[Route], a: usize, b: usize) -> Option<Clash> {
    let clashes = match meet(routes[a].path, routes[b].path) {
        // An action that did not compile has no path; its own error is enough.
        Meet::Same => !routes[a].path.is_empty() && routes[a].method as u8 == routes[b].method as u8,
        Meet::Apart => false,
        Meet::Renamed | Meet::FirstSwallows | Meet::SecondSwallows => true,
    };
    match clashes {
        true if a < b => Some(Clash::Pair(a, b)),
        true => Some(Clash::Pair(b, a)),
        false => None,
    }
}

/// How two paths meet in one router.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meet {
    /// The router can tell them apart.
    Apart,
    /// They are one path.
    Same,
    /// They match alike but name a parameter differently.
    Renamed,
    /// The first has a `{*rest}` where the second has a parameter.
    FirstSwallows,
    /// The second has a `{*rest}` where the first has a parameter.
    SecondSwallows,
}

/// Walks two paths until they differ; a parameter equals any other parameter of its kind.
const fn meet(first: &str, second: &str) -> Meet {
    let (a, b) = (first.as_bytes(), second.as_bytes());
    let (mut i, mut j, mut renamed) = (0, 0, false);
    while i < a.len() && j < b.len() {
        if a[i] != b[j] {
            return Meet::Apart;
        }
        if a[i] == b'{' {
            match (a[i + 1] == b'*', b[j + 1] == b'*') {
                (true, false) => return Meet::FirstSwallows,
                (false, true) => return Meet::SecondSwallows,
                _ => {}
            }
            while a[i] == b[j] && a[i] != b'}' {
                i += 1;
                j += 1;
            }
            renamed |= a[i] != b[j];
            i = parameter_end(a, i);
            j = parameter_end(b, j);
        }
        i += 1;
        j += 1;
    }
    match (i == a.len() && j == b.len(), renamed) {
        (false, _) => Meet::Apart,
        (true, false) => Meet::Same,
        (true, true) => Meet::Renamed,
    }
}

const fn parameter_end(path: &[u8], mut at: usize) -> usize {
    while path[at] != b'}' {
        at += 1;
    }
    at
}

const fn takes_rest(path: &str) -> bool {
    let path = path.as_bytes();
    let mut i = 1;
    while i < path.len() {
        if path[i] == b'*' && path[i - 1] == b'{' {
            return true;
        }
        i += 1;
    }
    false
}

/// FNV-1a of a path whose parameters have no names.
const fn key(path: &str) -> u64 {
    let path = path.as_bytes();
    let (mut key, mut i) = (0xcbf2_9ce4_8422_2325, 0);
    while i < path.len() {
        key = (key ^ path[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i = if path[i] == b'{' { parameter_end(path, i) } else { i + 1 };
    }
    key
}

/// The positions of `keys` in ascending order: a heap sort, which needs neither recursion nor memory.
const fn sorted<const N: usize>(keys: &[u64; N]) -> [usize; N] {
    let mut order = [0; N];
    let mut i = 0;
    while i < N {
        order[i] = i;
        i += 1;
    }
    let (mut heap, mut end) = (N / 2, N);
    while end > 1 {
        if heap > 0 {
            heap -= 1;
        } else {
            end -= 1;
            (order[0], order[end]) = (order[end], order[0]);
        }
        sift(&mut order, keys, heap, end);
    }
    order
}

const fn sift<const N: usize>(order: &mut [usize; N], keys: &[u64; N], mut root: usize, end: usize) {
    while root * 2 + 1 < end {
        let mut child = root * 2 + 1;
        if child + 1 < end && keys[order[child]] < keys[order[child + 1]] {
            child += 1;
        }
        if keys[order[root]] >= keys[order[child]] {
            return;
        }
        (order[root], order[child]) = (order[child], order[root]);
        root = child;
    }
}

/// Why two routes cannot stand together.
const fn clashing(first: &Route, second: &Route) -> Message {
    let (a, b) = match meet(first.path, second.path) {
        Meet::SecondSwallows => (second, first),
        _ => (first, second),
    };
    let message = Message::new();
    let message = match meet(a.path, b.path) {
        Meet::Same => {
            let message = message.text("duplicate route `").text(b.method.as_str()).text(" ").text(b.path);
            return message.text("`: answered by ").action(a).text(" and by ").action(b);
        }
        Meet::Renamed => {
            let message = message.text("ambiguous routes `").text(a.path).text("` and `").text(b.path);
            message.text("`: they match the same paths but name a parameter differently: ")
        }
        _ => {
            let message = message.text("ambiguous routes: `").text(a.path).text("` takes every path that `");
            message.text(b.path).text("` would answer: ")
        }
    };
    message.action(a).text(" and ").action(b)
}

/// Why an action cannot have this path.
const fn reserved_path(route: &Route, reserved: &str) -> Message {
    let message = Message::new().text("reserved path `").text(route.path).text("`: the runtime answers `");
    let message = match reserved.as_bytes() {
        [.., b'/'] => message.text(reserved.split_at(reserved.len() - 1).0).text("` and everything below itself: "),
        _ => message.text(reserved).text("` itself: "),
    };
    message.action(route)
}

/// A message put together while compiling.
struct Message {
    bytes: [u8; 1024],
    len: usize,
}

impl Message {
    const fn new() -> Self {
        Self { bytes: [0; 1024], len: 0 }
    }

    /// Adds a text, or as many of its characters as there is room for.
    const fn text(mut self, text: &str) -> Self {
        let mut fits = text.len();
        if fits > self.bytes.len() - self.len {
            fits = self.bytes.len() - self.len;
        }
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        let mut i = 0;
        while i < fits {
            self.bytes[self.len] = text.as_bytes()[i];
            self.len += 1;
            i += 1;
        }
        self
    }

    const fn number(self, number: u32) -> Self {
        let message = if number >= 10 { self.number(number / 10) } else { self };
        let digit = (number % 10) as usize;
        message.text("0123456789".split_at(digit).1.split_at(1).0)
    }

    const fn action(self, route: &Route) -> Self {
        let name = self.text("`").text(route.module).text("::").text(route.action);
        name.text("` (").text(route.file).text(":").number(route.line).text(")")
    }

    const fn as_str(&self) -> &str {
        super::table::text(self.bytes.split_at(self.len).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    fn route(method: Method, path: &'static str, action: &'static str) -> Route {
        Route { method, path, action, module: "app", file: "src/app.rs", line: 7, ..Route::NONE }
    }

    #[test]
    fn a_message_names_both_actions_with_file_and_line() {
        let routes = [route(Method::Get, "/a/{x}", "one"), route(Method::Get, "/a/{x}", "two")];
        let message = check(&routes, &[]).unwrap_err();
        assert_eq!(
            message,
            "duplicate route `GET /a/{x}`: answered by `app::one` (src/app.rs:7) and by `app::two` (src/app.rs:7)"
        );
    }

    #[test]
    fn a_rest_is_named_first_wherever_it_stands() {
        let rest = route(Method::Get, "/files/{*rest}", "rest");
        let meta = route(Method::Put, "/files/{name}/meta", "meta");
        let message = "ambiguous routes: `/files/{*rest}` takes every path that `/files/{name}/meta` would answer: \
                       `app::rest` (src/app.rs:7) and `app::meta` (src/app.rs:7)";
        assert_eq!(check(&[rest, meta], &[]).unwrap_err(), message);
        assert_eq!(check(&[meta, rest], &[]).unwrap_err(), message);
    }

    #[test]
    fn socket_io_is_reserved_and_its_neighbour_is_not() {
        for path in ["/socket.io", "/socket.io/", "/socket.io/{x}", "/socket.io/a/b"] {
            assert_eq!(clash(&[route(Method::Get, path, "a")]), Some(Clash::Reserved(0)), "{path}");
        }
        for path in ["/socket.iox", "/socket.i", "/a/socket.io", "/{x}"] {
            assert_eq!(clash(&[route(Method::Get, path, "a")]), None, "{path}");
        }
    }

    #[test]
    fn a_configured_path_keeps_itself_and_below_only_with_a_slash() {
        let cookie = [route(Method::Get, "/__getcookie/x", "a")];
        assert_eq!(check(&cookie, &["/__getcookie"]), Ok(()));
        assert_eq!(
            check(&cookie, &["/__getcookie/"]).unwrap_err(),
            "reserved path `/__getcookie/x`: the runtime answers `/__getcookie` and everything below itself: \
             `app::a` (src/app.rs:7)"
        );
    }

    #[test]
    fn a_long_message_ends_at_a_character() {
        let long: &'static str = format!("/{}", "ä".repeat(900)).leak();
        let routes = [route(Method::Get, long, "one"), route(Method::Get, long, "two")];
        assert!(check(&routes, &[]).unwrap_err().len() >= 1023);
    }
}
