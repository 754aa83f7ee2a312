//! Real endpoints on the loopback interface.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aios_sync::drive::Limits;
use aios_sync::error::{Code, Fault, Peer, SyncError};
use aios_sync::net::{Net, Scope};
use aios_sync::node::{Event, Node, Open, Settings, join, joined};
use aios_sync::reach::{Reach, Relay};
use aios_sync::relay::{Guests, Relaying};
use aios_sync::replica::{Apart, Replica};
use aios_sync::ticket::Ticket;
use tokio::sync::mpsc;

use crate::memory::{Memory, key};
use crate::schedule::Random;

fn settings() -> Settings {
    Settings {
        scope: Scope::Loopback,
        reach: Reach::NOTHING,
        port: None,
        limits: Limits { connect: Duration::from_secs(5), ..Limits::default() },
        app: "aios test".into(),
        on_progress: None,
        on_served: None,
        live: None,
    }
}

fn open(replica: &Memory) -> Open {
    let replica = replica.clone();
    Arc::new(move || Ok(Box::new(replica.clone()) as Box<dyn Replica>))
}

async fn node(replica: &Memory, n: u8) -> Node {
    Node::start(&key(n), open(replica), settings()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pair_join_and_fetch_a_blob_that_was_begun() {
    let mut first = Memory::first();
    let mut random = Random(3);
    (0..200).for_each(|n| drop(first.write(format!("file {n}").repeat(50).as_bytes())));
    let blob: Vec<u8> = (0..3_000_000).map(|_| random.next() as u8).collect();
    let Apart::Blob(content) = first.write_blob(&blob) else { panic!() };
    first.write_history(&[7; 50_000]);

    let inviter = node(&first, 1).await;
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let (tell, mut told) = mpsc::unbounded_channel();
    let serving = inviter.serve(Arc::new(move |event: Event| {
        log.lock().unwrap().push(event.clone());
        let _ = tell.send(event);
    }));
    let minute = Duration::from_secs(60);
    let ticket = inviter.offer(vec!["write".into()], None, minute).await.unwrap();
    let ticket: Ticket = ticket.encode().unwrap().parse().unwrap();

    let second = Memory::empty(ticket.vault, key(2));
    // A third of the blob came in an attempt before.
    second.state().partial.insert(content.hash.hex(), blob[..1_000_000].to_vec());
    let net = Net::bind(&key(2), Scope::Loopback, &Reach::NOTHING, None).await.unwrap();
    let progress = Arc::new(Mutex::new(Vec::new()));
    let seen = progress.clone();
    let mut settings = settings();
    settings.on_progress = Some(Arc::new(move |_: &Peer, progress| seen.lock().unwrap().push(progress)));
    let made = second.clone();
    let make = move |_: &_| Ok(Box::new(made) as Box<dyn Replica>);
    let (welcomed, report) = join(&net, &ticket, "phone", None, make, &settings).await.unwrap();
    assert_eq!(welcomed.roles, ["write"]);
    assert_eq!(report.error, None);
    assert_eq!(report.outcome.apart_received, 2);
    assert_eq!(report.outcome.progress.apart_bytes, 2_050_000, "only what was missing of the blob came");
    assert_eq!(second.frontier().unwrap(), first.frontier().unwrap());
    assert!(second.missing_apart().unwrap().is_empty());
    let last = *progress.lock().unwrap().last().unwrap();
    assert_eq!((last.received, last.to_receive), (204, 204));

    // From now on they sync as members; each knows where the other listens.
    let joiner = Node::on(net, open(&second), settings);
    second.clone().write(b"from the phone");
    first.write(b"from the laptop");
    let reports = joiner.sync_members(None).await.unwrap();
    assert_eq!(reports.len(), 1);
    let report = &reports[0];
    assert_eq!((report.peer.name(), report.reached, report.acknowledged), ("laptop", true, true));
    assert_eq!((report.outcome.progress.sent, report.outcome.progress.received), (1, 1));
    assert_eq!(second.frontier().unwrap(), first.frontier().unwrap());
    // It has come twice: it has all, and the inviter knows.
    let joined = joined(&mut told, ticket.secret.id(), tokio::time::Instant::now() + minute, minute, |_| {})
        .await
        .unwrap();
    assert_eq!((joined.device, joined.name.as_str()), (key(2).public(), "phone"));
    assert!(matches!(events.lock().unwrap()[0], Event::Joined(_)));

    // The ticket is used up.
    let net = Net::bind(&key(3), Scope::Loopback, &Reach::NOTHING, None).await.unwrap();
    let thief = Memory::empty(ticket.vault, key(3));
    let make = move |_: &_| Ok(Box::new(thief) as Box<dyn Replica>);
    let error = join(&net, &ticket, "thief", None, make, &self::settings()).await.unwrap_err();
    assert!(matches!(error, SyncError::Refused { code: Code::TicketUsed, .. }), "{error}");
    // A stranger gets nothing.
    let stranger = Node::on(net, open(&Memory::empty(ticket.vault, key(3))), self::settings());
    let peer = Peer::new(key(1).public(), "laptop");
    let report = stranger.sync_with(peer, &inviter.net().own_addrs()).await;
    let Some(SyncError::Refused { code: Code::NotMember, .. }) = report.error else { panic!("{report:?}") };
    assert!(!report.acknowledged && report.reached);

    serving.stop().await;
    joiner.close().await;
    stranger.close().await;
    inviter.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_there_is_unreachable_soon_and_does_not_hold_up_the_others() {
    let [mut a, b] = Memory::company(2).try_into().ok().unwrap();
    a.admit(&key(3).public(), "gone", &[], None).unwrap();
    let (x, y) = (node(&a, 1).await, node(&b, 2).await);
    let serving = y.serve(Arc::new(|_| {}));
    // A socket that answers nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peers = vec![
        (Peer::new(key(3).public(), "gone"), vec![silent.local_addr().unwrap()]),
        (Peer::new(key(4).public(), "nowhere"), vec![]),
        (Peer::new(key(2).public(), "device2"), y.net().own_addrs()),
    ];
    let node = Node::on(
        x.net().clone(),
        open(&a),
        Settings {
            limits: Limits { connect: Duration::from_millis(700), ..Limits::default() },
            ..settings()
        },
    );
    // Device 2 does not have the records that make it and device 1 members yet, so it turns device 1 away.
    let start = Instant::now();
    let reports = node.sync_all(peers.clone(), None).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    for report in &reports[..2] {
        let error = report.error.as_ref().unwrap();
        assert!(!report.reached && error.fault() == Fault::Unreachable, "{error}");
    }
    assert!(matches!(reports[2].error, Some(SyncError::Refused { code: Code::NotMember, .. })));
    b.clone().integrate(a.state().records.clone()).unwrap();
    let reports = node.sync_all(peers, None).await;
    assert!(reports[2].acknowledged && reports[2].error.is_none());
    drop(serving);
    x.close().await;
    y.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_silent_is_given_up() {
    let [a, b] = Memory::company(2).try_into().ok().unwrap();
    b.clone().integrate(a.state().records.clone()).unwrap();
    let limits =
        Limits { stall: Duration::from_millis(400), linger: Duration::from_millis(200), ..Limits::default() };
    let x = Node::start(&key(1), open(&a), Settings { limits, ..settings() }).await.unwrap();
    // It accepts and says nothing.
    let y = Net::bind(&key(2), Scope::Loopback, &Reach::NOTHING, None).await.unwrap();
    let addrs = y.own_addrs();
    let mute = tokio::spawn(async move {
        let connection = y.accept().await.unwrap().await.unwrap();
        let _streams = connection.accept_bi().await;
        connection.closed().await;
    });
    let report = x.sync_with(key(2).public().into(), &addrs).await;
    assert!(matches!(report.error, Some(SyncError::Stalled { .. })), "{report:?}");
    assert!(report.reached && !report.acknowledged);
    mute.await.unwrap();
    x.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_long_to_begin_says_so() {
    let [a, b] = Memory::company(2).try_into().ok().unwrap();
    b.clone().integrate(a.state().records.clone()).unwrap();
    let limits = Limits {
        stall: Duration::from_millis(1500),
        beat: Duration::from_millis(50),
        linger: Duration::from_millis(200),
        ..Limits::default()
    };
    let settings = Settings { limits, ..settings() };
    let x = Node::start(&key(1), open(&a), settings.clone()).await.unwrap();
    let opened = open(&b);
    // It takes in what changed on its disk first.
    let slow: Open = Arc::new(move || {
        std::thread::sleep(2 * limits.stall);
        opened()
    });
    let y = Node::start(&key(2), slow, settings).await.unwrap();
    let serving = y.serve(Arc::new(|_| {}));
    let report = x.sync_with(key(2).public().into(), &y.net().own_addrs()).await;
    assert!(report.error.is_none() && report.acknowledged, "{report:?}");
    serving.stop().await;
    x.close().await;
    y.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_is_kept_where_it_is_free() {
    let first = Net::bind(&key(1), Scope::Loopback, &Reach::NOTHING, None).await.unwrap();
    let port = first.port().unwrap();
    let other = Net::bind(&key(2), Scope::Loopback, &Reach::NOTHING, Some(port)).await.unwrap();
    assert_ne!(other.port(), Some(port), "taken: another");
    first.close().await;
    drop(first);
    other.close().await;
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let again = Net::bind(&key(1), Scope::Loopback, &Reach::NOTHING, Some(free)).await.unwrap();
    assert_eq!(again.port(), Some(free));
    assert!(again.own_addrs().iter().all(|addr| addr.ip().is_loopback()));
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_of_ones_own_is_enough() {
    let [a, b] = Memory::company(2).try_into().ok().unwrap();
    b.clone().integrate(a.state().records.clone()).unwrap();
    let mut relay = Relaying::start(([127, 0, 0, 1], 0).into(), Guests::Anyone).await.unwrap();
    let url = format!("http://{}", relay.addr().unwrap());
    let reach = Reach { relay: Relay::Own(url.parse().unwrap()), ..Reach::NOTHING };
    let relayed = |replica: &Memory, n: u8| {
        let settings =
            Settings { scope: Scope::At(([127, 0, 0, 1], 0).into()), reach: reach.clone(), ..settings() };
        let (open, key) = (open(replica), key(n));
        async move { Node::start(&key, open, settings).await.unwrap() }
    };
    let (x, y) = (relayed(&a, 1).await, relayed(&b, 2).await);
    let serving = y.serve(Arc::new(|_| {}));
    // It takes a moment until the relay knows the other.
    let began = Instant::now();
    let report = loop {
        let report = x.sync_with(key(2).public().into(), &[]).await;
        if report.error.is_none() || began.elapsed() > Duration::from_secs(60) {
            break report;
        }
    };
    assert!(report.error.is_none() && report.acknowledged, "{report:?}");
    serving.stop().await;
    x.close().await;
    y.close().await;
    drop(tokio::time::timeout(Duration::ZERO, relay.run()).await);
}
