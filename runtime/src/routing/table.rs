//! Joining paths and route tables while compiling.

use super::{Method, Route, Transports};
use crate::extract::ctx::Declared;

/// The length of [`join`]'s answer.
pub const fn joined(prefix: &str, path: &str) -> usize {
    match (prefix.len(), path.len()) {
        (0, _) => path.len(),
        (_, 1) => prefix.len(),
        _ => prefix.len() + path.len(),
    }
}

/// The bytes of `path` under `prefix`; `/` under a prefix means the prefix itself.
pub const fn join<const N: usize>(prefix: &str, path: &str) -> [u8; N] {
    let (prefix, path) = (prefix.as_bytes(), path.as_bytes());
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = if i < prefix.len() { prefix[i] } else { path[i - prefix.len()] };
        i += 1;
    }
    bytes
}

/// What [`join`] made, as text.
pub const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("two texts joined are a text"),
    }
}

/// A path under a prefix, joined while compiling.
#[doc(hidden)]
#[macro_export]
macro_rules! __join {
    ($prefix:expr, $path:expr) => {{
        const BYTES: [u8; $crate::__private::joined($prefix, $path)] = $crate::__private::join($prefix, $path);
        $crate::__private::text(&BYTES)
    }};
}

/// The route of a listed action under the prefix of its controller.
#[doc(hidden)]
#[macro_export]
macro_rules! __under {
    ($prefix:literal, $($action:ident)::+) => {
        $($action)::+::ROUTES[0].at($crate::__private::join!($prefix, $($action)::+::ROUTES[0].path))
    };
}

/// The number of routes in all controllers.
pub const fn total(controllers: &[&[Route]]) -> usize {
    let (mut total, mut i) = (0, 0);
    while i < controllers.len() {
        total += controllers[i].len();
        i += 1;
    }
    total
}

/// The routes of all controllers, one after the other, with what their policies leave of the transports.
pub const fn flatten<const N: usize>(controllers: &[&[Route]], policies: &[Option<Declared>]) -> [Route; N] {
    let mut routes = [Route::NONE; N];
    let (mut n, mut i) = (0, 0);
    while i < controllers.len() {
        let mut j = 0;
        while j < controllers[i].len() {
            let route = controllers[i][j];
            routes[n] = Route { transports: narrowed(route.transports, policies[i]), ..route };
            n += 1;
            j += 1;
        }
        i += 1;
    }
    routes
}

/// What a policy leaves of the transports of a route.
const fn narrowed(transports: Transports, policy: Option<Declared>) -> Transports {
    match policy {
        Some(Declared::Socket | Declared::Context(Transports::Socket)) => Transports::Socket,
        Some(Declared::Context(Transports::Http)) => Transports::Http,
        Some(Declared::Context(Transports::Both)) | None => transports,
    }
}

/// Fails at a policy that lets nobody in: it takes one transport, and a route of its controller the other.
#[track_caller]
pub const fn guards(routes: &[Route], policy: Option<Declared>) {
    let mut i = 0;
    while i < routes.len() {
        match (routes[i].transports, narrowed(routes[i].transports, policy)) {
            (Transports::Http, Transports::Socket) => panic!(
                "this policy needs a socket, and an action of the controller answers HTTP only: \
                 make its context `Ctx` or `Ctx<Socket>`, or take a policy without `Socket` and `Ctx<Socket>`"
            ),
            (Transports::Socket, Transports::Http) => panic!(
                "this policy is `Ctx<Http>`, and an action of the controller answers sockets only: \
                 make its context `Ctx` or `Ctx<Http>`, or take a policy without `Ctx<Http>`"
            ),
            _ => {}
        }
        i += 1;
    }
}

impl Route {
    /// No route: what [`flatten`] writes over, and what stands for an action that did not compile.
    #[doc(hidden)]
    pub const NONE: Self = Self {
        method: Method::Get,
        path: "",
        transports: Transports::Both,
        action: "",
        module: "",
        file: "",
        line: 0,
        doc: "",
        params: &[],
    };

    /// The same route at another path, as `actions!` needs it for its prefix.
    #[doc(hidden)]
    #[must_use]
    pub const fn at(self, path: &'static str) -> Self {
        if self.path.is_empty() { self } else { Self { path, ..self } }
    }
}
