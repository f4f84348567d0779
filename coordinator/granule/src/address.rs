//! Addresses of this machine, as they are given on a command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

/// Parses the address on which to wait for workers. A port alone means all interfaces.
pub(crate) fn of_all_networks(text: &str) -> Result<SocketAddr, String> {
    address(text, Ipv4Addr::UNSPECIFIED.into())
}

/// Parses an address of which a port alone means this machine only.
pub(crate) fn of_this_machine(text: &str) -> Result<SocketAddr, String> {
    address(text, Ipv4Addr::LOCALHOST.into())
}

/// Parses `IP:PORT`, `NAME:PORT`, a port alone, or an IP address alone, of which any free port is taken.
fn address(text: &str, of_a_port: IpAddr) -> Result<SocketAddr, String> {
    let example = SocketAddr::new(of_a_port, 7000);
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 0));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            true => Ok(SocketAddr::new(of_a_port, self::port(text)?)),
            false => {
                Err(format!("`{text}` is not an address; write IP:PORT, as in {example}, or a port alone"))
            }
        };
    };
    if text.contains("//") || text.contains('/') {
        return Err(format!("`{text}` is a URL; write the address alone, as in {example}"));
    }
    let port = self::port(port)?;
    match host {
        "" => Ok(SocketAddr::new(of_a_port, port)),
        "*" => Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        _ if host.contains(':') => {
            Err(format!("`{text}` is not an address; write an IPv6 address in brackets, as in [::1]:7000"))
        }
        // Of several addresses, take one of IPv4: names rarely have others without it.
        _ => {
            let found = (host, port).to_socket_addrs();
            let found: Vec<SocketAddr> =
                found.map_err(|error| format!("cannot find the address of `{host}`: {error}"))?.collect();
            let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
            first.copied().ok_or_else(|| format!("`{host}` has no address"))
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if is_number { text.parse().ok() } else { None };
    port.ok_or_else(|| {
        format!("`{text}` is not a port; write a number from 0 to 65535, where 0 uses a free one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_is_an_address() {
        for (text, all, here) in [
            ("127.0.0.1:7000", "127.0.0.1:7000", "127.0.0.1:7000"),
            ("[::1]:7000", "[::1]:7000", "[::1]:7000"),
            ("7000", "0.0.0.0:7000", "127.0.0.1:7000"),
            (":7000", "0.0.0.0:7000", "127.0.0.1:7000"),
            ("*:7000", "0.0.0.0:7000", "0.0.0.0:7000"),
            ("0.0.0.0", "0.0.0.0:0", "0.0.0.0:0"),
            ("::1", "[::1]:0", "[::1]:0"),
            ("[::1]", "[::1]:0", "[::1]:0"),
            ("localhost:7000", "127.0.0.1:7000", "127.0.0.1:7000"),
        ] {
            assert_eq!(of_all_networks(text).map(|found| found.to_string()), Ok(all.to_owned()), "{text}");
            assert_eq!(of_this_machine(text).map(|found| found.to_string()), Ok(here.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_to_write() {
        for (text, why) in [
            ("", "`` is not an address; write IP:PORT, as in 127.0.0.1:7000, or a port alone"),
            ("nonsense", "`nonsense` is not an address; write IP:PORT"),
            ("127.0.0.1:70000", "`70000` is not a port; write a number from 0 to 65535"),
            ("70000", "`70000` is not a port"),
            ("127.0.0.1:", "`` is not a port"),
            ("127.0.0.1:+1", "`+1` is not a port"),
            ("http://127.0.0.1:7001/", "is a URL; write the address alone, as in 127.0.0.1:7000"),
            ("fe80::1:x:7000", "write an IPv6 address in brackets, as in [::1]:7000"),
            ("a name:7000", "cannot find the address of `a name`"),
        ] {
            let error = of_this_machine(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
