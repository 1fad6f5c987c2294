//! A scripted Triton in the test's process. It speaks the real protocols on one port (gRPC from the
//! generated server, and Triton's HTTP), scores each image with its mean, so that order can be
//! checked, does as its [`Script`] says and counts what it observes.
#![allow(dead_code, unused_imports)] // each test binary uses its part

mod grpc;
mod model;
mod rest;
mod script;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use script::{Fault, HttpResponse, Observed, Script, Speaks};

/// A running fake. Dropped, its port is closed and its connections are cut.
pub(crate) struct FakeTriton {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: State,
    listener: JoinHandle<()>,
}

/// What happens to the connections that there are.
#[derive(Clone, Copy, Debug)]
enum Connections {
    Served,
    Cut,
    Forgotten,
}

/// Shared by the handle and the connections.
#[derive(Clone)]
struct State {
    script: Arc<watch::Sender<Script>>,
    observed: Arc<watch::Sender<Observed>>,
    connections: Arc<watch::Sender<Connections>>,
}

impl FakeTriton {
    /// One that answers as Triton does, on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// One whose script is changed first.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Script)) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), change).await
    }

    /// One on this address, such as that of another one that was dropped.
    pub(crate) async fn start_at(address: SocketAddr, change: impl FnOnce(&mut Script)) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::new(change);
        let listener = tokio::spawn(sockets::accept(listener, state.clone()));
        Self {
            address,
            state,
            listener,
        }
    }

    /// One on a Unix socket at this path.
    pub(crate) fn start_unix(path: &std::path::Path, change: impl FnOnce(&mut Script)) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let state = State::new(change);
        let listener = tokio::spawn(sockets::accept_unix(listener, state.clone()));
        Self {
            address: ([0, 0, 0, 0], 0).into(),
            state,
            listener,
        }
    }

    /// One behind TLS, whose certificate is for `localhost`.
    pub(crate) async fn start_tls(
        config: rustls::ServerConfig,
        change: impl FnOnce(&mut Script),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::new(change);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::spawn(sockets::accept_tls(listener, acceptor, state.clone()));
        Self {
            address,
            state,
            listener,
        }
    }

    /// `host:port`, as `--predictor_host` takes it.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Changes the script from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        self.state.script.send_modify(change);
    }

    /// Cuts all connections; new ones are accepted.
    pub(crate) fn cut(&self) {
        self.state.connections.send_replace(Connections::Cut);
    }

    /// Lets all connections go silent without closing them, as a middlebox that forgot them does;
    /// new ones are served.
    pub(crate) fn forget_connections(&self) {
        self.state.connections.send_replace(Connections::Forgotten);
    }

    /// What it has observed so far.
    pub(crate) fn observed(&self) -> Observed {
        self.state.observed.borrow().clone()
    }

    /// Waits until it has observed what is expected; fails after ten seconds.
    pub(crate) async fn wait(&self, expected: impl FnMut(&Observed) -> bool) -> Observed {
        let mut observed = self.state.observed.subscribe();
        let wait = observed.wait_for(expected);
        let found = tokio::time::timeout(Duration::from_secs(10), wait).await;
        match found {
            Ok(observed) => observed.unwrap().clone(),
            Err(_) => panic!("it never came to that: {:?}", self.observed()),
        }
    }
}

impl Drop for FakeTriton {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

impl State {
    fn new(change: impl FnOnce(&mut Script)) -> Self {
        let mut script = Script::default();
        change(&mut script);
        Self {
            script: Arc::new(watch::Sender::new(script)),
            observed: Arc::new(watch::Sender::new(Observed::default())),
            connections: Arc::new(watch::Sender::new(Connections::Served)),
        }
    }
}
