//! The rows that compare the service with itself, with a proxy, or with a limit.

use std::time::Duration;

use kserve_transformer::loadtest::{Endpoint, Protocol, Until};

use crate::floor;
use crate::load::{Bench, FACE, Kind, PHOTO, at, cpu_of};
#[cfg(feature = "embedded")]
use crate::model;
use crate::process::Process;
use crate::table::{self, Side};

impl Bench<'_> {
    pub(crate) fn floors(&self) {
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
                    (Some(image), 0) => floor::pixels(&floor::image(image), self.effort.period),
                    (image, batch) => self.floor(image, batch),
                };
                side.add(cost.cpu);
            }
        }
        for (side, ..) in &sides {
            table::side(side, "µs CPU");
        }
    }

    pub(crate) async fn raw(&self) {
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

    pub(crate) async fn tensor(&self) {
        let ours = Process::serve(self.predictor, &[]).await;
        let proxy = Process::proxy(self.predictor).await;
        let kind = Kind::face(Protocol::GrpcTensor, 1, 8);
        let (mut service, mut plain) = (Side::new("service"), Side::new("tonic proxy"));
        for _ in 0..self.effort.rounds {
            let run = self.load(at(&ours, kind.protocol), kind).await;
            service.add(cpu_of(&run));
            let mut target = at(&proxy, Protocol::Triton);
            target.model = "face_quality_trt_fp16".to_owned();
            let kind = Kind::face(Protocol::Triton, 1, 8);
            let run = self.load(target, kind).await;
            plain.add(cpu_of(&run));
        }
        table::side(&service, "µs CPU");
        table::side(&plain, "µs CPU");
        table::ratio(&service, &plain, "≤ 1.3");
    }

    pub(crate) async fn datatype(&self) {
        let kind = Kind::face(Protocol::V1, 16, 8);
        let mut sides = Vec::new();
        for datatype in ["FP32", "FP16", "UINT8"] {
            let flags = ["--null", "--input_datatype", datatype];
            let predictor = Process::predictor(&flags).await;
            let ours = Process::serve(&predictor.grpc_address(), &[]).await;
            sides.push((predictor, ours, Side::new(datatype)));
        }
        for _ in 0..self.effort.rounds {
            for (_, ours, side) in &mut sides {
                let run = self.load(at(ours, kind.protocol), kind).await;
                side.add(cpu_of(&run));
            }
        }
        for (.., side) in &sides {
            table::side(side, "µs CPU");
        }
        for (.., side) in &sides[1..] {
            table::ratio(side, &sides[0].2, "< 1");
        }
    }

    pub(crate) async fn latency(&self) {
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
            let alone = floor::pixels(&face, self.effort.period / 4).wall;
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

    pub(crate) async fn threads(&self) {
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

    pub(crate) async fn flat(&self) {
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

    pub(crate) async fn memory(&self) {
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

    pub(crate) async fn start(&self) {
        let mut side = Side::new("start to ready");
        for _ in 0..self.effort.rounds {
            let process = Process::serve(self.predictor, &[]).await;
            side.add(process.ready_after.as_secs_f64() * 1e3);
        }
        table::side(&side, "ms");
    }

    #[cfg(feature = "embedded")]
    pub(crate) async fn embedded(&self) {
        let (mut alone, mut one) = (Side::new("runtime alone"), Side::new("predictor"));
        let mut slow = Side::new("wall, 1 thread");
        let mut fast = Side::new("wall, 2 threads");
        for _ in 0..self.effort.rounds {
            alone.add(model::alone(self.effort.period).cpu);
            let cost = model::predictor(1, self.effort.period).await;
            one.add(cost.cpu);
            slow.add(cost.wall);
            fast.add(model::predictor(2, self.effort.period).await.wall);
        }
        table::side(&alone, "µs CPU");
        table::side(&one, "µs CPU");
        table::ratio(&one, &alone, "≤ 1.1");
        table::ratio(&fast, &slow, "near 0.5");
    }
}
