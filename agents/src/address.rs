//! Addresses that agents may look at. Read to the letter: what two programs might read in two ways is no address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy;

/// The longest address, in bytes.
const MOST: usize = 2_048;

/// An address on the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether what is said there is for the one who is there alone.
    closed: bool,
    /// The host in small letters, and the port where one is named.
    host: String,
    port: Option<u16>,
    /// Path and query.
    rest: String,
}

/// Addresses of one host: those whose path and query are like this, in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach(Address);

impl Address {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str) -> Result<Address, &'static str> {
        if text.contains('*') {
            return Err("an address that is looked at has no `*`");
        }
        Address::of(text)
    }

    fn of(text: &str) -> Result<Address, &'static str> {
        let plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}#".contains(c);
        if text.len() > MOST || !text.chars().all(plain) {
            return Err("it is too long, or has letters that stand in no address");
        }
        let (closed, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("it does not begin with `https://`"),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = match authority.strip_prefix('[') {
            Some(inside) => {
                let (host, after) = inside.split_once(']').ok_or("its host does not end")?;
                (format!("[{host}]"), after.strip_prefix(':').or((!after.is_empty()).then_some("?")))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (authority.to_ascii_lowercase(), None),
            },
        };
        let port = match port {
            Some(port) if port.bytes().all(|it| it.is_ascii_digit()) => {
                Some(port.parse().map_err(|_| "its port is none")?)
            }
            Some(_) => return Err("its port is none"),
            None => None,
        };
        let path = rest.split('?').next().unwrap_or_default();
        let small = path.to_ascii_lowercase();
        if path.split('/').any(|part| part == "." || part == "..")
            || ["%2e", "%2f", "%5c"].iter().any(|it| small.contains(it))
        {
            return Err("its path goes elsewhere than it says");
        }
        let rest = if path.is_empty() { format!("/{rest}") } else { rest.to_owned() };
        let address = Address { closed, host, port, rest };
        address.is_host()?;
        match address.closed || address.is_near() {
            true => Ok(address),
            false => Err("what comes by `http://` anybody on the way can change: `https://`"),
        }
    }

    /// Whether its host is a name or a number as everybody writes it.
    fn is_host(&self) -> Result<(), &'static str> {
        if self.ip().is_some() {
            return Ok(());
        }
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let part = |part: &str| !part.is_empty() && part.bytes().all(inside);
        // Some programs read `0x7f.1` and `2130706433` as numbers.
        let last = self.host.rsplit('.').next().unwrap_or_default();
        match self.host.split('.').all(part) && last.bytes().all(|it| it.is_ascii_alphabetic() || it == b'-')
        {
            true => Ok(()),
            false => Err("its host is none"),
        }
    }

    /// Its host as a number.
    fn ip(&self) -> Option<IpAddr> {
        match self.host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => self.host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        }
    }

    /// Whether it names this machine, or a number in a network that is nobody else's.
    fn is_near(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| !is_public(ip))
    }
}

impl Reach {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str) -> Result<Reach, &'static str> {
        Address::of(text).map(Reach)
    }

    /// Whether an address is one of them.
    pub fn has(&self, address: &Address) -> bool {
        let Reach(own) = self;
        (own.closed, &own.host, own.port) == (address.closed, &address.host, address.port)
            && policy::like(&own.rest, &address.rest)
    }

    /// Whether it is one address, to the letter.
    pub fn is_whole(&self) -> bool {
        !self.0.rest.contains('*')
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.closed { "https://" } else { "http://" })?;
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.rest)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a number is that of somebody on the open network, and of no machine of one's own.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(a == 0
                || a >= 224
                || ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(ip) => {
            let parts = ip.segments();
            let inner = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            };
            match parts {
                // Numbers of the old network in the new one.
                [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    inner(high, low)
                }
                [0x2002, high, low, ..] => inner(high, low),
                [0x2001, second, ..] => second != 0 && second != 0xdb8,
                // What is given out to everybody begins with these three bits.
                [first, ..] => first & 0xe000 == 0x2000,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_might_be_read_in_two_ways_is_no_address() {
        for text in [
            "ftp://example.org/x",
            "https://",
            "https:///x",
            "https://me@example.org/",
            "https://example.org:x/",
            "https://example.org:99999/",
            "https://example.org\\@evil.example/",
            "https://example.org/a/../b",
            "https://example.org/%2e%2E/b",
            "https://example.org/a%2fb",
            "https://example.org/#part",
            "https://exa mple.org/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://127.1/",
            "https://[::1/",
            "https://[::1]x/",
            "https://éxample.org/",
            "http://example.org/",
            "http://1.1.1.1/",
            "https://*.example.org/",
        ] {
            assert!(Reach::read(text).is_err(), "{text}");
        }
        for text in [
            "https://example.org/",
            "https://example.org:8443/a?b=c",
            "http://127.0.0.1:80/",
            "http://localhost/",
            "http://10.0.0.7/x",
            "https://[2606:4700::1111]/",
        ] {
            assert_eq!(Address::read(text).map(|it| it.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(
            Address::read("https://Example.ORG").map(|it| it.to_string()).as_deref(),
            Ok("https://example.org/")
        );
    }

    #[test]
    fn a_reach_has_one_host_and_what_is_like_its_path() {
        let reach = Reach::read("https://example.org/prices/*").expect("a reach");
        let has = |text: &str| Address::read(text).is_ok_and(|it| reach.has(&it));
        assert!(has("https://example.org/prices/today?in=EUR") && has("https://EXAMPLE.org/prices/"));
        for text in [
            "https://example.org/other",
            "https://example.org:444/prices/x",
            "https://example.org.evil.example/prices/x",
            "https://sub.example.org/prices/x",
            "https://example.org/prices/../other",
        ] {
            assert!(!has(text), "{text}");
        }
        assert!(!reach.is_whole() && Reach::read("https://example.org/x").is_ok_and(|it| it.is_whole()));
    }

    #[test]
    fn machines_of_ones_own_are_not_public() {
        for ip in [
            "0.1.2.3",
            "10.1.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::7f00:1",
        ] {
            assert!(!is_public(ip.parse().expect("a number")), "{ip}");
        }
        for ip in
            ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "2001:4860::1"]
        {
            assert!(is_public(ip.parse().expect("a number")), "{ip}");
        }
    }
}
