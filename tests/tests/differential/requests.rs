//! Generated requests, in sequences that share a client.

use fastrand::Rng;

use crate::world::{Item, Memory, Session};

/// Stands in cookies, tokens, bodies, queries and paths, and must never stand in a log.
pub(crate) const SECRET: &str = "hunter2";

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ask(Ask),
    /// The sessions there are expire while the socket stays open.
    Expire,
}

/// A request as a socket sends it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// In lower case, as the event is named.
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// JSON text; of a GET flat, as names and values.
    pub(crate) data: Option<Data>,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Json(String),
    Pairs(Vec<(&'static str, &'static str)>),
}

/// What comes first, and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) memory: Memory,
    /// The client's cookie at the start.
    pub(crate) cookie: Option<&'static str>,
    pub(crate) steps: Vec<Step>,
}

const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];

/// Where something answers; each word after it is generated.
const FIRST: &[&str] = &[
    "echo",
    "echo",
    "echo",
    "items",
    "items",
    "items",
    "login",
    "logout",
    "me",
    "me",
    "admin/items",
    "feed",
    "feed",
    "panic/secret",
    "late",
    "fails",
    "breaks",
    "sum",
    "params",
    "large",
    "value",
    "html",
    "to",
    "empty",
    "null",
    "bytes",
    "status",
    "bare",
    "größe",
    "missing",
    "Items",
    "",
    "socket.io",
    "%69tems",
    "items/..",
    "./items",
];

const NEXT: &[&str] = &[
    "1",
    "2",
    "3",
    "7",
    "256",
    "-1",
    "+1",
    "1e3",
    "0x1",
    "101",
    "199",
    "204",
    "205",
    "304",
    "404",
    "599",
    "42",
    "hunter2",
    "a b",
    "é",
    "😀",
    "%C3%A9",
    "%E0%A4%A",
    "%ff",
    "%",
    "%zz",
    "%2F",
    "%252F",
    "%2525",
    "%00",
    "%2e%2e",
    "..",
    ".",
    "",
    "a+b",
    "a;b=c",
    "{id}",
    "\u{202e}",
    "'",
    "\"",
    "<x>",
    "|",
    "^",
    "`",
    "\\",
    "~!$&()*,=:@",
    "%25",
    "long-long-long-long-long-long",
    "x%20",
    "\u{7f}",
    "\n",
    "\0",
    "é%",
];

const QUERY: &[&str] = &[
    "page=1",
    "token=hunter2",
    "page=",
    "page",
    "size=2",
    "a[]=1",
    "a=%",
    "a=%zz",
    "=",
    "&",
    "?",
    "a=b=c",
    "a=é",
    "a=\"x\"",
    "page=1&page=2",
    "a=+%20",
    "a=%00",
    "a='",
    "/../",
    "a=|^`{}",
    "#part",
    "a=%25",
    "a=%2526",
    "\\",
];

const SCALARS: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "1e400",
    "1.50",
    "12345678901234567890",
    "0.1",
    "1E-7",
    "\"\"",
    "\"a\"",
    "\"hunter2\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"é😀\"",
    "\"7\"",
    "3",
    "[]",
    "{}",
    "\"\\/\"",
    "[ 1 ]",
    "255",
    "256",
];

const NAMES: &[&str] =
    &["name", "name", "count", "user", "id", "page", "", "é", "__proto__", "a.b", "na\\u006de", "constructor"];

/// What a packet may set, and what it may try to.
const HEADERS: &[(&str, &[&str])] = &[
    ("x-own", &["1", "", "é", " padded ", "a,b"]),
    ("X-Own", &["hunter2"]),
    ("authorization", &["Bearer hunter2"]),
    ("accept", &["text/html", "*/*"]),
    (
        "content-type",
        &["application/json", "application/x-www-form-urlencoded", "text/plain", "application/x+json", ""],
    ),
    ("x-http-method-override", &["DELETE"]),
    ("cookie", &["sid=good-hunter2", "sid=other-hunter2"]),
    ("Cookie", &["sid=good-hunter2"]),
    ("host", &["evil.example"]),
    ("origin", &["http://evil.example"]),
    ("referer", &["http://evil.example/"]),
    ("x-forwarded-for", &["10.0.0.1"]),
    ("X-Forwarded-Host", &["evil.example"]),
    ("forwarded", &["for=10.0.0.1"]),
    ("sec-fetch-site", &["same-origin"]),
    ("content-length", &["0", "99999"]),
    ("transfer-encoding", &["chunked"]),
    ("connection", &["upgrade"]),
    ("upgrade", &["websocket"]),
    ("expect", &["100-continue"]),
    ("te", &["trailers"]),
    ("user-agent", &["another"]),
];

/// Headers that cannot be: over HTTP they could not be sent.
const BAD_HEADERS: &[(&str, &str)] =
    &[("bad name", "1"), ("", "1"), ("x-own", "a\nb"), ("x-own", "a\u{0}b"), ("ü", "1")];

pub(crate) struct Requests(pub(crate) Rng);

impl Requests {
    pub(crate) fn sequence(&mut self) -> Sequence {
        let mut memory = Memory::default();
        for id in [1, 2, 7] {
            let count = self.0.bool().then(|| self.0.u8(..));
            memory.items.insert(id, Item { name: format!("item {id}"), count });
        }
        for (id, expired) in [("good-hunter2", false), ("other-hunter2", false), ("old-hunter2", true)] {
            memory.sessions.insert(id.into(), Session { user: format!("user of {id}"), visits: 0, expired });
        }
        let cookies = [
            None,
            Some("sid=good-hunter2"),
            Some("sid=good-hunter2"),
            Some("a=b; sid=good-hunter2"),
            Some("sid=old-hunter2"),
            Some("sid=forged-hunter2"),
            Some("name=José; sid=good-hunter2; größe=é"),
            Some("sid=good-hunter2; ü; a=1; a=2; sid=old-hunter2"),
        ];
        let cookie = self.one(&cookies);
        let steps = (0..self.0.usize(1..=20)).map(|_| self.step()).collect();
        Sequence { memory, cookie, steps }
    }

    fn step(&mut self) -> Step {
        if self.0.u8(..100) == 0 { Step::Expire } else { Step::Ask(self.ask()) }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())]
    }

    fn ask(&mut self) -> Ask {
        let (method, url) = if self.0.bool() { self.sensible() } else { (self.one(&METHODS), self.url()) };
        let data = match method {
            "get" | "head" => self.chance(4).then(|| self.pairs()),
            // Both together would be more than a packet may have, which closes the socket.
            _ if url.len() > 60_000 => None,
            _ => (!self.chance(4)).then(|| Data::Json(self.body(&url))),
        };
        let mut headers = Vec::new();
        while self.chance(3) {
            let (name, values) = self.one(HEADERS);
            let value = self.one(values).to_owned();
            // Two of one name are no header list that a dictionary can have.
            if headers.iter().all(|(known, _): &(&str, String)| !known.eq_ignore_ascii_case(name)) {
                headers.push((name, value));
            }
        }
        if self.chance(60) {
            let (name, value) = self.one(BAD_HEADERS);
            headers = vec![(name, value.to_owned())];
        }
        Ask { method, url, headers, data }
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.0.u32(..one_in) == 0
    }

    /// Requests that do something, which few of the wholly random ones would.
    fn sensible(&mut self) -> (&'static str, String) {
        let id = self.one(&["1", "2", "3", "4", "7"]);
        let (method, url) = self.one(&[
            ("get", "/items"),
            ("get", "/items/ID"),
            ("post", "/items"),
            ("post", "/items"),
            ("put", "/items/ID"),
            ("delete", "/items/ID"),
            ("post", "/login"),
            ("post", "/login"),
            ("post", "/logout"),
            ("get", "/me"),
            ("get", "/me"),
            ("delete", "/admin/items"),
            ("get", "/feed"),
            ("post", "/feed/hunter2"),
            ("post", "/feed/hi%20"),
            ("post", "/params/ID?a=1&a=2"),
            ("get", "/echo/ID?a=1&a=2"),
            ("post", "/echo/ID"),
            ("get", "/sum/ID/-3"),
            ("get", "/fails/418"),
            ("get", "/late"),
            ("get", "/panic/hunter2"),
            ("get", "/Items/ID"),
            ("get", "/items/ID/"),
            ("head", "/items/ID"),
            ("head", "/feed"),
            ("get", "/größe/ID/<id>s"),
            ("get", "/status/204"),
            ("post", "/status/205"),
            ("get", "/status/304"),
            ("head", "/status/304"),
            ("get", "/bare/204"),
            ("put", "/status/103"),
            ("get", "/fails/204"),
        ]);
        (method, url.replace("ID", id))
    }

    fn url(&mut self) -> String {
        if self.chance(50) {
            return self
                .one(&[
                    "",
                    "items",
                    "//host/items",
                    "http://host/items",
                    "/\\items",
                    "?a=1",
                    "#",
                    "*",
                    "/",
                    "ws://host/",
                    " /items",
                ])
                .into();
        }
        if self.chance(500) {
            return format!("/echo/{}", "x".repeat(self.one(&[1000, 65_000, 65_600])));
        }
        let mut url = format!("/{}", self.one(FIRST));
        for _ in 0..self.0.usize(..4) {
            url = format!("{url}/{}", self.one(NEXT));
        }
        for nth in 0..self.0.usize(..4) {
            url = format!("{url}{}{}", if nth == 0 { "?" } else { "&" }, self.one(QUERY));
        }
        url
    }

    fn pairs(&mut self) -> Data {
        const VALUES: &[&str] = &["null", "true", "0", "-1.50", "\"\"", "\"a b\"", "\"é&=\"", "\"+%\"", "\"\\n\""];
        const KEYS: &[&str] = &["page", "a", "b c", "é", "&="];
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for _ in 0..self.0.usize(..4) {
            let (key, value) = (self.one(KEYS), self.one(VALUES));
            pairs.push((key, value));
        }
        Data::Pairs(pairs)
    }

    fn body(&mut self, url: &str) -> String {
        if self.chance(2) {
            let name = self.one(&["a", "é", "", "x y"]);
            return match url {
                _ if url.starts_with("/items") => {
                    format!("{{\"name\": \"{name}\",\"count\":{} }}", self.one(&["1", "null", "255", "256"]))
                }
                _ if url.starts_with("/login") => format!("{{\"user\":\"{name}\"}}"),
                _ => self.json(2),
            };
        }
        match self.0.u8(..40) {
            0 => {
                let depth = self.one(&[50, 126, 127, 128, 200, 2000]);
                format!("{}{}", "[".repeat(depth), "]".repeat(depth))
            }
            1 => format!("\"{}\"", "x".repeat(self.one(&[4093, 4094, 4095, 4096, 9000]))),
            _ => self.json(3),
        }
    }

    fn json(&mut self, depth: usize) -> String {
        match if depth == 0 { 0 } else { self.0.u8(..4) } {
            2 => {
                let items: Vec<_> = (0..self.0.usize(..4)).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", items.join(","))
            }
            3 => {
                let fields: Vec<_> = (0..self.0.usize(..4))
                    .map(|_| format!("\"{}\":{}", self.one(NAMES), self.json(depth - 1)))
                    .collect();
                format!("{{{}}}", fields.join(" , "))
            }
            _ => self.one(SCALARS).to_owned(),
        }
    }
}
