//! One-time tickets: what a new device needs to join a vault. See `docs/formats.md`, Ticket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use aios_core::id::{DeviceId, VaultId};
use data_encoding::{BASE32_NOPAD, DecodeKind, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What every ticket begins with.
pub const PREFIX: &str = "aios1";

const CHECK: &str = "aios-ticket-v1\n";
const MOST: usize = 4096;

/// Why a ticket is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not a ticket at all.
    #[error("this is not a ticket: tickets begin with `{PREFIX}`; copy it from `aios pair`")]
    NotTicket,
    /// A sign that tickets do not have.
    #[error("the ticket has a sign at position {0} that tickets do not have; copy it again from `aios pair`")]
    Sign(usize),
    /// Its end is missing.
    #[error("the ticket is cut off; copy all of it from `aios pair`")]
    Truncated,
    /// Its checksum is wrong.
    #[error("the ticket is mistyped: its checksum is wrong; copy it again from `aios pair`")]
    Checksum,
    /// Sound by its checksum, but not of a form that this program reads.
    #[error("the ticket was made by another version of aios ({0}); upgrade this one")]
    Form(&'static str),
    /// Its time is over.
    #[error("the ticket expired {} ago; make a new one with `aios pair`", age(*.ago))]
    Expired {
        /// How long ago, in ms.
        ago: u64,
    },
    /// It was made in the folder that is to join.
    #[error(
        "the ticket was made in this very vault; use it on the device that is to join, or for another folder"
    )]
    Own,
    /// It has more in it than a ticket holds.
    #[error("the ticket would be too long: {0}")]
    TooLong(&'static str),
    /// The system has no random numbers.
    #[error("this system gives no random numbers ({0})")]
    Random(String),
}

fn age(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}

/// The secret of a ticket: 128 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// [`TicketError::Random`] when the system has none.
    pub fn generate() -> Result<Self, TicketError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| TicketError::Random(e.to_string()))?;
        Ok(Secret(bytes))
    }

    /// The public name of the ticket with this secret, which tells nothing about it.
    pub fn id(&self) -> TicketId {
        let hash = blake3::derive_key("aios pair v1 ticket id", &self.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        TicketId(id)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The public name of a ticket: BLAKE3 `derive_key` of its secret, 16 bytes, in JSON 32 hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub [u8; 16]);

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Serialize for TicketId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TicketId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        bytes.try_into().map(TicketId).map_err(|_| serde::de::Error::custom("not 32 hex digits"))
    }
}

/// What the inviter remembers of a ticket, durably and outside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The secret; keep it where the keys are.
    pub secret: Secret,
    /// When it ends, ms since the Unix epoch.
    pub expires: u64,
    /// What the joiner will be.
    pub roles: Vec<String>,
    /// The vault's name as the ticket says it.
    pub vault_name: String,
    /// What the joiner will be called, where the inviter has decided that.
    pub name: Option<String>,
}

/// A one-time ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The vault to join.
    pub vault: VaultId,
    /// The device that invites.
    pub inviter: DeviceId,
    /// Where it listens.
    pub addrs: Vec<SocketAddr>,
    /// Known to inviter and joiner only.
    pub secret: Secret,
    /// When it ends, ms since the Unix epoch.
    pub expires: u64,
    /// What the joiner will be.
    pub roles: Vec<String>,
    /// The vault's name.
    pub vault_name: String,
}

impl Ticket {
    /// What the inviter has to remember of it.
    pub fn to_offer(&self) -> Offer {
        Offer {
            secret: self.secret.clone(),
            expires: self.expires,
            roles: self.roles.clone(),
            vault_name: self.vault_name.clone(),
            name: None,
        }
    }

    /// Fails when its time is over at `now` (ms since the Unix epoch).
    pub fn check_time(&self, now: u64) -> Result<(), TicketError> {
        match now < self.expires {
            true => Ok(()),
            false => Err(TicketError::Expired { ago: now - self.expires }),
        }
    }

    /// Reads a ticket that a person pasted, and checks its time.
    pub fn parse(text: &str, now: u64) -> Result<Ticket, TicketError> {
        let ticket: Ticket = text.parse()?;
        ticket.check_time(now)?;
        Ok(ticket)
    }

    /// Writes it: `aios1` and lowercase base32.
    ///
    /// # Errors
    /// [`TicketError::TooLong`] for more than 32 addresses or roles, or a role or name above 255 bytes.
    pub fn encode(&self) -> Result<String, TicketError> {
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(self.vault.as_bytes());
        body.extend_from_slice(self.inviter.as_bytes());
        body.extend_from_slice(&self.secret.0);
        body.extend_from_slice(&self.expires.to_be_bytes());
        body.push(few(self.addrs.len(), "addresses")?);
        for addr in &self.addrs {
            match addr.ip() {
                IpAddr::V4(ip) => {
                    body.push(4);
                    body.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    body.push(6);
                    body.extend_from_slice(&ip.octets());
                }
            }
            body.extend_from_slice(&addr.port().to_be_bytes());
        }
        body.push(few(self.roles.len(), "roles")?);
        for text in self.roles.iter().chain([&self.vault_name]) {
            body.push(
                u8::try_from(text.len()).map_err(|_| TicketError::TooLong("a role or the vault's name"))?,
            );
            body.extend_from_slice(text.as_bytes());
        }
        let len = u16::try_from(body.len()).ok().filter(|n| usize::from(*n) <= MOST);
        let mut bytes = len.ok_or(TicketError::TooLong("all together"))?.to_be_bytes().to_vec();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&checksum(&body));
        Ok(format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()))
    }
}

fn few(count: usize, what: &'static str) -> Result<u8, TicketError> {
    u8::try_from(count).ok().filter(|n| *n <= 32).ok_or(TicketError::TooLong(what))
}

fn checksum(body: &[u8]) -> [u8; 4] {
    let hash = blake3::hash(&[CHECK.as_bytes(), body].concat());
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads the text, upper or lower case, spaces around it allowed. Does not check its time.
    fn from_str(text: &str) -> Result<Ticket, TicketError> {
        let text = text.trim();
        let rest = match text.get(..PREFIX.len()) {
            Some(start) if start.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            _ => return Err(TicketError::NotTicket),
        };
        if rest.len() > 2 * MOST {
            return Err(TicketError::Checksum);
        }
        let mut signs = rest.to_ascii_uppercase();
        let mut decoded = BASE32_NOPAD.decode(signs.as_bytes());
        // The last sign has bits that say nothing. Where they are set it was mistyped, or it is not the last.
        let spoilt = matches!(&decoded, Err(e) if e.kind == DecodeKind::Trailing);
        if spoilt {
            signs.pop();
            signs.push('A');
            decoded = BASE32_NOPAD.decode(signs.as_bytes());
        }
        let bytes = decoded.map_err(|e| match e.kind {
            DecodeKind::Symbol => TicketError::Sign(PREFIX.len() + e.position + 1),
            _ => TicketError::Truncated,
        })?;
        let (len, rest) = bytes.split_first_chunk::<2>().ok_or(TicketError::Truncated)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let body = rest.get(..len).ok_or(TicketError::Truncated)?;
        let check = &rest[len..];
        if check.len() < 4 {
            return Err(TicketError::Truncated);
        }
        if spoilt || check != checksum(body) {
            return Err(TicketError::Checksum);
        }
        Reader(body).ticket().ok_or(TicketError::Form("its parts do not fit"))
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[b]| b)
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::from(self.byte()?);
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        String::from_utf8(head.to_vec()).ok()
    }

    fn addr(&mut self) -> Option<SocketAddr> {
        let ip = match self.byte()? {
            4 => IpAddr::from(Ipv4Addr::from(self.take::<4>()?)),
            6 => IpAddr::from(Ipv6Addr::from(self.take::<16>()?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }

    fn ticket(mut self) -> Option<Ticket> {
        let (vault, inviter) = (VaultId(self.take()?), DeviceId(self.take()?));
        let (secret, expires) = (Secret(self.take()?), u64::from_be_bytes(self.take()?));
        let count = self.byte()?;
        let addrs = (0..count).map(|_| self.addr()).collect::<Option<Vec<_>>>()?;
        let count = self.byte()?;
        let roles = (0..count).map(|_| self.text()).collect::<Option<Vec<_>>>()?;
        let vault_name = self.text()?;
        self.0.is_empty().then_some(Ticket { vault, inviter, addrs, secret, expires, roles, vault_name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Ticket {
        Ticket {
            vault: VaultId([1; 32]),
            inviter: DeviceId([2; 32]),
            addrs: vec!["192.168.1.7:4433".parse().unwrap(), "[fe80::1]:9".parse().unwrap()],
            secret: Secret([9; 16]),
            expires: 1000,
            roles: vec!["write".into(), "approve".into()],
            vault_name: "Möller & Co".into(),
        }
    }

    #[test]
    fn round_trip() {
        let text = sample().encode().unwrap();
        assert_eq!(Ticket::parse(&text, 999).unwrap(), sample());
        assert_eq!(Ticket::parse(&format!("  {}\n", text.to_uppercase()), 0).unwrap(), sample());
        assert_eq!(Ticket::parse(&text, 61_000), Err(TicketError::Expired { ago: 60_000 }));
        assert!(text.len() < 260, "{}", text.len());
    }

    #[test]
    fn each_fault_has_its_name() {
        let text = sample().encode().unwrap();
        assert_eq!("hello".parse::<Ticket>(), Err(TicketError::NotTicket));
        assert_eq!("".parse::<Ticket>(), Err(TicketError::NotTicket));
        assert_eq!("ü".parse::<Ticket>(), Err(TicketError::NotTicket));
        for cut in PREFIX.len()..text.len() {
            assert_eq!(text[..cut].parse::<Ticket>(), Err(TicketError::Truncated), "cut at {cut}");
        }
        assert!(text.replacen(&text[20..21], "!", 1).parse::<Ticket>().is_err());
        assert_eq!(format!("{}1{}", &text[..30], &text[31..]).parse::<Ticket>(), Err(TicketError::Sign(31)));
        assert!(format!("{text}aa").parse::<Ticket>().is_err());
        // The last sign too, whose low bits say nothing.
        let (rest, last) = text.split_at(text.len() - 1);
        for other in "abcdefghijklmnopqrstuvwxyz234567".chars().filter(|c| last != c.to_string()) {
            assert_eq!(format!("{rest}{other}").parse::<Ticket>(), Err(TicketError::Checksum), "{other}");
        }
    }

    #[test]
    fn too_much_does_not_fit() {
        let long = Ticket { vault_name: "x".repeat(256), ..sample() };
        assert!(matches!(long.encode(), Err(TicketError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn every_other_letter_is_noticed(at in 5usize..200, to in "[a-z2-7]") {
            let text = sample().encode().unwrap();
            let at = 5 + (at - 5) % (text.len() - 5);
            let other = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(other.parse::<Ticket>().is_ok(), other == text);
        }

        #[test]
        fn garbage_never_panics(text in "aios1[a-z2-7]{0,300}", any in ".{0,40}") {
            let _ = text.parse::<Ticket>();
            let _ = any.parse::<Ticket>();
        }

        #[test]
        fn sound_bytes_of_any_kind_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = (body.len() as u16).to_be_bytes().to_vec();
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(&checksum(&body));
            let text = format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes));
            let _ = text.parse::<Ticket>();
        }
    }
}
