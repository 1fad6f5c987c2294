//! The scripted Triton's connections: how they are accepted, served, cut and forgotten.

use std::convert::Infallible;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kserve_transformer::wire::triton::grpc_inference_service_server::GrpcInferenceServiceServer;
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tower_service::Service;

use super::{Connections, Speaks, State};

pub(super) async fn accept(listener: TcpListener, state: State) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        state.clone().spawn(async move { Some(stream) });
    }
}

pub(super) async fn accept_unix(listener: UnixListener, state: State) {
    while let Ok((stream, _)) = listener.accept().await {
        state.clone().spawn(async move { Some(stream) });
    }
}

pub(super) async fn accept_tls(listener: TcpListener, acceptor: TlsAcceptor, state: State) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        let observed = Arc::clone(&state.observed);
        state.clone().spawn(async move {
            let stream = acceptor.accept(stream).await.ok()?;
            if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                observed.send_modify(|observed| observed.resumed_sessions += 1);
            }
            Some(stream)
        });
    }
}

impl State {
    /// Serves a connection once it stands, until it ends or is cut.
    fn spawn<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self,
        stream: impl Future<Output = Option<S>> + Send + 'static,
    ) {
        self.observed
            .send_modify(|observed| observed.connections += 1);
        tokio::spawn(async move {
            let mut connections = self.connections.subscribe();
            let serve = async {
                if let Some(stream) = stream.await {
                    serve(TokioIo::new(stream), self.clone()).await;
                }
            };
            tokio::pin!(serve);
            tokio::select! {
                () = &mut serve => return,
                _ = connections.changed() => (),
            }
            // Forgotten, the socket stays open for as long as `serve` lives.
            let is_cut = |connections: &Connections| matches!(connections, Connections::Cut);
            let _ = connections.wait_for(is_cut).await;
        });
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    state: State,
) {
    let script = state.script.borrow().clone();
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(script.max_streams);
    let server = match script.speaks {
        Speaks::Both => server,
        Speaks::Grpc => server.http2_only(),
        Speaks::Rest => server.http1_only(),
    };
    let grpc = Routes::new(
        GrpcInferenceServiceServer::new(state.clone()).max_decoding_message_size(usize::MAX),
    );
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut grpc, state) = (grpc.clone(), state.clone());
        async move {
            state.answering().await;
            if let Err(status) = state.check_header(request.headers()) {
                return Ok(match request.uri().path().starts_with("/v2") {
                    true => super::rest::refusal(&status),
                    false => status.into_http(),
                });
            }
            if ["/v2", "/metrics"]
                .iter()
                .any(|path| request.uri().path().starts_with(path))
            {
                return Ok::<_, Infallible>(super::rest::answer(&state, request).await);
            }
            match grpc.call(request.map(tonic::body::Body::new)).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        }
    });
    let _ = server.serve_connection(stream, service).await;
}
