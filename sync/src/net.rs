//! The iroh endpoint of a device.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_core::key::SecretKey;
use iroh::endpoint::{
    BindOpts, ConnectError, ConnectingError, Connection, ConnectionError, TransportErrorCode, presets,
};
use iroh::{Endpoint, EndpointAddr, EndpointId, TransportAddr};
use tokio::time::timeout;

use crate::drive::Limits;
use crate::error::{Code, Peer, SyncError};
use crate::reach::Reach;

/// The protocol between members.
pub const SYNC: &[u8] = b"aios/sync/1";
/// The protocol of a device that joins.
pub const PAIR: &[u8] = b"aios/pair/1";

const CLOSE: Duration = Duration::from_secs(1);

/// Where a device listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// 127.0.0.1 only: tests, and several devices on one machine.
    Loopback,
    /// All interfaces, IPv4 and IPv6.
    All,
    /// This address only, at this port; at any where it is 0.
    At(SocketAddr),
}

impl Scope {
    /// Loopback if the environment variable `AIOS_NET` is `loopback`, else all interfaces.
    pub fn from_env() -> Self {
        match std::env::var("AIOS_NET").as_deref() {
            Ok("loopback") => Scope::Loopback,
            _ => Scope::All,
        }
    }
}

/// The network of a device: an iroh endpoint under its key, so that its endpoint id is the device id.
#[derive(Debug, Clone)]
pub struct Net {
    endpoint: Endpoint,
    scope: Scope,
    reach: Reach,
}

impl Net {
    /// Opens it, on UDP port `port` if that is free, else on any. [`Scope::At`] brings its own port.
    ///
    /// # Errors
    /// [`SyncError::Network`] when no socket can be had.
    pub async fn bind(
        key: &SecretKey,
        scope: Scope,
        reach: &Reach,
        port: Option<u16>,
    ) -> Result<Net, SyncError> {
        let reach = reach.clone().within(scope);
        if let Scope::At(addr) = scope
            && addr.port() != 0
        {
            return Self::bind_at(key, scope, reach, addr.port()).await;
        }
        if let Some(port) = port.filter(|port| *port != 0) {
            match Self::bind_at(key, scope, reach.clone(), port).await {
                Ok(net) => return Ok(net),
                Err(error) => tracing::info!(port, %error, "port not free, taking another"),
            }
        }
        Self::bind_at(key, scope, reach, 0).await
    }

    async fn bind_at(key: &SecretKey, scope: Scope, reach: Reach, port: u16) -> Result<Net, SyncError> {
        let network = |e: &dyn std::fmt::Display| SyncError::Network(e.to_string());
        let builder = Endpoint::builder(presets::Minimal)
            .secret_key(iroh::SecretKey::from_bytes(&key.to_bytes()))
            .alpns(vec![SYNC.to_vec(), PAIR.to_vec()])
            .clear_ip_transports();
        let builder = match scope {
            Scope::Loopback => builder.bind_addr((Ipv4Addr::LOCALHOST, port)),
            Scope::At(addr) => builder.bind_addr((addr.ip(), port)),
            Scope::All => builder.bind_addr((Ipv4Addr::UNSPECIFIED, port)).and_then(|builder| {
                let optional = BindOpts::default().set_is_required(false);
                builder.bind_addr_with_opts((Ipv6Addr::UNSPECIFIED, port), optional)
            }),
        };
        let builder = reach.apply(builder.map_err(|e| network(&e))?);
        let endpoint = builder.bind().await.map_err(|e| network(&e))?;
        Ok(Net { endpoint, scope, reach })
    }

    /// Whether a device may be reached of which no address is known.
    pub fn finds(&self) -> bool {
        self.reach.finds()
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        DeviceId(*self.endpoint.id().as_bytes())
    }

    /// The UDP port it listens on, to be preferred next time.
    pub fn port(&self) -> Option<u16> {
        self.endpoint.bound_sockets().first().map(SocketAddr::port)
    }

    /// Where others can reach it, as far as it knows.
    pub fn own_addrs(&self) -> Vec<SocketAddr> {
        match self.scope {
            Scope::Loopback => self.endpoint.bound_sockets(),
            Scope::At(addr) if !addr.ip().is_unspecified() => self.endpoint.bound_sockets(),
            Scope::All | Scope::At(_) => self.endpoint.addr().ip_addrs().copied().collect(),
        }
    }

    /// Connects to `peer` at one of `addrs`.
    ///
    /// # Errors
    /// [`SyncError::Unreachable`] when nobody answers in `limits.connect`, [`SyncError::Refused`] when it answers no.
    pub async fn dial(
        &self,
        peer: &Peer,
        addrs: &[SocketAddr],
        alpn: &[u8],
        limits: &Limits,
    ) -> Result<Connection, SyncError> {
        let unreachable = |why: String| SyncError::Unreachable { peer: peer.clone(), why };
        if addrs.is_empty() && !self.finds() {
            return Err(unreachable("no address of it is known".into()));
        }
        let id = EndpointId::from_bytes(peer.device().as_bytes())
            .map_err(|_| unreachable("its id is no key".into()))?;
        let direct = addrs.iter().copied().map(TransportAddr::Ip);
        let relayed = self.reach.own_relay().cloned().map(TransportAddr::Relay);
        let ways: Vec<TransportAddr> = direct.chain(relayed).collect();
        let tried = match ways.is_empty() {
            true => "no address of it is known, and asking for it".into(),
            false => ways.iter().map(way).collect::<Vec<_>>().join(", "),
        };
        let addr = EndpointAddr::from_parts(id, ways);
        match timeout(limits.connect, self.endpoint.connect(addr, alpn)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if is_refusal(&error) => {
                let text = "it does not take this connection".into();
                Err(SyncError::Refused { peer: peer.clone(), code: Code::Unknown, text })
            }
            Ok(Err(error)) => Err(unreachable(format!("tried {tried}: {error}"))),
            Err(_) => {
                Err(unreachable(format!("no answer from {tried} in {:.0} s", limits.connect.as_secs_f32())))
            }
        }
    }

    /// The next incoming connection, not yet authenticated; `None` once closed.
    pub async fn accept(&self) -> Option<iroh::endpoint::Incoming> {
        self.endpoint.accept().await
    }

    /// Closes all connections and the sockets. Peers that do not answer are waited for no longer than a second.
    pub async fn close(&self) {
        let _ = timeout(CLOSE, self.endpoint.close()).await;
    }
}

/// A way to a device, for people.
fn way(way: &TransportAddr) -> String {
    match way {
        TransportAddr::Ip(addr) => addr.to_string(),
        TransportAddr::Relay(url) => url.to_string(),
        other => format!("{other:?}"),
    }
}

fn is_refusal(error: &ConnectError) -> bool {
    let source = match error {
        ConnectError::Connection { source, .. } => source,
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => source,
        _ => return false,
    };
    match source {
        // It is about to end, or serves as many as it can: another time.
        ConnectionError::ConnectionClosed(close) => {
            close.error_code != TransportErrorCode::CONNECTION_REFUSED
        }
        error => matches!(error, ConnectionError::TransportError(_)),
    }
}
