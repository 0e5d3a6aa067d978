//! A storm of handshakes gets a bounded share of every turn; open connections are served.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use corecast::engine::{Endpoint, EndpointError, EndpointSettings, Handle, Listen, Session, View};
use corecast::limits::TLS_HANDSHAKES_PER_TURN;
use corecast::wire::decoder::Message;
use rustls::version::TLS13;

use crate::certificates::{Authority, Folder, tls_of};
use crate::client::{Client, client_config, session, tcp};
use crate::support::{Server, eventually, settings};

/// Sends every message back. On `hold` it first waits until it is released.
struct Holding {
    view: Arc<OnceLock<View>>,
    held: mpsc::SyncSender<()>,
    release: Mutex<mpsc::Receiver<()>>,
    /// Turns that had ended when it last got a message.
    turns: Arc<AtomicU64>,
}

fn turns(view: &View) -> u64 {
    let of_shards = view.shards();
    of_shards
        .flat_map(|stats| stats.turns.buckets().map(|(_, count)| count))
        .sum()
}

impl Endpoint for Holding {
    type State = ();
    type Local = ();

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        let _ = self.view.set(handle.view());
        Ok(())
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let view = self.view.get().expect("a running engine");
        self.turns.store(turns(view), Ordering::Relaxed);
        if message.payload == b"hold" {
            self.held.send(()).expect("a test");
            let release = self.release.lock().expect("one shard");
            release.recv().expect("a test");
        }
        session.send(message.kind, message.payload);
    }
}

#[test]
fn a_storm_of_handshakes_has_its_share_of_a_turn_and_comes_last() {
    const STORM: usize = 40;
    let (held_sender, held) = mpsc::sync_channel(1);
    let (release, release_receiver) = mpsc::channel();
    let (view, turns_then) = (Arc::new(OnceLock::new()), Arc::new(AtomicU64::new(0)));
    let endpoint = Holding {
        view: Arc::clone(&view),
        held: held_sender,
        release: Mutex::new(release_receiver),
        turns: Arc::clone(&turns_then),
    };
    let authority = Authority::new("the server's");
    let folder = Folder::new(&authority.server(2100));
    let mut settings = settings();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    settings.listen = vec![Listen {
        tls: true,
        ..any.into()
    }];
    let server = Server::start(settings, |builder| {
        builder.tls(tls_of(&folder.files()));
        let id = builder.endpoint(EndpointSettings::default(), endpoint);
        builder.route("/**", id).expect("a path");
    });
    let view = view.get().expect("a running engine");
    let config = Arc::new(client_config(&authority, &TLS13, None));
    let mut holder = Client::open(server.address, &config, "/");
    let mut open = Client::open(server.address, &config, "/");
    let mut storm: Vec<TcpStream> = (0..STORM).map(|_| tcp(server.address)).collect();
    eventually("all are accepted", || {
        view.connections() == 2 + STORM as u64
    });

    holder.text("hold");
    held.recv().expect("the shard is held");
    for socket in &mut storm {
        session(&config)
            .write_tls(socket)
            .expect("the server reads");
    }
    open.text("first");
    let before = turns(view);
    release.send(()).expect("a shard");
    assert_eq!(open.expect_text(), "first");
    // The blocked turn, and the next: forty earlier handshakes did not delay it.
    assert!(turns_then.load(Ordering::Relaxed) <= before + 2);
    for socket in &mut storm {
        let mut record = [0; 5];
        socket.read_exact(&mut record).expect("an answer");
        assert_eq!(record[0], 22, "a message of the handshake");
    }
    let turns = turns(view) - before;
    let least = (STORM / TLS_HANDSHAKES_PER_TURN) as u64;
    assert!(turns >= least, "{STORM} handshakes in {turns} turns");
}
