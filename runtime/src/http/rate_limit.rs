//! A limit on how often each client may ask, as a layer that counts both transports together.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{ClientAddr, Error, Socket, http::network, routing::encoded};

/// How many keys have a count of their own. Beyond that, new ones share counts, so that no crowd takes all the memory.
const MAX_KEYS: usize = 65_536;
/// How many counts they share.
const SHARED: u64 = 4096;
/// How many requests there are at least between two looks for counts that are full again, and can be forgotten.
const MIN_SWEEP: usize = 1024;

/// At most so many requests of one client in a period, over both transports together: a layer, with the feature
/// `rate-limit`.
///
/// A client may ask so often at once; what it has used comes back evenly over the period. Over the limit the answer is
/// 429 with the code `rate_limited`, and `retry-after` says in how many seconds there is room again.
///
/// A client is a [`ClientAddr`], that of the handshake on a socket, or what [`by`](Self::by) says.
///
/// ```
/// use std::time::Duration;
///
/// use catamaran::{RateLimit, prelude::*};
///
/// #[action(get "/hello")]
/// async fn hello() -> &'static str {
///     "hello"
/// }
///
/// let app = App::new(()).mount(routes![hello]).layer(RateLimit::new(100, Duration::from_secs(60)));
/// ```
///
/// It counts what passes [`App::layer`](crate::App::layer): the requests of both transports, and the sockets that
/// [`App::on_connect`](crate::App::on_connect) decides about. Each server of several counts for itself.
#[derive(Clone)]
pub struct RateLimit {
    key: Key,
    counts: Arc<Counts>,
}

/// What a request is counted by.
#[derive(Clone)]
enum Key {
    Address,
    Param { route: Arc<str>, name: Arc<str> },
    Own(Arc<OwnKey>),
}

type OwnKey = dyn Fn(&Parts) -> Option<String> + Send + Sync;

impl RateLimit {
    /// At most so many requests of each [`ClientAddr`] in each period. A network of IPv6 that one client may have (a
    /// `/64`) is one address.
    ///
    /// # Panics
    ///
    /// If there are no requests, no period, or more requests than nanoseconds.
    pub fn new(requests: u32, period: Duration) -> Self {
        let counts = Counts::new(requests, period).expect("a rate limit is at least one request in some period");
        Self { key: Key::Address, counts: Arc::new(counts) }
    }

    /// Counts requests of one route by a parameter of its path, such as the name in a login. Other routes are not counted.
    ///
    /// The parameter is decoded, as an action reads it: `/login/ada` and `/login/%61da` are one count. Values that differ
    /// otherwise, `Ada` and `ada`, are two; lower-case such a key in [`by`](Self::by) if your login takes them for one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use catamaran::{RateLimit, prelude::*};
    ///
    /// #[action(post "/login/{name}")]
    /// async fn log_in(name: String) -> String {
    ///     name
    /// }
    ///
    /// let attempts = RateLimit::new(5, Duration::from_secs(60)).by_param("/login/{name}", "name");
    /// let app = App::new(()).mount(routes![log_in]).layer(attempts);
    /// ```
    ///
    /// The route is the whole one, with the prefix of its controller and of routers around it.
    ///
    /// # Panics
    ///
    /// If the route has no such parameter.
    #[must_use]
    pub fn by_param(self, route: impl Into<String>, name: impl Into<String>) -> Self {
        let (route, name) = (route.into(), name.into());
        let has = [format!("{{{name}}}"), format!("{{*{name}}}")].iter().any(|parameter| route.contains(parameter));
        assert!(has, "the route {route:?} has no parameter {name:?}: write it as in \"/login/{{name}}\"");
        Self { key: Key::Param { route: encoded(&route).into(), name: name.into() }, ..self }
    }

    /// Counts by what this says of a request, such as the user whom an outer layer has found; `None` is not counted.
    ///
    /// The request's extensions have its [`ClientAddr`], wherever the server knows its peers. The path in its URI is encoded,
    /// so one value has many spellings there; [`by_param`](Self::by_param) counts a parameter.
    ///
    /// A cookie or a header by itself is no good key, since a client can make up as many as it likes. So an application
    /// that counts users has a limit by address around that.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum::{extract::Request, middleware::{Next, from_fn}, response::Response};
    /// use catamaran::{RateLimit, prelude::*};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// /// Inside the layer of the session, of which it reads the user.
    /// async fn with_user(mut request: Request, next: Next) -> Response {
    ///     request.extensions_mut().insert(User("ada".into()));
    ///     next.run(request).await
    /// }
    ///
    /// let minute = Duration::from_secs(60);
    /// // Each layer is around those before it.
    /// let app = App::new(())
    ///     .layer(RateLimit::new(20, minute).by(|request| request.extensions.get().map(|User(name)| name.clone())))
    ///     .layer(from_fn(with_user))
    ///     .layer(RateLimit::new(100, minute));
    /// ```
    #[must_use]
    pub fn by(self, key: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { key: Key::Own(Arc::new(key)), ..self }
    }

    /// Counts a request; an error is the answer of one too many.
    fn admit(&self, request: &mut Parts) -> Result<(), Error> {
        // What was counted up when a socket came must be counted down when it goes.
        if request.extensions.get::<Socket>().is_some_and(|socket| socket.subscriber().is_gone()) {
            return Ok(());
        }
        let free_in = match &self.key {
            Key::Address => {
                let client = ClientAddr::from_request_parts(request, &()).now_or_never();
                let ClientAddr(address) = client.expect("an address is not waited for")?;
                self.counts.add(&network(address))
            }
            Key::Param { route, name } => param(request, route, name).and_then(|value| self.counts.add(&value)),
            Key::Own(key) => key(request).and_then(|key| self.counts.add(&key)),
        };
        free_in.map_or(Ok(()), |free_in| Err(Error::rate_limited(free_in)))
    }
}

/// The decoded parameter of a request for this route. Values that are no text share a count: no action reads them.
fn param(request: &mut Parts, route: &str, name: &str) -> Option<String> {
    request.extensions.get::<MatchedPath>().filter(|matched| matched.as_str() == route)?;
    let params = RawPathParams::from_request_parts(request, &()).now_or_never()?;
    let Ok(params) = params else { return Some(String::new()) };
    params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").finish_non_exhaustive()
    }
}

/// The counts of all clients, by the hashes of their keys.
struct Counts {
    limiter: DefaultKeyedRateLimiter<u64>,
    clock: DefaultClock,
    hasher: RandomState,
    /// How many counts there were at the last sweep, and how many requests since.
    known: AtomicUsize,
    since: AtomicUsize,
}

impl Counts {
    /// `None` if the limit means nothing.
    fn new(requests: u32, period: Duration) -> Option<Self> {
        let quota = Quota::with_period(period.checked_div(requests)?)?.allow_burst(NonZeroU32::new(requests)?);
        let limiter = RateLimiter::keyed(quota);
        let (clock, hasher, known, since) = Default::default();
        Some(Self { limiter, clock, hasher, known, since })
    }

    /// Counts a request; if it is one too many, says when there is room again.
    fn add(&self, key: &impl std::hash::Hash) -> Option<Duration> {
        let known = self.known.load(Ordering::Relaxed);
        if self.since.fetch_add(1, Ordering::Relaxed) >= known.max(MIN_SWEEP) {
            self.sweep();
        }
        let hash = self.hasher.hash_one(key);
        let own = known < MAX_KEYS;
        let refused = self.limiter.check_key(&if own { hash } else { hash % SHARED }).err()?;
        Some(refused.wait_time_from(self.clock.now()))
    }

    /// Forgets the counts that are full again. It runs so seldom that each request pays for a few of them.
    fn sweep(&self) {
        self.since.store(0, Ordering::Relaxed);
        self.limiter.retain_recent();
        self.known.store(self.limiter.len(), Ordering::Relaxed);
    }
}

impl<S> Layer<S> for RateLimit {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> RateLimited<S> {
        RateLimited { inner, limit: self.clone() }
    }
}

/// The service of a [`RateLimit`].
#[derive(Clone, Debug)]
pub struct RateLimited<S> {
    inner: S,
    limit: RateLimit,
}

impl<S: Service<Request, Response = Response>> Service<Request> for RateLimited<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Admission<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.limit.admit(&mut parts) {
            Ok(()) => Admission::Admitted { answer: self.inner.call(Request::from_parts(parts, body)) },
            Err(error) => Admission::Refused { error: Some(error) },
        }
    }
}

pin_project! {
    /// The answer of a service that a [`RateLimit`] guards.
    #[project = Projected]
    pub enum Admission<F> {
        #[doc(hidden)]
        Admitted {
            #[pin]
            answer: F,
        },
        #[doc(hidden)]
        Refused {
            error: Option<Error>,
        },
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Admission<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Admitted { answer } => answer.poll(cx),
            Projected::Refused { error } => {
                Poll::Ready(Ok(error.take().expect("it is polled until it is ready").into_response()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn each_key_has_its_own_count_and_is_told_when_there_is_room() {
        let counts = Counts::new(2, HOUR).unwrap();
        assert!(counts.add(&"ada").is_none() && counts.add(&"ada").is_none());
        let free_in = counts.add(&"ada").unwrap();
        assert!(free_in <= HOUR / 2 && free_in > HOUR / 3);
        assert!(counts.add(&"bob").is_none());
    }

    #[test]
    fn a_count_that_is_full_again_is_forgotten() {
        let counts = Counts::new(1, Duration::from_micros(1)).unwrap();
        for key in 0..100 * MIN_SWEEP {
            counts.add(&key);
        }
        assert!(counts.limiter.len() <= 3 * MIN_SWEEP, "{}", counts.limiter.len());
    }

    #[test]
    fn a_crowd_shares_counts_and_whoever_comes_later_is_still_limited() {
        let counts = Counts::new(1, HOUR).unwrap();
        for key in 0..4 * MAX_KEYS {
            counts.add(&key);
        }
        assert!(counts.limiter.len() <= 2 * MAX_KEYS + SHARED as usize, "{}", counts.limiter.len());
        assert!((0..10).any(|_| counts.add(&"newcomer").is_some()));
    }

    #[test]
    #[should_panic(expected = "has no parameter \"user\"")]
    fn parameter_that_the_route_lacks_panics() {
        let _ = RateLimit::new(1, HOUR).by_param("/login/{name}", "user");
    }

    #[test]
    fn a_limit_that_means_nothing_is_none() {
        assert!(Counts::new(0, HOUR).is_none());
        assert!(Counts::new(1, Duration::ZERO).is_none());
    }
}
