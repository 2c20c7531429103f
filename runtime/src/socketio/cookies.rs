//! The cookies of one socket.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{BufMut, Bytes, BytesMut};
use cookie::Cookie;
use tokio::time::Instant;

/// The cookies that a socket's requests carry: those of its handshake, as changed by the answers since.
///
/// A browser takes no cookie from an ack, so the socket stores it: a login over a socket lasts for that socket, also where
/// the handshake had no cookie. It does so by the rules of RFC 6265, byte by byte, because a cookie is text of no encoding.
#[derive(Debug)]
pub(crate) struct Cookies {
    /// In the order of the header.
    stored: Vec<Stored>,
    /// The header of a request to any path, at any time; none while a cookie has a path or an end.
    whole: Option<HeaderValue>,
    /// How many bytes the header may have.
    limit: usize,
}

/// One cookie.
#[derive(Debug)]
struct Stored {
    /// `name=value`, as the header carries it.
    pair: Bytes,
    /// The length of the name; a pair without `=` has none, and no answer replaces it.
    name: usize,
    path: String,
    /// When the cookie ends; a session cookie lives as long as the socket.
    end: Option<Instant>,
}

/// How many bytes answers may add to the cookies of a handshake, as many as a browser keeps of four large cookies.
const MAX_ADDED: usize = 16 * 1024;
/// The path of the handshake's cookies, since a browser does not send it: that of nearly all cookies.
const ROOT: &str = "/";

impl Cookies {
    pub(crate) fn of(handshake: &HeaderMap) -> Self {
        let mut all = handshake.get_all(header::COOKIE).iter();
        let first = all.next().cloned();
        // HTTP/2 lets a client send one header a cookie.
        let whole =
            all.fold(first, |whole, next| joined(whole.iter().map(HeaderValue::as_bytes).chain([next.as_bytes()])));
        let pairs = whole.iter().flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
        let stored = pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty());
        let stored = stored
            .map(|pair| Stored {
                pair: Bytes::copy_from_slice(pair),
                name: name_of(pair).map_or(0, <[u8]>::len),
                path: ROOT.to_owned(),
                end: None,
            })
            .collect();
        let limit = whole.as_ref().map_or(0, HeaderValue::len) + MAX_ADDED;
        Self { stored, whole, limit }
    }

    /// The value of the `cookie` header of the next request to this path.
    pub(crate) fn header(&self, path: &str) -> Option<HeaderValue> {
        // Most sockets have cookies for every path only, so this is all that most requests cost.
        if self.whole.is_some() || self.stored.is_empty() {
            return self.whole.clone();
        }
        let now = Instant::now();
        let sent = self.stored.iter().filter(|cookie| cookie.is_alive(now) && matches(path, &cookie.path));
        joined(sent.map(|cookie| &*cookie.pair))
    }

    /// Takes over what a response to a request of this path sets; a cookie for which there is no room is not kept.
    pub(crate) fn keep(&mut self, response: &HeaderMap, path: &str) {
        if !response.contains_key(header::SET_COOKIE) {
            return;
        }
        let now = Instant::now();
        self.stored.retain(|cookie| cookie.is_alive(now));
        let changes = response.get_all(header::SET_COOKIE).iter().filter(|value| value.len() <= MAX_ADDED);
        for change in changes.filter_map(|value| Stored::parse(value.as_bytes(), path)) {
            self.change(change, now);
        }
        let is_whole = self.stored.iter().all(|cookie| cookie.end.is_none() && cookie.path == ROOT);
        self.whole = is_whole.then(|| joined(self.stored.iter().map(|cookie| &*cookie.pair))).flatten();
    }

    /// Replaces every cookie of the same name and path, or takes it away.
    fn change(&mut self, change: Stored, now: Instant) {
        let replaced = |cookie: &Stored| cookie.name() == change.name() && cookie.path == change.path;
        if change.is_alive(now) {
            let kept = self.stored.iter().filter(|cookie| !replaced(cookie));
            if kept.map(Stored::bytes).sum::<usize>() + change.bytes() > self.limit {
                tracing::warn!(limit = self.limit, "cookie not kept: the cookies of its socket have too many bytes");
                return;
            }
        }
        // The place of the one that it replaces; else longer paths come first, and of one length the oldest.
        let place = self.stored.iter().position(replaced);
        self.stored.retain(|cookie| !replaced(cookie));
        if change.is_alive(now) {
            let shorter = |cookie: &Stored| cookie.path.len() < change.path.len();
            let place = place.or_else(|| self.stored.iter().position(shorter));
            self.stored.insert(place.unwrap_or(self.stored.len()), change);
        }
    }
}

impl Stored {
    /// Reads a `set-cookie` as RFC 6265, 5.2 does. One without a name sets nothing.
    fn parse(line: &[u8], request_path: &str) -> Option<Self> {
        let (pair, attributes) = line.split_at(line.iter().position(|byte| *byte == b';').unwrap_or(line.len()));
        let name = name_of(pair).filter(|name| !name.is_empty())?;
        let value = pair[pair.iter().position(|byte| *byte == b'=')? + 1..].trim_ascii();
        // Only the name and the value can be anything but ASCII.
        let attributes = Cookie::parse(format!("_=_{}", String::from_utf8_lossy(attributes))).ok()?;
        let path = attributes.path().filter(|path| path.starts_with('/')).unwrap_or_else(|| default_path(request_path));
        let end = end_of(&attributes);
        Some(Self { pair: [name, b"=", value].concat().into(), name: name.len(), path: path.to_owned(), end })
    }

    fn name(&self) -> Option<&[u8]> {
        (self.name > 0).then(|| &self.pair[..self.name])
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.end.is_none_or(|end| end > now)
    }

    /// How many bytes of the header the cookie takes: `name=value; `.
    fn bytes(&self) -> usize {
        self.pair.len() + "; ".len()
    }
}

/// The name of a pair, if it has one.
fn name_of(pair: &[u8]) -> Option<&[u8]> {
    Some(pair[..pair.iter().position(|byte| *byte == b'=')?].trim_ascii())
}

/// The end of a cookie: `Max-Age` counts before `Expires`, and one that is past takes the cookie away.
fn end_of(attributes: &Cookie<'_>) -> Option<Instant> {
    let left = match (attributes.max_age(), attributes.expires_datetime()) {
        (Some(age), _) => Duration::try_from(age).unwrap_or_default(),
        (None, Some(at)) => SystemTime::from(at).duration_since(SystemTime::now()).unwrap_or_default(),
        (None, None) => return None,
    };
    // One that outlives the clock has no end.
    Instant::now().checked_add(left)
}

/// The path of a cookie that names none: that of the request up to its last `/` (RFC 6265, 5.1.4).
fn default_path(request: &str) -> &str {
    match request.rfind('/') {
        None | Some(0) => ROOT,
        Some(end) => &request[..end],
    }
}

/// Whether a cookie of a path is sent with a request (RFC 6265, 5.1.4).
fn matches(request: &str, path: &str) -> bool {
    request.strip_prefix(path).is_some_and(|rest| rest.is_empty() || path.ends_with('/') || rest.starts_with('/'))
}

/// A header of these pairs, which all come from headers.
fn joined<'a>(pairs: impl Iterator<Item = &'a [u8]>) -> Option<HeaderValue> {
    let mut header = BytesMut::new();
    for pair in pairs {
        if !header.is_empty() {
            header.put_slice(b"; ");
        }
        header.put_slice(pair);
    }
    (!header.is_empty()).then(|| HeaderValue::from_maybe_shared(header.freeze()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> HeaderValue {
        HeaderValue::from_bytes(bytes).unwrap()
    }

    fn of(handshake: &[u8]) -> Cookies {
        Cookies::of(&HeaderMap::from_iter([(header::COOKIE, value(handshake))]))
    }

    fn set(cookies: &mut Cookies, line: &[u8]) {
        cookies.keep(&HeaderMap::from_iter([(header::SET_COOKIE, value(line))]), ROOT);
    }

    fn sent(cookies: &Cookies, path: &str) -> Vec<u8> {
        cookies.header(path).map(|header| header.as_bytes().to_vec()).unwrap_or_default()
    }

    fn text(cookies: &Cookies, path: &str) -> String {
        String::from_utf8(sent(cookies, path)).unwrap()
    }

    fn after(handshake: Option<&str>, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.extend(handshake.map(|cookie| (header::COOKIE, value(cookie.as_bytes()))));
        let mut cookies = Cookies::of(&headers);
        let mut response = HeaderMap::new();
        for line in lines {
            response.append(header::SET_COOKIE, value(line.as_bytes()));
        }
        cookies.keep(&response, ROOT);
        cookies.header(ROOT).map(|header| String::from_utf8(header.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_socket_without_a_cookie_keeps_the_one_it_is_given() {
        assert_eq!(after(None, &["sid=s%3A1.x; Path=/; HttpOnly"]).unwrap(), "sid=s%3A1.x");
        assert_eq!(after(None, &[]), None);
    }

    #[test]
    fn cookies_past_the_limit_are_not_kept() {
        let handshake = format!("sid=1; big={}", "x".repeat(20_000));
        let mut cookies = of(handshake.as_bytes());
        let mut set = |cookie: String| {
            set(&mut cookies, cookie.as_bytes());
            text(&cookies, ROOT)
        };
        for n in 0..400 {
            set(format!("c{n}={}", "x".repeat(100)));
        }
        let full = set(format!("too-large={}", "x".repeat(MAX_ADDED)));
        assert!(full.len() <= handshake.len() + MAX_ADDED && full.len() > handshake.len() + MAX_ADDED - 200);
        assert!(full.contains("c0=x") && !full.contains("c399=") && !full.contains("too-large"));
        // Those that are there can still change, and make room.
        assert!(set("sid=2".into()).contains("sid=2"));
        assert!(!set("big=; Max-Age=0".into()).contains("big="));
        assert!(set("late=1".into()).contains("late=1"));
    }

    #[test]
    fn an_answer_changes_the_cookies_of_the_handshake() {
        assert_eq!(after(Some("a=1; sid=2"), &["sid=3; Path=/", "b=4"]).unwrap(), "a=1; sid=3; b=4");
        assert_eq!(after(Some("sid=2; a=1"), &["b=4", "sid=3"]).unwrap(), "sid=3; a=1; b=4");
        assert_eq!(after(Some("a=1; sid=2"), &["sid=; Max-Age=0"]).unwrap(), "a=1");
        assert_eq!(after(Some("sid=2"), &["sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]), None);
        assert_eq!(after(Some("sid=2"), &["sid=; Max-Age=-1; Expires=Fri, 01 Jan 2100 00:00:00 GMT"]), None);
        assert_eq!(after(Some("sid=2"), &["=1", "nameless", ""]).unwrap(), "sid=2");
    }

    #[test]
    fn duplicates_stay_until_their_name_is_set() {
        let handshake = "sid=1; a=1; sid=2; nameless; a=2";
        assert_eq!(after(Some(handshake), &["b=1"]).unwrap(), "sid=1; a=1; sid=2; nameless; a=2; b=1");
        assert_eq!(after(Some(handshake), &["sid=3"]).unwrap(), "sid=3; a=1; nameless; a=2");
        assert_eq!(after(Some(handshake), &["sid=3; Max-Age=0"]).unwrap(), "a=1; nameless; a=2");
        // Names differ by case.
        assert_eq!(after(Some("sid=1"), &["SID=2"]).unwrap(), "sid=1; SID=2");
    }

    #[test]
    fn cookies_of_several_headers_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, value(b"a=1; b=2"));
        headers.append(header::COOKIE, value(b"c=\xe9"));
        assert_eq!(sent(&Cookies::of(&headers), ROOT), b"a=1; b=2; c=\xe9");
    }

    #[test]
    fn non_ascii_cookie_survives_a_set_cookie() {
        let mut cookies = of(b"auth=token; name=Jos\xe9");
        set(&mut cookies, b"a=1; Path=/");
        assert_eq!(sent(&cookies, ROOT), b"auth=token; name=Jos\xe9; a=1");
        set(&mut cookies, b"name=\xff\xfe; Path=/; HttpOnly");
        set(&mut cookies, b"auth=; Max-Age=0; Path=/");
        assert_eq!(sent(&cookies, ROOT), b"name=\xff\xfe; a=1");
    }

    #[test]
    fn cookie_goes_to_its_path_and_below() {
        let mut cookies = of(b"a=1");
        set(&mut cookies, b"a=2; Path=/sub");
        set(&mut cookies, b"b=3; Path=relative");
        cookies.keep(&HeaderMap::from_iter([(header::SET_COOKIE, value(b"c=4"))]), "/sub/own/login");
        for (path, header) in [
            ("/", "a=1; b=3"),
            ("/subway", "a=1; b=3"),
            ("/sub", "a=2; a=1; b=3"),
            ("/sub/x", "a=2; a=1; b=3"),
            ("/sub/own", "c=4; a=2; a=1; b=3"),
        ] {
            assert_eq!(text(&cookies, path), header, "{path}");
        }
        set(&mut cookies, b"a=; Path=/sub; Max-Age=0");
        assert_eq!(text(&cookies, "/sub/x"), "a=1; b=3");
    }

    #[tokio::test(start_paused = true)]
    async fn cookie_ends_with_its_max_age() {
        let mut cookies = of(b"a=1");
        set(&mut cookies, b"a=2; Max-Age=10");
        set(&mut cookies, b"b=3; Max-Age=99999999999999999999");
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(text(&cookies, ROOT), "a=2; b=3");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(text(&cookies, ROOT), "b=3");
    }

    /// What a browser stores, as a list that is searched and sorted anew for each header.
    #[derive(Default)]
    struct Model {
        cookies: Vec<Kept>,
        made: u64,
    }

    struct Kept {
        name: Vec<u8>,
        value: Vec<u8>,
        path: &'static str,
        end: Option<u64>,
        made: u64,
    }

    impl Kept {
        fn is_alive(&self, now: u64) -> bool {
            self.end.is_none_or(|end| end > now)
        }
    }

    impl Model {
        fn set(&mut self, name: &[u8], value: &[u8], path: &'static str, end: Option<u64>, now: u64) {
            self.made += 1;
            let old = self.cookies.iter().find(|old| old.name == name && old.path == path && old.is_alive(now));
            let made = old.map_or(self.made, |old| old.made);
            self.cookies.retain(|old| old.name != name || old.path != path);
            self.cookies.push(Kept { name: name.into(), value: value.into(), path, end, made });
        }

        fn header(&self, path: &str, now: u64) -> Vec<u8> {
            let below = |of: &str| path == of || path.starts_with(&format!("{}/", of.trim_end_matches('/')));
            let mut sent: Vec<_> =
                self.cookies.iter().filter(|cookie| below(cookie.path) && cookie.is_alive(now)).collect();
            sent.sort_by_key(|cookie| (std::cmp::Reverse(cookie.path.len()), cookie.made));
            let pairs: Vec<_> =
                sent.iter().map(|cookie| [&cookie.name[..], b"=", &cookie.value[..]].concat()).collect();
            pairs.join(&b"; "[..])
        }
    }

    #[tokio::test(start_paused = true)]
    async fn generated_cookies_are_those_of_a_browser() {
        const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/ab"];
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let bytes = |random: &mut fastrand::Rng, from: &[u8]| {
                (0..random.usize(0..4)).map(|_| from[random.usize(..from.len())]).collect::<Vec<u8>>()
            };
            // All that a value can hold; white space at its ends is none of it.
            let octets: Vec<u8> = (0x21..=0xff).filter(|byte| ![b';', 0x7f].contains(byte)).collect();
            let mut model = Model::default();
            let mut now = 0;
            let name = |random: &mut fastrand::Rng| [&[b'n'][..], &bytes(random, b"a\xe9\xff")[..]].concat();
            let mut handshake = Vec::new();
            for _ in 0..random.usize(..4) {
                let (name, value) = (name(&mut random), bytes(&mut random, &octets));
                // In the model as in a browser the cookies of one path have different names.
                if model.cookies.iter().all(|of| of.name != name) {
                    model.set(&name, &value, ROOT, None, now);
                    handshake.push([&name[..], b"=", &value[..]].concat());
                }
            }
            let mut cookies =
                if handshake.is_empty() { Cookies::of(&HeaderMap::new()) } else { of(&handshake.join(&b"; "[..])) };
            for _ in 0..30 {
                let (name, value) = (name(&mut random), bytes(&mut random, &octets));
                let path = PATHS[random.usize(..PATHS.len())];
                let age = random.bool().then(|| random.u64(0..5));
                let mut line = [&name[..], b"=", &value[..], b"; path=", path.as_bytes()].concat();
                if let Some(age) = age {
                    line.extend(format!("; max-AGE={age}").bytes());
                }
                model.set(&name, &value, path, age.map(|age| now + age), now);
                set(&mut cookies, &line);
                let seconds = random.u64(0..3);
                tokio::time::advance(Duration::from_secs(seconds)).await;
                now += seconds;
                for path in ["/", "/a", "/a/", "/a/b/c", "/ab/x", "/x"] {
                    let (one, other) = (sent(&cookies, path), model.header(path, now));
                    assert_eq!(one.escape_ascii().to_string(), other.escape_ascii().to_string(), "{seed} {path}");
                }
            }
        }
    }
}
