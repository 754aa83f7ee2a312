//! The iroh endpoint of a device.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_core::key::SecretKey;
use iroh::endpoint::{
    BindOpts, Builder, ConnectError, ConnectingError, Connection, ConnectionError, presets,
};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr};
use tokio::time::timeout;

use crate::drive::Limits;
use crate::error::{Code, Peer, SyncError};

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
}

impl Net {
    /// Opens it, on UDP port `port` if that is free, else on any. [`Scope::At`] brings its own port.
    ///
    /// # Errors
    /// [`SyncError::Network`] when no socket can be had.
    pub async fn bind(key: &SecretKey, scope: Scope, port: Option<u16>) -> Result<Net, SyncError> {
        if let Scope::At(addr) = scope
            && addr.port() != 0
        {
            return Self::bind_at(key, scope, addr.port()).await;
        }
        if let Some(port) = port.filter(|port| *port != 0) {
            match Self::bind_at(key, scope, port).await {
                Ok(net) => return Ok(net),
                Err(error) => tracing::info!(port, %error, "port not free, taking another"),
            }
        }
        Self::bind_at(key, scope, 0).await
    }

    async fn bind_at(key: &SecretKey, scope: Scope, port: u16) -> Result<Net, SyncError> {
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
        let builder = routes(builder.map_err(|e| network(&e))?, scope);
        let endpoint = builder.bind().await.map_err(|e| network(&e))?;
        Ok(Net { endpoint, scope })
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
        if addrs.is_empty() {
            return Err(unreachable("no address of it is known".into()));
        }
        let id = EndpointId::from_bytes(peer.device().as_bytes())
            .map_err(|_| unreachable("its id is no key".into()))?;
        let addr = EndpointAddr::from_parts(id, addrs.iter().copied().map(TransportAddr::Ip));
        let tried = addrs.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
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

/// How others are found and reached beyond the addresses in the vault: not at all, so nothing is sent to anybody but
/// members. The one place where relays and discovery are switched on.
fn routes(builder: Builder, _scope: Scope) -> Builder {
    builder.relay_mode(RelayMode::Disabled).clear_address_lookup()
}

fn is_refusal(error: &ConnectError) -> bool {
    let source = match error {
        ConnectError::Connection { source, .. } => source,
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => source,
        _ => return false,
    };
    matches!(
        source,
        ConnectionError::ApplicationClosed(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::TransportError(_)
    )
}
