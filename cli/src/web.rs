//! What agents look at on the web: at addresses that their files name, also where these lead on, and at no machine that nobody named.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aios_agents::address::{Address, is_public};
use aios_agents::agent::Agent;
use aios_agents::agent::prompt::quote;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, Url};

/// How long it may take in all.
const WITHIN: Duration = Duration::from_secs(30);
/// The most that is read, in bytes.
const MOST_READ: usize = 1 << 20;
/// The most that is shown, in bytes.
const MOST_SHOWN: usize = 64 * 1024;
/// How often one address may lead to another.
const MOST_LEADS: usize = 5;

/// What lies at an address, quoted for a model; or why it is not shown.
pub async fn look(agent: &Agent, address: &Address) -> Result<String, String> {
    match tokio::time::timeout(WITHIN, get(agent, address)).await {
        Ok(found) => found,
        Err(_) => Err(format!("it took longer than {} s", WITHIN.as_secs())),
    }
}

async fn get(agent: &Agent, address: &Address) -> Result<String, String> {
    let mut address = address.clone();
    for _ in 0..=MOST_LEADS {
        if !agent.may_fetch(&address) {
            return Err(format!("it leads to {address}, and you may not look there"));
        }
        let text = address.to_string();
        let url = Url::parse(&text).map_err(|_| "it is no address".to_owned())?;
        // What two programs read in two ways is looked at by neither.
        if url.as_str() != text {
            return Err(format!("{text} may be read as {url}: write that, if it is meant"));
        }
        let response =
            client()?.get(url.clone()).header("accept", "text/*, application/json, application/xml");
        let response = response.send().await.map_err(|e| failed(&e))?;
        if !response.status().is_redirection() {
            return shown(&text, response).await;
        }
        let location = response.headers().get("location").and_then(|it| it.to_str().ok());
        let location = location.ok_or_else(|| format!("it answers {}", response.status().as_u16()))?;
        let next = url.join(location).map_err(|_| "it leads to what is no address".to_owned())?;
        address = Address::read(next.as_str()).map_err(|what| format!("it leads on, and {what}"))?;
    }
    Err(format!("it leads on more than {MOST_LEADS} times"))
}

async fn shown(address: &str, mut response: Response) -> Result<String, String> {
    let status = response.status();
    if !status.is_success() {
        return Err(format!("it answers {}", status.as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|e| failed(&e))? {
        bytes.extend_from_slice(&part);
        if bytes.len() > MOST_READ {
            return Err(format!("it is longer than {MOST_READ} bytes"));
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    if text.contains('\0') {
        return Err("it is no text".into());
    }
    let end = text.floor_char_boundary(MOST_SHOWN);
    let mut out = quote(address, true, &text[..end]);
    if end < text.len() {
        out.push_str(&format!("\nThis is the beginning of {} bytes.", text.len()));
    }
    Ok(out)
}

/// The words of the library may hold what the other side said.
fn failed(error: &reqwest::Error) -> String {
    match (error.is_connect(), error.is_timeout()) {
        (true, _) => "it cannot be reached",
        (_, true) => "it was silent for too long",
        _ => "the answer broke off",
    }
    .into()
}

/// Finds machines by name, and of these only such as stand on the open network: whoever gives out a name may have it lead anywhere.
struct Open;

impl Resolve for Open {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Whose file names `localhost` means this machine.
            let own = name.as_str() == "localhost";
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let fits = |ip: IpAddr| if own { ip.is_loopback() } else { is_public(ip) };
            let open: Vec<SocketAddr> = found.filter(|it| fits(it.ip())).collect();
            if open.is_empty() {
                return Err("it stands in a network of its own".into());
            }
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

fn client() -> Result<&'static Client, String> {
    static CLIENT: OnceLock<Option<Client>> = OnceLock::new();
    let made = || {
        // Where another part of the process has chosen already, that stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().dns_resolver(Arc::new(Open)).no_proxy().user_agent("aios");
        client.redirect(reqwest::redirect::Policy::none()).build().ok()
    };
    let failed = || "this machine has no certificates to trust".to_owned();
    CLIENT.get_or_init(made).as_ref().ok_or_else(failed)
}
