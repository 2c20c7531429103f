//! Which headers the packets of a socket set: a list, what the application adds to it, and what nothing adds.

use axum::{Json, Router, http::HeaderMap, routing::any};
use catamaran::{Any, App, Origins, PacketHeaders, ServeError};
use serde_json::Value;

use crate::support::{Client, Eio, Server, get};

/// Headers by which browsers, proxies, gateways and platforms say who a client is, or how it reached the server.
const IDENTITY: &[&str] = &[
    // Browsers.
    "cookie",
    "origin",
    "referer",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-ch-ua",
    "sec-gpc",
    // Proxies of all kinds.
    "client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "proxy-authorization",
    "proxy-client-ip",
    "true-client-ip",
    "via",
    "wl-proxy-client-ip",
    "wl-proxy-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-custom-ip-authorization",
    "x-forward-for",
    "x-forwarded",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-for",
    "x-forwarded-groups",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-preferred-username",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-user",
    "x-host",
    "x-http-host-override",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-replaced-path",
    "x-rewrite-url",
    "x-scheme",
    "x-true-client-ip",
    "x-url-scheme",
    // Users, as authenticating proxies name them.
    "impersonate-group",
    "impersonate-user",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "tailscale-user-login",
    "tailscale-user-name",
    "x-anonymous-consumer",
    "x-apigateway-api-userinfo",
    "x-auth-email",
    "x-auth-groups",
    "x-auth-request-access-token",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-user",
    "x-auth-roles",
    "x-auth-subject",
    "x-auth-user",
    "x-auth-userid",
    "x-auth-username",
    "x-authenticated-groups",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-authentik-email",
    "x-authentik-username",
    "x-consumer-custom-id",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-credential-username",
    "x-endpoint-api-userinfo",
    "x-id-token",
    "x-pomerium-claim-email",
    "x-pomerium-jwt-assertion",
    "x-remote-extra-scopes",
    "x-remote-group",
    "x-remote-user",
    "x-userinfo",
    "x-vouch-user",
    "x-webauth-email",
    "x-webauth-user",
    // Certificates of clients.
    "client-cert",
    "client-cert-chain",
    "ssl-client-cert",
    "ssl-client-subject-dn",
    "ssl-client-verify",
    "x-client-cert",
    "x-client-dn",
    "x-client-verify",
    "x-ssl-client-cert",
    "x-ssl-client-s-dn",
    "x-ssl-client-verify",
    "x-tls-client-cert",
    // Clouds and networks.
    "akamai-origin-hop",
    "ali-cdn-real-ip",
    "cdn-loop",
    "cf-access-authenticated-user-email",
    "cf-access-jwt-assertion",
    "cf-connecting-ip",
    "cf-ipcountry",
    "cloudfront-viewer-address",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "incap-client-ip",
    "x-akamai-edgescape",
    "x-amzn-mtls-clientcert",
    "x-amzn-mtls-clientcert-subject",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-appengine-cron",
    "x-appengine-inbound-appid",
    "x-appengine-user-email",
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-goog-iap-jwt-assertion",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-idp",
    "x-ms-client-principal-name",
    "x-ms-token-aad-access-token",
    "x-ms-token-aad-id-token",
    "x-nf-client-connection-ip",
    "x-sucuri-clientip",
    "x-vercel-forwarded-for",
    "x-vercel-oidc-token",
];

/// Headers that describe how bytes travel.
const CONNECTION: &[&str] =
    &["connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"];

/// The headers that every packet sets.
const SET: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "x-csrf-token",
    "x-requested-with",
    "if-match",
    "if-none-match",
    "idempotency-key",
    "last-event-id",
];

const ORIGIN: &str = "http://good.example";

async fn echo(headers: HeaderMap) -> Json<Vec<(String, String)>> {
    let shown = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    Json(shown.collect())
}

fn app() -> App<()> {
    App::new(()).merge(Router::new().route("/echo", any(echo))).origins(Origins::same().and(ORIGIN))
}

/// What packets set in each kind of application: the default, with names, and with `Any`.
async fn servers() -> [Server; 3] {
    let named = app().packet_headers(["x-tenant", "X-Trace"]);
    [Server::start(app()).await, Server::start(named).await, Server::start(app().packet_headers(Any)).await]
}

/// The values of one header in an echo.
fn values(echo: &Value, name: &str) -> Vec<String> {
    let all = echo.as_array().expect("an echo").iter().filter(|pair| pair[0] == name);
    all.map(|pair| pair[1].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn identity_headers_never_come_from_a_packet() {
    for server in servers().await {
        // hyper takes a hundred headers of a handshake, and a packet brings 64.
        for names in IDENTITY.chunks(40) {
            let brought: Vec<_> =
                names.iter().map(|name| (*name, if *name == "origin" { ORIGIN } else { "brought" })).collect();
            for handshake in [&[] as &[_], &brought] {
                let mut client = Client::with(&server, Eio::V4, handshake).await;
                let honest = client.ask(&get("/echo")).await;
                for (name, value) in handshake {
                    assert_eq!(values(&honest.json(), name), [*value], "{name}");
                }
                for upper in [false, true] {
                    let forged = names.iter().chain(CONNECTION).fold(get("/echo"), |ask, name| {
                        let spelling = if upper { name.to_uppercase() } else { (*name).to_owned() };
                        ask.header(&spelling, "forged")
                    });
                    assert_eq!(client.ask(&forged).await, honest);
                }
            }
        }
    }
}

#[tokio::test]
async fn identity_header_in_packet_headers_fails_the_start() {
    for name in IDENTITY.iter().chain(CONNECTION) {
        for entry in [(*name).to_owned(), name.to_uppercase()] {
            let refused = app().packet_headers(["x-tenant", &entry]).into_router().unwrap_err();
            assert!(matches!(refused, ServeError::Setting(_)), "{name}");
            let text = refused.to_string();
            assert!(text.contains("`packet_headers` must not name") && text.contains(name), "{text}");
        }
    }
    let refused = app().packet_headers(["x tenant"]).into_router().unwrap_err().to_string();
    assert!(refused.contains("\"x tenant\" is none"), "{refused}");
}

#[tokio::test]
async fn listed_headers_replace_those_of_the_handshake() {
    let brought: Vec<_> = SET.iter().map(|name| (*name, "brought")).collect();
    for server in servers().await {
        for handshake in [&[] as &[_], &brought] {
            let mut client = Client::with(&server, Eio::V4, handshake).await;
            let ask = SET.iter().fold(get("/echo"), |ask, name| ask.header(name, "said"));
            let echo = client.ask(&ask).await.json();
            for name in SET {
                assert_eq!(values(&echo, name), ["said"], "{name}");
            }
        }
    }
}

#[tokio::test]
async fn authorization_of_a_packet_yields_to_the_handshake() {
    for server in servers().await {
        for (handshake, expected) in [(&[] as &[_], "said"), (&[("authorization", "brought")], "brought")] {
            let mut client = Client::with(&server, Eio::V4, handshake).await;
            let echo = client.ask(&get("/echo").header("Authorization", "said")).await.json();
            assert_eq!(values(&echo, "authorization"), [expected]);
        }
    }
}

#[tokio::test]
async fn named_headers_fill_in_and_others_are_dropped() {
    let [default, named, any] = servers().await;
    let handshake = [("x-tenant", "brought"), ("user-agent", "brought")];
    for (server, tenant, other) in [(&default, None, None), (&named, Some("2"), None), (&any, Some("2"), Some("3"))] {
        let ask = get("/echo").header("X-TENANT", "1").header("x-tenant", "2").header("x-other", "3");
        let mut client = Client::connect(server).await;
        let answer = client.ask(&ask).await;
        assert_eq!(answer.status, 200);
        assert_eq!(values(&answer.json(), "x-tenant"), Vec::from_iter(tenant));
        assert_eq!(values(&answer.json(), "x-other"), Vec::from_iter(other));
        // A proxy that sets the header on the handshake is believed.
        let mut client = Client::with(server, Eio::V4, &handshake).await;
        let echo = client.ask(&ask.header("user-agent", "4")).await.json();
        assert_eq!(values(&echo, "x-tenant"), ["brought"]);
        assert_eq!(values(&echo, "user-agent"), ["brought"]);
    }
}

#[tokio::test]
async fn packet_headers_take_every_list_and_add_up() {
    let lists: [PacketHeaders; 4] = [["x-a"].into(), vec!["x-a".to_owned()].into(), (&["x-a"][..]).into(), Any.into()];
    for list in lists {
        let server = Server::start(app().packet_headers(list).packet_headers(["x-b"])).await;
        let mut client = Client::connect(&server).await;
        let echo = client.ask(&get("/echo").header("x-a", "1").header("x-b", "2")).await.json();
        assert_eq!([values(&echo, "x-a"), values(&echo, "x-b")], [["1"], ["2"]], "{echo}");
    }
}
