//! The pages of the dashboard, and who may read them.
//!
//! On loopback, all users of this machine may read them, but only under a name of this machine. So a foreign page whose
//! name was made to resolve to this machine is refused. On other addresses, a token is needed. A browser that shows it
//! gets a cookie, so that the token does not stay in the URL.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HeaderName, LOCATION,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use granule_system::hex;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::feed::Feed;
use crate::gate::{Admission, HeldBody, Peer};
use crate::host;

const PAGE: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/dashboard.js");
const STYLE: &str = include_str!("page/dashboard.css");
const ICON: &str = include_str!("page/icon.svg");

/// A page loads only from here, connects only to here, and no other page may embed it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The secret that admits a browser: 128 random bits.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn generate() -> Token {
        Token(hex(&rand::random::<[u8; 16]>()))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the token. Hashes compare in constant time.
    fn is(&self, shown: &str) -> bool {
        blake3::hash(self.0.as_bytes()) == blake3::hash(shown.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The condition for reading the pages.
#[derive(Clone, Debug)]
pub(super) struct PageAccess {
    /// The address that the dashboard listens on.
    pub(super) address: SocketAddr,
    /// The token that a request must show. None on loopback.
    pub(super) token: Option<Token>,
}

/// The answer to a refused request.
type RefusedRequest = (StatusCode, String);

impl PageAccess {
    /// Returns the URLs for people, under these `HOST:PORT`s.
    pub(super) fn urls(&self, places: &[String]) -> Vec<String> {
        let query = self.token.as_ref().map_or(String::new(), |token| format!("?token={}", token.expose()));
        places.iter().map(|place| format!("http://{place}/{query}")).collect()
    }

    fn admit(&self, headers: &HeaderMap, named: &str) -> Result<(), RefusedRequest> {
        let Some(token) = &self.token else { return self.check_host(named) };
        let name = self.cookie(named);
        let shown = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut shown = shown
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(name.as_str())?.strip_prefix('='));
        if shown.any(|value| token.is(value)) {
            return Ok(());
        }
        Err((
            StatusCode::UNAUTHORIZED,
            "This page needs its token: open the whole URL that granule printed.\n".to_owned(),
        ))
    }

    /// Checks that a request names this machine.
    fn check_host(&self, named: &str) -> Result<(), RefusedRequest> {
        if host::is_this_machine(named) {
            return Ok(());
        }
        let port = self.address.port();
        Err((
            StatusCode::FORBIDDEN,
            format!("This page is only at http://127.0.0.1:{port}/ and http://localhost:{port}/.\n"),
        ))
    }

    /// Returns the name of the cookie. Browsers send a cookie to every port of a host, so the name has the port. It is
    /// the port that the browser sees: two tunnels can lead from one host to the same port of two others.
    fn cookie(&self, named: &str) -> String {
        format!("granule-{}", host::port(named).unwrap_or(self.address.port()))
    }

    /// Returns a cookie for the right token.
    fn exchange(&self, query: Option<&str>, named: &str) -> Option<Response> {
        let shown = query?.split('&').find_map(|field| field.strip_prefix("token="))?;
        let token = self.token.as_ref().filter(|token| token.is(shown))?;
        let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie(named), token.expose());
        Some((StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())]).into_response())
    }
}

/// Returns all pages: the page itself, its parts, and its events.
pub(super) fn pages(door: PageAccess, feed: Arc<Feed>) -> Router {
    Router::new().fallback(move |request: Request| {
        let response = answer(&door, &feed, &request);
        async move {
            let mut response = response;
            for (name, value) in HEADERS {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
    })
}

fn answer(door: &PageAccess, feed: &Arc<Feed>, request: &Request) -> Response {
    if request.method() != Method::GET {
        let text = "This page is read-only.\n";
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET")], text).into_response();
    }
    let (path, query) = (request.uri().path(), request.uri().query());
    let named = host::named(request);
    if path == "/"
        && let Some(response) = door.exchange(query, named)
    {
        return response;
    }
    if let Err(refusal) = door.admit(request.headers(), named) {
        return refusal.into_response();
    }
    let text = |kind: &'static str, text: &'static str| ([(CONTENT_TYPE, kind)], text).into_response();
    match path {
        "/" => text("text/html; charset=utf-8", PAGE),
        "/dashboard.js" => text("text/javascript; charset=utf-8", SCRIPT),
        "/dashboard.css" => text("text/css; charset=utf-8", STYLE),
        "/icon.svg" => text("image/svg+xml", ICON),
        // Another site could not read the answer, but its requests could keep the coordinator busy.
        "/events" if host::is_of_another_site(request.headers(), named) => {
            (StatusCode::FORBIDDEN, "These events are only for the dashboard's own page.\n").into_response()
        }
        "/events" => events(feed, query, request.extensions().get::<Peer>().map(Peer::admit_looker)),
        _ => {
            (StatusCode::NOT_FOUND, "No such page; the dashboard is at http://HOST:PORT/.\n").into_response()
        }
    }
}

/// Streams events, with the spikes of the conditions in `watch=0,7`, until the client disconnects.
fn events(feed: &Arc<Feed>, query: Option<&str>, admission: Option<Admission>) -> Response {
    let watch = query.into_iter().flat_map(|query| query.split('&'));
    let lists = watch.filter_map(|field| field.strip_prefix("watch="));
    // Some clients write the comma as `%2C`. Numbers have no other character that could be escaped.
    let lists: Vec<String> = lists.map(|list| list.replace("%2C", ",").replace("%2c", ",")).collect();
    let numbers = lists.iter().flat_map(|list| list.split(',')).filter_map(|number| number.parse().ok());
    let conditions = numbers.take(super::feed::MOST_WATCHED).collect();
    let (page, told) = mpsc::channel::<Bytes>(1);
    tokio::spawn(Arc::clone(feed).follow(conditions, page));
    let told = HeldBody::new(ReceiverStream::new(told), admission);
    let body = Body::from_stream(told.map(Ok::<Bytes, std::convert::Infallible>));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a header"))])
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_lead_here() {
        let door = PageAccess { address: "127.0.0.1:7001".parse().expect("an address"), token: None };
        let admits = |named: &str| door.admit(&HeaderMap::new(), named).is_ok();
        // The second has the port of a tunnel.
        assert!(admits("127.0.0.1:7001") && admits("localhost:7002"));
        assert!(!admits("evil.example:7001") && !admits(""));
    }

    #[test]
    fn elsewhere_only_the_token_does() {
        let token = Token::generate();
        let door =
            PageAccess { address: "10.0.0.5:7001".parse().expect("an address"), token: Some(token.clone()) };
        let right = format!("theme=dark; granule-7001={}", token.expose());
        let admits = |cookies: &str, named: &str| door.admit(&headers(COOKIE, cookies), named).is_ok();
        assert!(admits(&right, "10.0.0.5:7001"));
        // The request names no port.
        assert!(admits(&right, "10.0.0.5:x"));
        // Through a tunnel, under the port that the browser sees, beside a cookie for another.
        assert!(!admits(&right, "localhost:7002"));
        assert!(admits(&format!("granule-7001=other; granule-7002={}", token.expose()), "localhost:7002"));
        for wrong in
            ["", "granule-7001=", "granule-7001", &right.replace("7001", "7002"), &format!("{right}0")]
        {
            assert!(!admits(wrong, "10.0.0.5:7001"), "{wrong}");
        }
        let given =
            door.exchange(Some(&format!("token={}", token.expose())), "localhost:7002").expect("a cookie");
        assert!(given.headers()[SET_COOKIE].to_str().expect("text").starts_with("granule-7002="));
        for wrong in [None, Some("token="), Some("token"), Some("tokens=1")] {
            assert!(door.exchange(wrong, "10.0.0.5:7001").is_none(), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "Token");
        assert_eq!(token.expose().len(), 32);
    }
}
