//! The nginx examples of the documents, run by nginx itself: HTTP, websockets and long-polling through each.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use catamaran::{App, ClientAddr, TransportType, action, routes};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::support::{Ask, Body, Client, Eio, Server, get, http, until, within};

/// Whence nginx asks the application, and whence the clients ask nginx.
const PROXY: &str = "127.0.0.8";
const CLIENT: &str = "127.0.0.1";

const DOCUMENTS: [&str; 2] = ["securing.md", "deployment.md"];

#[action(get "/ip")]
async fn ip(ClientAddr(address): ClientAddr) -> String {
    address.to_string()
}

async fn application() -> Server {
    let app = App::new(()).mount(routes![ip]).trusted_proxies([PROXY]);
    Server::start(app.transports([TransportType::Websocket, TransportType::Polling])).await
}

/// The configuration that a document shows.
fn example(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = fs::read_to_string(path).expect("the document");
    let mut examples =
        text.split("```nginx\n").skip(1).map(|rest| rest.split("```").next().expect("its end").to_owned());
    let example = examples.next().expect("an nginx example");
    assert_eq!(examples.next(), None, "{document} has one nginx example");
    example
}

/// nginx in front of an application, as long as this value lives.
struct Nginx {
    address: SocketAddr,
    _child: Child,
}

impl Nginx {
    /// Runs an example, but for its ports and its TLS, which needs a certificate.
    async fn start(document: &str, application: SocketAddr) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
        let mut example = example(document);
        for upstream in ["127.0.0.1:1337", "127.0.0.1:1338"] {
            example = example.replace(upstream, &application.to_string());
        }
        example = example.replace("listen 443 ssl;", &format!("listen {port};"));
        if !example.contains("server {") {
            example = format!("server {{ listen {port}; {example} }}");
        }
        assert!(example.contains(&format!("listen {port};")), "{example}");
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{}", port.port()));
        fs::create_dir_all(&directory).expect("a directory");
        let at = directory.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|what| format!("{what}_temp_path {at}/{what};\n"))
            .collect();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {at}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}proxy_bind {PROXY};\n{example}\n}}\n"
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration).expect("a file");
        let mut child = Command::new("nginx")
            .args(["-e", "stderr", "-p"])
            .arg(&directory)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed");
        within("nginx", async {
            while TcpStream::connect(port).await.is_err() {
                assert!(child.try_wait().expect("a child").is_none(), "nginx refuses the example of {document}");
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { address: port, _child: child }
    }

    /// The page of this origin is the application's own.
    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks by bytes that no client library would send. Returns the status and the body.
    async fn raw(&self, target: &str, lines: &[Vec<u8>]) -> (u16, String) {
        let mut request =
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address).into_bytes();
        for line in lines {
            request.extend([line, &b"\r\n"[..]].concat());
        }
        request.extend(b"\r\n");
        let mut stream = TcpStream::connect(self.address).await.expect("nginx listens");
        stream.write_all(&request).await.expect("an open connection");
        let mut answer = Vec::new();
        within("the answer", stream.read_to_end(&mut answer)).await.expect("bytes");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or_else(|| panic!("no answer: {answer:?}")), body.to_owned())
    }
}

/// What a client may claim in the headers that the proxy writes, and in others like them.
const LIES: [(&str, &str); 6] = [
    ("x-forwarded-for", "1.2.3.4"),
    ("forwarded", "for=1.2.3.4;host=evil.example;proto=https"),
    ("x-real-ip", "1.2.3.4"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-for", "127.0.0.8"),
];

#[tokio::test]
async fn each_example_passes_http_on() {
    let application = application().await;
    for document in DOCUMENTS {
        let nginx = Nginx::start(document, application.address).await;
        let mut ask = get("/ip");
        for (name, value) in LIES {
            let answer = http(nginx.address, &ask).await;
            assert_eq!((answer.status, answer.body), (200, Body::text(CLIENT)), "{document}: {ask:?}");
            ask = ask.header(name, value);
        }
    }
}

/// A byte that HTTP allows in the value of a header.
fn noise(random: &mut fastrand::Rng) -> u8 {
    match random.u8(..4) {
        0 => random.u8(0x80..),
        1 => *random.choice(b",;=\"[]:").expect("one of them"),
        2 => random.u8(b'0'..=b'9'),
        _ => random.u8(b' '..=b'~'),
    }
}

#[tokio::test]
async fn each_example_hides_no_address_behind_bytes() {
    let application = application().await;
    let mut random = fastrand::Rng::with_seed(7);
    for document in DOCUMENTS {
        let nginx = Nginx::start(document, application.address).await;
        for _ in 0..200 {
            let mut lines = Vec::new();
            for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host"] {
                if random.bool() {
                    let bytes = (0..random.usize(..12)).map(|_| noise(&mut random)).collect();
                    lines.push([format!("{name}: ").into_bytes(), bytes].concat());
                }
            }
            let asked =
                (nginx.raw("/ip", &lines).await, nginx.raw("/socket.io/?EIO=4&transport=polling", &lines).await);
            let said = lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>();
            assert_eq!((asked.0, asked.1.0), ((200, CLIENT.to_owned()), 200), "{document}: {said:?}");
        }
    }
}

#[tokio::test]
async fn each_example_passes_websockets_on() {
    let application = application().await;
    for document in DOCUMENTS {
        let nginx = Nginx::start(document, application.address).await;
        let origin = nginx.origin();
        for headers in [&[][..], &LIES] {
            let headers = [&[("origin", &*origin)], headers].concat();
            for eio in [Eio::V3, Eio::V4] {
                let mut client = Client::open(nginx.address, "/socket.io", eio, &headers).await;
                client.enter().await;
                assert_eq!(client.ask(&get("/ip")).await.body, Body::text(CLIENT), "{document}");
            }
        }
        let foreign = LIES
            .iter()
            .fold(get("/socket.io/?EIO=4&transport=websocket"), |ask, (name, value)| ask.header(name, value));
        for origin in ["http://evil.example", "https://evil.example"] {
            assert_eq!(http(nginx.address, &foreign.clone().header("origin", origin)).await.status, 403, "{document}");
        }
    }
}

#[tokio::test]
async fn each_example_passes_long_polling_on() {
    let application = application().await;
    for document in DOCUMENTS {
        let nginx = Nginx::start(document, application.address).await;
        let url = "/socket.io/?EIO=4&transport=polling";
        let with_cookie = |ask: Ask| ask.header("cookie", "user=1").header("origin", &nginx.origin());
        let text = async |ask: Ask| {
            let answer = http(nginx.address, &with_cookie(ask)).await;
            assert_eq!(answer.status, 200, "{document}: {answer:?}");
            answer.json().as_str().expect("text").to_owned()
        };
        let open: Value = serde_json::from_str(&text(get(url)).await[1..]).expect("an open packet");
        let url = format!("{url}&sid={}", open["sid"].as_str().expect("an id"));
        let post = |packet: &str| Ask::new("post", &url).header("content-type", "text/plain").data(packet);
        assert_eq!(text(post("40")).await, "ok");
        assert_eq!(text(post(r#"421["get",{"url":"/ip"}]"#)).await, "ok");
        let mut packets = String::new();
        while !packets.contains("431[") {
            packets += &text(get(&url)).await;
        }
        assert!(packets.contains(&format!(r#""body":"{CLIENT}""#)), "{document}: {packets}");
        assert_eq!(http(nginx.address, &get(&url)).await.status, 403, "{document}: without its cookie");
        assert_eq!(text(post("1")).await, "ok");
        until("its end", || application.io.sockets().is_empty()).await;
    }
}
