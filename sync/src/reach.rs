//! How members are found and reached beyond the addresses in the vault: by asking the local network, by the public lookup of
//! endpoint ids, and through relays, which see who talks to whom and how much, never what.

use iroh::address_lookup::{DnsAddressLookup, PkarrPublisher, PkarrResolver};
use iroh::endpoint::Builder;
use iroh::{RelayMode, RelayUrl};
use iroh_mdns_address_lookup::MdnsAddressLookup;

use crate::error::SyncError;
use crate::net::Scope;

/// The name under which devices ask for each other in the local network.
const SERVICE: &str = "aios";

/// Through whom devices talk that cannot reach each other directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relay {
    /// Nobody.
    None,
    /// The public relays of the makers of iroh.
    Public,
    /// One of the operator's own, which all devices of the vault know.
    Own(RelayUrl),
}

/// What is asked beyond the addresses in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Whether the local network is asked (mDNS, RFC 6762).
    pub lan: bool,
    /// Whether the public lookup of endpoint ids is asked and told (DNS and pkarr).
    pub lookup: bool,
    /// Relays.
    pub relay: Relay,
}

impl Reach {
    /// Nothing.
    pub const NOTHING: Reach = Reach { lan: false, lookup: false, relay: Relay::None };

    /// What the environment asks for: `AIOS_NET` is `loopback` (nothing), `lan` (the local network only) or not set (all);
    /// `AIOS_RELAY` is the URL of a relay, which takes the place of the public ones and of the public lookup, or `none`.
    ///
    /// # Errors
    /// [`SyncError::Setting`] for a value that is none of these.
    pub fn from_env() -> Result<Reach, SyncError> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Reach::of(read("AIOS_NET").as_deref(), read("AIOS_RELAY").as_deref())
    }

    fn of(net: Option<&str>, relay: Option<&str>) -> Result<Reach, SyncError> {
        let wrong = |name, value: &str, takes| SyncError::Setting { name, value: value.to_owned(), takes };
        let (all, any) = match net {
            None => (true, true),
            Some("lan") => (false, true),
            Some("loopback") => (false, false),
            Some(other) => return Err(wrong("AIOS_NET", other, "`loopback` or `lan`, or is not set")),
        };
        let relay = match relay {
            None if all => Relay::Public,
            None | Some("none") => Relay::None,
            Some(url) => {
                let takes = "the URL of a relay, such as https://relay.example.com, or `none`";
                Relay::Own(url.parse().map_err(|_| wrong("AIOS_RELAY", url, takes))?)
            }
        };
        if !any {
            return Ok(Reach::NOTHING);
        }
        Ok(Reach { lan: true, lookup: all && !matches!(relay, Relay::Own(_)), relay })
    }

    /// What is left of it for a device that listens in `scope`: one that is bound to one address is asked for by nobody else.
    #[must_use]
    pub fn within(self, scope: Scope) -> Reach {
        match scope {
            Scope::Loopback => Reach::NOTHING,
            Scope::At(addr) if addr.ip().is_loopback() => Reach { lan: false, lookup: false, ..self },
            _ => self,
        }
    }

    /// Whether a device may be reached of which no address is known.
    pub fn finds(&self) -> bool {
        self.lan || self.lookup || matches!(self.relay, Relay::Own(_))
    }

    /// The relay where every device of the vault is to be found.
    pub fn own_relay(&self) -> Option<&RelayUrl> {
        match &self.relay {
            Relay::Own(url) => Some(url),
            _ => None,
        }
    }

    /// Switches all of it on in an endpoint, and all else off.
    pub(crate) fn apply(&self, builder: Builder) -> Builder {
        let mut builder = builder.clear_address_lookup().relay_mode(match &self.relay {
            Relay::None => RelayMode::Disabled,
            Relay::Public => RelayMode::Default,
            Relay::Own(url) => RelayMode::custom([url.clone()]),
        });
        if self.lan {
            builder = builder.address_lookup(MdnsAddressLookup::builder().service_name(SERVICE));
        }
        if self.lookup {
            builder = builder
                .address_lookup(PkarrPublisher::n0_dns())
                .address_lookup(PkarrResolver::n0_dns())
                .address_lookup(DnsAddressLookup::n0_dns());
        }
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_asks_for() {
        let all = Reach { lan: true, lookup: true, relay: Relay::Public };
        assert_eq!(Reach::of(None, None).unwrap(), all);
        assert_eq!(Reach::of(Some("loopback"), Some("https://relay.example.com")).unwrap(), Reach::NOTHING);
        assert_eq!(
            Reach::of(Some("lan"), None).unwrap(),
            Reach { lan: true, lookup: false, relay: Relay::None }
        );
        assert_eq!(Reach::of(None, Some("none")).unwrap(), Reach { relay: Relay::None, ..all.clone() });
        let own = Reach::of(None, Some("https://relay.example.com")).unwrap();
        assert!(own.own_relay().is_some() && !own.lookup && own.lan && own.finds());
        assert!(Reach::of(Some("wan"), None).is_err());
        assert!(Reach::of(None, Some("not a url")).is_err());
        assert_eq!(all.clone().within(Scope::Loopback), Reach::NOTHING);
        assert!(!all.within(Scope::At(([127, 0, 0, 1], 7).into())).lan);
    }
}
