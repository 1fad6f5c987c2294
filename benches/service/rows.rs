//! The rows, in the order of docs/PERFORMANCE.md; here those whose floor is B.

use kserve_transformer::loadtest::Protocol;

use crate::Effort;
use crate::load::{Bench, Kind, PHOTO, at, cpu_of};
use crate::process::Process;
use crate::table::{self, Side};

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
        effort.period.as_millis()
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
    let rest: [(&str, &str); 10] = [
        ("floor", "A, the call alone, B: per image"),
        ("raw", "an image as the body against V1 JSON"),
        ("tensor", "gRPC tensor passed through, 8 in flight"),
        (
            "datatype",
            "V1 JSON, 16 per request, to a model that takes FP32, FP16 or UINT8",
        ),
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
            "datatype" => bench.datatype().await,
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

impl Bench<'_> {
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
        table::side(&rate, "images/s");
        for (_, _, peer) in &peers {
            table::ratio(&rate, peer, row.goal_rate);
        }
    }
}
