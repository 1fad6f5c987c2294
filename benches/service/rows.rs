//! The rows, in the order of docs/PERFORMANCE.md.

use std::path::Path;
use std::time::Duration;

use facequality_transformer::loadtest::{self, Endpoint, Load, Protocol, Settings, Summary, Until};

use crate::Effort;
use crate::floor::{self, Cost};
#[cfg(feature = "embedded")]
use crate::model;
use crate::process::Process;
use crate::table::{self, Side};

const FACE: &str = "data/images/face.jpg";
const PHOTO: &str = "tests/golden/pixels/jpeg-photo-1920x1920.jpg";

/// The peer without its tuning.
const STOCK: [&str; 8] = [
    "--client",
    "triton-grpc",
    "--use_uvloop",
    "false",
    "--quiet",
    "false",
    "--keep_heap",
    "false",
];

/// Measures the rows whose names are wanted.
pub(crate) async fn measure(effort: &Effort, wanted: impl Fn(&str) -> bool) {
    println!(
        "medians of {} turns of {} ms (least … most)",
        effort.rounds,
        effort.turn.as_millis()
    );
    let predictor = Process::predictor(&["--null"]).await;
    let to = predictor.grpc_address();
    let bench = Bench {
        effort,
        predictor: &to,
    };
    for row in ROWS.iter().filter(|row| wanted(row.name)) {
        bench.against_floor(row).await;
    }
    let rest: [(&str, &str); 9] = [
        ("floor", "A, the call alone, B: per image"),
        ("raw", "a bare image as the body against V1 JSON"),
        ("tensor", "gRPC tensor passed through, 8 in flight"),
        ("latency", "one at a time, p50 and p99"),
        (
            "threads",
            "16 photos in one request, 2 pixel threads against 1",
        ),
        ("flat", "CPU per image, 8 to 512 connections"),
        ("memory", "resident memory, 512 connections of 16 images"),
        ("start", "from the start until ready, predictor up"),
        ("embedded", "the embedded model against its runtime alone"),
    ];
    for (name, about) in rest.into_iter().filter(|(name, _)| wanted(name)) {
        table::heading(name, about);
        match name {
            "floor" => bench.floors(),
            "raw" => bench.raw().await,
            "tensor" => bench.tensor().await,
            "latency" => bench.latency().await,
            "threads" => bench.threads().await,
            "flat" => bench.flat().await,
            "memory" => bench.memory().await,
            "start" => bench.start().await,
            #[cfg(feature = "embedded")]
            "embedded" => bench.embedded().await,
            _ => println!("    not in this build"),
        }
    }
}

/// A row whose floor is B.
struct Row {
    name: &'static str,
    about: &'static str,
    kind: Kind,
    goal: &'static str,
    goal_peer: &'static str,
    goal_rate: &'static str,
}

const ROWS: [Row; 5] = [
    Row {
        name: "v1-face-8",
        about: "V1 JSON, one 250x250 per request, 8 connections",
        kind: Kind::face(Protocol::V1, 1, 8),
        goal: "≤ 1.25",
        goal_peer: "≥ 2.5 tuned, ≥ 3 stock",
        goal_rate: "–",
    },
    Row {
        name: "v1-face-64",
        about: "V1 JSON, one 250x250 per request, 64 connections",
        kind: Kind::face(Protocol::V1, 1, 64),
        goal: "≤ 1.25",
        goal_peer: "≥ 2.5 tuned, ≥ 3 stock",
        goal_rate: "≥ 2.5 tuned",
    },
    Row {
        name: "v1-face-16x8",
        about: "V1 JSON, 16 of 250x250 per request, 8 connections",
        kind: Kind::face(Protocol::V1, 16, 8),
        goal: "≤ 1.10",
        goal_peer: "≥ 1.4 tuned",
        goal_rate: "–",
    },
    Row {
        name: "v1-photo-8",
        about: "V1 JSON, one 1920x1920 per request, 8 connections",
        kind: Kind::photo(1, 8),
        goal: "≤ 1.05",
        goal_peer: "> 1 tuned",
        goal_rate: "≥ 1 of --decode_threads 2",
    },
    Row {
        name: "grpc-face-16x8",
        about: "gRPC bytes, 16 of 250x250 per request, 8 in flight",
        kind: Kind::face(Protocol::GrpcBytes, 16, 8),
        goal: "≤ 1.08",
        goal_peer: "–",
        goal_rate: "–",
    },
];

struct Bench<'a> {
    effort: &'a Effort,
    predictor: &'a str,
}

/// A kind of load.
#[derive(Clone, Copy)]
struct Kind {
    image: &'static str,
    protocol: Protocol,
    batch: usize,
    concurrency: usize,
}

impl Kind {
    const fn face(protocol: Protocol, batch: usize, concurrency: usize) -> Self {
        Self {
            image: FACE,
            protocol,
            batch,
            concurrency,
        }
    }

    const fn photo(batch: usize, concurrency: usize) -> Self {
        Self {
            image: PHOTO,
            ..Self::face(Protocol::V1, batch, concurrency)
        }
    }
}

impl Bench<'_> {
    /// One turn of load. A failed request would make its figures mean nothing.
    async fn load(&self, target: Endpoint, kind: Kind) -> Summary {
        let until = Until::Elapsed(self.effort.turn);
        self.load_until(target, kind, until).await
    }

    async fn load_until(&self, target: Endpoint, kind: Kind, until: Until) -> Summary {
        let settings = Settings {
            target: Endpoint {
                protocol: kind.protocol,
                ..target
            },
            compare: None,
            rounds: 1,
            images: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(kind.image)],
            batch: kind.batch,
            load: Load::Closed {
                concurrency: kind.concurrency,
                until,
            },
            warmup: self.effort.warmup,
            timeout: Duration::from_secs(30),
            max_connections: 512,
            golden: None,
            tolerance: 0.01,
            slo: None,
            progress: false,
        };
        let report = loadtest::execute(&settings).await.expect("a target");
        let run = report.runs.into_iter().next().expect("a run");
        assert_eq!(run.requests.failed, 0, "failed requests: {:?}", run.errors);
        run
    }

    fn floor(&self, image: Option<&str>, batch: usize) -> Cost {
        let bytes = image.map(floor::image);
        let (to, turn) = (self.predictor.to_owned(), self.effort.turn);
        let work = move || floor::pixels_and_call(bytes.as_deref(), batch, &to, turn);
        // A thread without a runtime around it: the floor has one of its own.
        std::thread::spawn(work).join().expect("the floor")
    }

    async fn against_floor(&self, row: &Row) {
        table::heading(row.name, row.about);
        let kind = row.kind;
        let ours = Process::serve(self.predictor, &[]).await;
        let mut peers = Vec::new();
        if let Some(python) = self.effort.peer.as_deref().filter(|_| row.goal_peer != "–") {
            let threads = ["--decode_threads", "2"];
            let kinds: [(&str, &[&str]); 3] =
                [("tuned", &[]), ("stock", &STOCK), ("2 threads", &threads)];
            for (name, flags) in kinds {
                // The decode threads pay for large images only.
                if name == "2 threads" && kind.image != PHOTO {
                    continue;
                }
                let process = Process::peer(python, self.predictor, flags).await;
                let cpu = Side::new(&format!("Python, {name}"));
                let rate = Side::new(&format!("Python, {name}"));
                peers.push((process, cpu, rate));
            }
        }
        let mut floor = Side::new(if kind.batch == 1 { "B" } else { "B16" });
        let (mut cpu, mut rate) = (Side::new("service"), Side::new("service"));
        for _ in 0..self.effort.rounds {
            floor.add(self.floor(Some(kind.image), kind.batch).cpu);
            let run = self.load(at(&ours, kind.protocol), kind).await;
            cpu.add(cpu_of(&run));
            rate.add(run.images_per_second);
            for (process, peer_cpu, peer_rate) in &mut peers {
                let run = self.load(at(process, kind.protocol), kind).await;
                peer_cpu.add(cpu_of(&run));
                peer_rate.add(run.images_per_second);
            }
        }
        table::side(&floor, "µs CPU");
        table::side(&cpu, "µs CPU");
        table::ratio(&cpu, &floor, row.goal);
        for (_, peer, _) in &peers {
            table::side(peer, "µs CPU");
            table::ratio(peer, &cpu, row.goal_peer);
        }
        table::side(&rate, "pict./s");
        for (_, _, peer) in &peers {
            table::ratio(&rate, peer, row.goal_rate);
        }
    }

    fn floors(&self) {
        let mut sides = [
            ("A, 250x250", Some(FACE), 0),
            ("A, 1920x1920", Some(PHOTO), 0),
            ("ModelInfer of 1 image", None, 1),
            ("ModelInfer of 16 images", None, 16),
            ("B, 250x250", Some(FACE), 1),
            ("B16, 250x250", Some(FACE), 16),
            ("B, 1920x1920", Some(PHOTO), 1),
        ]
        .map(|(name, image, batch)| (Side::new(name), image, batch));
        for _ in 0..self.effort.rounds {
            for (side, image, batch) in &mut sides {
                let cost = match (*image, *batch) {
                    (Some(image), 0) => floor::pixels(&floor::image(image), self.effort.turn),
                    (image, batch) => self.floor(image, batch),
                };
                side.add(cost.cpu);
            }
        }
        for (side, ..) in &sides {
            table::side(side, "µs CPU");
        }
    }

    async fn raw(&self) {
        let ours = Process::serve(self.predictor, &[]).await;
        let mut json = Side::new("V1 JSON");
        let mut raw = Side::new("raw body");
        for _ in 0..self.effort.rounds {
            for (protocol, side) in [(Protocol::V1, &mut json), (Protocol::Raw, &mut raw)] {
                let run = self
                    .load(at(&ours, protocol), Kind::face(protocol, 1, 8))
                    .await;
                side.add(cpu_of(&run));
            }
        }
        table::side(&json, "µs CPU");
        table::side(&raw, "µs CPU");
        table::ratio(&raw, &json, "< 1");
    }

    async fn tensor(&self) {
        let ours = Process::serve(self.predictor, &[]).await;
        let proxy = Process::proxy(self.predictor).await;
        let kind = Kind::face(Protocol::GrpcTensor, 1, 8);
        let (mut service, mut bare) = (Side::new("service"), Side::new("bare tonic proxy"));
        for _ in 0..self.effort.rounds {
            let run = self.load(at(&ours, kind.protocol), kind).await;
            service.add(cpu_of(&run));
            let mut target = at(&proxy, Protocol::Triton);
            target.model = "face_quality_trt_fp16".to_owned();
            let kind = Kind::face(Protocol::Triton, 1, 8);
            let run = self.load(target, kind).await;
            bare.add(cpu_of(&run));
        }
        table::side(&service, "µs CPU");
        table::side(&bare, "µs CPU");
        table::ratio(&service, &bare, "≤ 1.3");
    }

    async fn latency(&self) {
        let triton = self.effort.triton.as_deref();
        let to = triton.unwrap_or(self.predictor);
        let ours = Process::serve(to, &[]).await;
        let direct = Endpoint {
            url: format!("grpc://{to}"),
            protocol: Protocol::Triton,
            model: "face_quality_trt_fp16".to_owned(),
            pid: None,
        };
        let mut sum = Side::new("ModelInfer + A");
        let (mut p50, mut p99) = (Side::new("service, p50"), Side::new("service, p99"));
        let face = floor::image(FACE);
        for _ in 0..self.effort.rounds {
            let alone = floor::pixels(&face, self.effort.turn / 4).wall;
            let kind = Kind::face(Protocol::Triton, 1, 1);
            let call = self.load(direct.clone(), kind).await.latency.p50_ms * 1e3;
            sum.add(call + alone);
            let run = self
                .load(at(&ours, Protocol::V1), Kind::face(Protocol::V1, 1, 1))
                .await;
            p50.add(run.latency.p50_ms * 1e3);
            p99.add(run.latency.p99_ms * 1e3);
        }
        table::side(&sum, "µs");
        table::side(&p50, "µs");
        table::side(&p99, "µs");
        table::ratio(&p50, &sum, "≤ 1.3");
        table::ratio(&p99, &p50, "≤ 3");
    }

    async fn threads(&self) {
        let kind = Kind::photo(16, 1);
        let one = Process::serve(self.predictor, &["--pixel_threads", "1"]).await;
        let two = Process::serve(self.predictor, &["--pixel_threads", "2"]).await;
        let (mut slow, mut fast) = (Side::new("1 thread"), Side::new("2 threads"));
        for _ in 0..self.effort.rounds {
            for (process, side) in [(&one, &mut slow), (&two, &mut fast)] {
                let until = Until::Requests(if !self.effort.brief { 10 } else { 1 });
                let run = self
                    .load_until(at(process, kind.protocol), kind, until)
                    .await;
                side.add(run.latency.p50_ms);
            }
        }
        table::side(&slow, "ms");
        table::side(&fast, "ms");
        table::ratio(&fast, &slow, "≤ 0.6");
    }

    async fn flat(&self) {
        let ours = Process::serve(self.predictor, &["--queue", "2000"]).await;
        let mut sides = [8, 64, 256, 512].map(|n| (n, Side::new(&format!("{n} connections"))));
        for _ in 0..self.effort.rounds {
            for (connections, side) in &mut sides {
                let kind = Kind::face(Protocol::V1, 1, *connections);
                let run = self.load(at(&ours, kind.protocol), kind).await;
                side.add(cpu_of(&run));
            }
        }
        for (_, side) in &sides {
            table::side(side, "µs CPU");
        }
        for (_, side) in &sides[1..] {
            table::ratio(side, &sides[0].1, "0.85 … 1.15");
        }
    }

    async fn memory(&self) {
        // 512 × 16 images at once, and their bodies: what the flags have to allow.
        let flags = ["--queue", "8192", "--max_bytes_in_flight", "268435456"];
        let ours = Process::serve(self.predictor, &flags).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = ours.memory("VmRSS:");
        table::figure("idle", idle, "MiB", "≤ 30");
        let connections = if !self.effort.brief { 512 } else { 16 };
        self.load(
            at(&ours, Protocol::V1),
            Kind::face(Protocol::V1, 16, connections),
        )
        .await;
        let highest = ours.memory("VmHWM:");
        table::figure("highest under load", highest, "MiB", "≤ 1.25 × the formula");
        // docs/OPERATIONS.md: base + bodies + tensors + what decoding takes.
        let body = 16.0 * 34_100.0 * connections as f64 / f64::from(1 << 20);
        let tensors = 16.0 * connections as f64 * 147.0 / 1024.0;
        table::figure("of which bodies and tensors", body + tensors, "MiB", "–");
        table::figure(
            "highest / (base 30 + those)",
            highest / (30.0 + body + tensors),
            "",
            "≤ 1.25",
        );
        if !self.effort.brief {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let after = ours.memory("VmRSS:");
        table::figure("10 s later / idle", after / idle, "", "≤ 2");
    }

    async fn start(&self) {
        let mut side = Side::new("start to ready");
        for _ in 0..self.effort.rounds {
            let process = Process::serve(self.predictor, &[]).await;
            side.add(process.ready_after.as_secs_f64() * 1e3);
        }
        table::side(&side, "ms");
    }

    #[cfg(feature = "embedded")]
    async fn embedded(&self) {
        let (mut alone, mut one) = (Side::new("runtime alone"), Side::new("predictor"));
        let mut slow = Side::new("wall, 1 thread");
        let mut fast = Side::new("wall, 2 threads");
        for _ in 0..self.effort.rounds {
            alone.add(model::alone(self.effort.turn).cpu);
            let cost = model::predictor(1, self.effort.turn).await;
            one.add(cost.cpu);
            slow.add(cost.wall);
            fast.add(model::predictor(2, self.effort.turn).await.wall);
        }
        table::side(&alone, "µs CPU");
        table::side(&one, "µs CPU");
        table::ratio(&one, &alone, "≤ 1.1");
        table::ratio(&fast, &slow, "near 0.5");
    }
}

/// The target's CPU per image, in microseconds.
fn cpu_of(run: &Summary) -> f64 {
    run.cpu.target_us.unwrap_or(f64::NAN)
}

/// A process as the target of a load.
fn at(process: &Process, protocol: Protocol) -> Endpoint {
    Endpoint {
        url: if protocol.is_grpc() {
            process.grpc()
        } else {
            process.http()
        },
        protocol,
        model: "facequality".to_owned(),
        pid: Some(process.pid()),
    }
}
