//! A relay of the operator's own: it passes on what devices send to each other that cannot reach each other directly. What it
//! passes on is encrypted between them.

use std::net::SocketAddr;

use aios_core::id::DeviceId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, RelayConfig, Server, ServerConfig};

use crate::error::SyncError;
use crate::site::Site;

/// Who may use a relay.
#[derive(Debug, Clone)]
pub enum Guests {
    /// Anybody who knows of it.
    Anyone,
    /// The members of a vault on this machine. A device that is to join must reach its inviter without it.
    Members(Box<Site>),
}

impl AccessControl for Guests {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let Guests::Members(site) = self else { return Access::Allow };
        let (site, device) = (site.clone(), DeviceId(*request.endpoint_id().as_bytes()));
        let asked = tokio::task::spawn_blocking(move || {
            site.keeper().work(move |vault| Ok(vault.members().is_present(&device)))
        });
        match asked.await {
            Ok(Ok(true)) => Access::Allow,
            // Who cannot be looked up is not let in.
            _ => Access::Deny { reason: Some("only members of the vault may use this relay".into()) },
        }
    }
}

/// A relay at work. Dropping it ends it.
#[derive(Debug)]
pub struct Relaying(Server);

impl Relaying {
    /// Begins to serve plain HTTP at `listen`: for the Internet it stands behind a program that adds TLS.
    ///
    /// # Errors
    /// [`SyncError::Network`] when it cannot listen there.
    pub async fn start(listen: SocketAddr, guests: Guests) -> Result<Relaying, SyncError> {
        let mut relay = RelayConfig::new(listen);
        relay.access = std::sync::Arc::new(guests);
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        let server = Server::spawn(config).await.map_err(|e| SyncError::Network(format!("{listen}: {e}")))?;
        Ok(Relaying(server))
    }

    /// Where it listens.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.0.http_addr()
    }

    /// Waits until it fails.
    ///
    /// # Errors
    /// [`SyncError::Network`] with what went wrong.
    pub async fn run(&mut self) -> Result<(), SyncError> {
        match self.0.join().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(SyncError::Network(e.to_string())),
            Err(e) => Err(SyncError::Network(e.to_string())),
        }
    }
}
