//! Processes that are measured, on ports that are free.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with its handle.
pub(crate) struct Process {
    child: Child,
    /// Its HTTP or only port.
    pub(crate) port: u16,
    /// Its gRPC port, where that is another.
    pub(crate) grpc_port: u16,
    /// From its start until it was ready.
    pub(crate) ready_after: Duration,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn service(arguments: &[&str]) -> Process {
    let (port, grpc_port) = (free_port(), free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_facequality-transformer"));
    command
        .args(arguments)
        .args(["--http_port", &port.to_string()])
        .args(["--grpc_port", &grpc_port.to_string()]);
    start(command, port, grpc_port)
}

fn start(mut command: Command, port: u16, grpc_port: u16) -> Process {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program that can be started");
    Process {
        child,
        port,
        grpc_port,
        ready_after: Duration::ZERO,
    }
}

/// Whether the response to a GET is 200.
fn is_ok(port: u16, path: &str) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status)
    };
    ask().is_ok_and(|status| &status == b"HTTP/1.1 200")
}

impl Process {
    /// `predictor` with these flags.
    pub(crate) async fn predictor(flags: &[&str]) -> Self {
        let flags = [&["predictor", "--host", "127.0.0.1"], flags].concat();
        service(&flags).ready("/v2/health/ready").await
    }

    /// The service with these flags, before a predictor. It may let requests wait as long as the load waits: a slow build
    /// or machine makes a row slow, and must not make it refuse.
    pub(crate) async fn serve(predictor: &str, flags: &[&str]) -> Self {
        let patience = crate::load::TIMEOUT;
        let (millis, seconds) = (patience.as_millis(), patience.as_secs());
        let (millis, seconds) = (millis.to_string(), seconds.to_string());
        let fixed = [
            "serve",
            "--host",
            "127.0.0.1",
            "--log_level",
            "warn",
            "--queue_timeout_ms",
            &millis,
            "--predictor_request_timeout_seconds",
            &seconds,
            "--predictor_host",
            predictor,
        ];
        service(&[&fixed, flags].concat())
            .ready("/v2/health/ready")
            .await
    }

    /// This program as a proxy.
    pub(crate) async fn proxy(predictor: &str) -> Self {
        let port = free_port();
        let own = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new(own);
        command.args(["--proxy", &port.to_string(), predictor]);
        start(command, port, port).listening().await
    }

    /// The Python transformer.
    pub(crate) async fn peer(python: &Path, predictor: &str, flags: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new(python);
        command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("peer"))
            .args(["-m", "facequality_transformer", "--enable_grpc", "false"])
            .args(["--http_port", &port.to_string()])
            .args(["--predictor_host", predictor])
            .args(flags);
        start(command, port, port)
            .ready("/v1/models/facequality")
            .await
    }

    async fn ready(self, path: &str) -> Self {
        self.once(|port| is_ok(port, path)).await
    }

    async fn listening(self) -> Self {
        self.once(|port| TcpStream::connect(("127.0.0.1", port)).is_ok())
            .await
    }

    /// Waits until its port is as wanted.
    async fn once(mut self, wanted: impl Fn(u16) -> bool) -> Self {
        let began = Instant::now();
        while !wanted(self.port) {
            let ended = self.child.try_wait().expect("the process's state");
            assert!(ended.is_none(), "a process ended at its start: {ended:?}");
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "a process is not ready after a minute"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.ready_after = began.elapsed();
        self
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its HTTP is.
    pub(crate) fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its gRPC is, as a load test takes it.
    pub(crate) fn grpc(&self) -> String {
        format!("grpc://{}", self.grpc_address())
    }

    /// Where its gRPC is, as a client of a predictor takes it.
    pub(crate) fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    /// A figure of its memory by its name in /proc, in MiB.
    pub(crate) fn memory(&self, name: &str) -> f64 {
        let bytes = kserve_transformer::loadtest::memory(self.pid(), name);
        bytes.expect("a process that runs") as f64 / f64::from(1 << 20)
    }
}
