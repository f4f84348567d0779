//! Checks that a request is meant for this machine. Pages that need no secret are for this machine only.
//!
//! A browser sends requests for any page. A page from elsewhere can have its own name resolve to this machine (DNS
//! rebinding). Its requests contain that name, and are refused. The port is not checked, because a tunnel may change
//! it.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Request};

/// The names that every machine has for itself.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Returns the `HOST:PORT` that a request names. It is empty if there is none.
pub fn named<B>(request: &Request<B>) -> &str {
    let by_header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    by_header.or(request.uri().authority().map(|authority| authority.as_str())).unwrap_or_default()
}

/// Splits this into name and port. The default port is that of HTTP.
fn parts(named: &str) -> Option<(&str, u16)> {
    let (name, port) = match named.rsplit_once(':') {
        Some((name, port)) if !named.ends_with(']') => (name, port),
        _ => (named, "80"),
    };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    Some((name, port.parse().ok().filter(|_| is_number)?))
}

/// Returns the named port, or none if it is malformed.
pub fn port(named: &str) -> Option<u16> {
    parts(named).map(|(_, port)| port)
}

/// Whether this is a name of this machine for itself.
pub fn is_this_machine(named: &str) -> bool {
    parts(named).is_some_and(|(name, _)| NAMES.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

/// Whether the browser's headers show that another site sent the request.
pub fn is_of_another_site(headers: &HeaderMap, named: &str) -> bool {
    let is_cross_site = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, host)| host == named);
    is_cross_site || origin.is_some_and(|origin| !is_own(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_lead_here() {
        for named in ["127.0.0.1:7001", "localhost:7001", "LOCALHOST:1", "[::1]:7001", "[::1]", "localhost"] {
            assert!(is_this_machine(named), "{named}");
        }
        let others = [
            "",
            "127.0.0.1:",
            "127.0.0.1:70010",
            "evil.example:7001",
            "localhost.evil:7001",
            "127.0.0.1.evil",
            "localhost:+1",
        ];
        for named in others {
            assert!(!is_this_machine(named), "{named}");
        }
        assert_eq!(
            (port("10.0.0.5:7001"), port("host"), port("[::1]"), port("host:x")),
            (Some(7001), Some(80), Some(80), None)
        );
    }

    #[test]
    fn another_site_is_told_by_what_browsers_say() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(
                axum::http::HeaderName::from_static(name),
                value.parse().expect("a value"),
            )])
        };
        let is_other = |name, value| is_of_another_site(&headers(name, value), "localhost:7001");
        assert!(is_other("sec-fetch-site", "cross-site") && is_other("origin", "http://evil.example"));
        assert!(is_other("origin", "null") && is_other("origin", "http://localhost:7002"));
        assert!(!is_other("sec-fetch-site", "same-origin") && !is_other("origin", "http://localhost:7001"));
    }
}
