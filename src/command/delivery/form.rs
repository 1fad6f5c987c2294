//! The fields of the form and where each value is from. No value is made up: it is from the build, the
//! settings, a file or an answer, or it is open and says how it is measured.

use super::asked::Asked;
use super::measured::{Figure, Gpu, LoadTest, LoadTests};
use crate::settings::{Settings, Source as SettingSource, display_targets};

/// The program in the image, as the Dockerfile's ENTRYPOINT has it.
const ENTRY_POINT: &str = "/usr/local/bin/facequality-transformer";

/// Where it starts: the Dockerfile sets no WORKDIR for it.
const RUN_DIRECTORY: &str = "/";

/// The parts of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Transformer,
    Triton,
}

/// The fields of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    ServiceName,
    Processor,
    Image,
    RunDirectory,
    StartCommand,
    Resources,
    Time,
    Qps,
    TritonVersion,
    ModelAddress,
    HttpPort,
    GrpcPort,
    GpuMemory,
    Driver,
    GpuModel,
}

/// Where a value is from, and the place there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// What was compiled in.
    Build(String),
    /// Flags and variables.
    Setting(String),
    /// A file that was given.
    File(String),
    /// The running Triton.
    Asked(String),
}

/// A field, with its value and source, or the command that measures it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) field: Field,
    pub(super) value: Result<(String, Source), String>,
}

/// All that is known.
pub(super) struct Form<'a> {
    pub(super) settings: &'a Settings,
    pub(super) image: Option<&'a str>,
    pub(super) tests: &'a LoadTests,
    pub(super) gpu: Option<&'a Gpu>,
    pub(super) asked: &'a Asked,
}

const PROGRAM: &str = env!("CARGO_PKG_NAME");

fn entry(field: Field, value: Option<(String, Source)>, how: impl Into<String>) -> Entry {
    let value = value.ok_or_else(|| how.into());
    Entry { field, value }
}

fn figure(figure: Option<Figure>) -> Option<(String, Source)> {
    figure.map(|(value, place)| (value, Source::File(place)))
}

fn build(value: impl Into<String>, place: &str) -> Option<(String, Source)> {
    Some((value.into(), Source::Build(place.to_owned())))
}

impl Form<'_> {
    /// All fields, each once.
    pub(super) fn fill(&self) -> [(Section, Vec<Entry>); 2] {
        [
            (Section::Transformer, self.transformer()),
            (Section::Triton, self.triton()),
        ]
    }

    fn transformer(&self) -> Vec<Entry> {
        let test = self.tests.service.as_ref();
        let version = env!("CARGO_PKG_VERSION");
        let image = self
            .image
            .map(|image| (image.to_owned(), Source::Setting("--image".to_owned())));
        let port = self.settings.front.http.port();
        let url = format!("http://HOST:{port}");
        let model = &self.settings.model_name;
        let loadtest = format!(
            "{PROGRAM} loadtest --url {url} --model {model} --images DIR --json > result.json; \
             {PROGRAM} delivery --loadtest result.json"
        );
        let with_pid = loadtest.replacen("--json", "--pid PID --json", 1);
        let name = format!("{PROGRAM} {version}");
        let (command, source) = self.start_command();
        vec![
            entry(Field::ServiceName, build(name, "Cargo.toml"), ""),
            entry(
                Field::Processor,
                build(format!("CPU ({})", std::env::consts::ARCH), "target"),
                "",
            ),
            entry(
                Field::Image,
                image,
                format!("docker build -t NAME . && {PROGRAM} delivery --image NAME"),
            ),
            entry(
                Field::RunDirectory,
                build(RUN_DIRECTORY, "Dockerfile (no WORKDIR)"),
                "",
            ),
            entry(Field::StartCommand, Some((command, source)), ""),
            entry(
                Field::Resources,
                figure(test.and_then(LoadTest::resources)),
                with_pid,
            ),
            entry(
                Field::Time,
                figure(test.map(LoadTest::time)),
                loadtest.clone(),
            ),
            entry(Field::Qps, figure(test.map(LoadTest::qps)), loadtest),
        ]
    }

    /// The image's entry point with the settings that are not defaults.
    fn start_command(&self) -> (String, Source) {
        let given = self.settings.effective().into_iter();
        let given = given.filter(|row| row.source != SettingSource::Default);
        let flags: Vec<_> = given
            .filter_map(|row| Some(format!(" --{}={}", row.flag, row.value?)))
            .collect();
        let place = match flags.as_slice() {
            [] => "Dockerfile ENTRYPOINT",
            _ => "Dockerfile ENTRYPOINT; flags, environment",
        };
        let command = format!("{ENTRY_POINT} serve{}", flags.concat());
        (command, Source::Setting(place.to_owned()))
    }

    fn triton(&self) -> Vec<Entry> {
        let Asked {
            version,
            http,
            grpc,
            ..
        } = self.asked;
        let ask = format!("{PROGRAM} delivery --predictor_host HOST:8001");
        let asked =
            |(value, place): &(String, String)| (value.clone(), Source::Asked(place.clone()));
        let port = |(port, place): &(u16, String)| (port.to_string(), Source::Asked(place.clone()));
        let smi = "nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader > \
                   gpu.csv; facequality-transformer delivery --nvidia_smi gpu.csv";
        let of_gpu = |value: fn(&Gpu) -> &String| {
            let gpu = self.gpu?;
            Some((value(gpu).clone(), Source::File(gpu.file.clone())))
        };
        let (model, triton) = (&self.settings.predictor.model, self.tests.triton.as_ref());
        let loadtest = format!(
            "{PROGRAM} loadtest --protocol triton --url http://HOST:8001 --model {model} --json > \
             triton.json; {PROGRAM} delivery --loadtest triton.json"
        );
        // What the service saw of it, where it was not loaded by itself. Without a predictor that is the
        // embedded model.
        let address = self.model_address();
        let time = triton.map(LoadTest::time).or_else(|| {
            address.as_ref()?;
            self.tests.service.as_ref()?.predict_time()
        });
        vec![
            entry(
                Field::TritonVersion,
                version.as_ref().map(asked),
                ask.clone(),
            ),
            entry(Field::ModelAddress, address, ask.clone()),
            entry(Field::HttpPort, http.as_ref().map(port), ask.clone()),
            entry(Field::GrpcPort, grpc.as_ref().map(port), ask),
            entry(
                Field::GpuMemory,
                self.gpu_memory().or_else(|| of_gpu(|gpu| &gpu.memory)),
                format!(
                    "{PROGRAM} delivery --predictor_host HOST:8001 --triton_metrics HOST:8002  # \
                     while loadtest runs"
                ),
            ),
            entry(Field::Driver, of_gpu(|gpu| &gpu.drivers), smi),
            entry(Field::GpuModel, of_gpu(|gpu| &gpu.models), smi),
            entry(
                Field::Resources,
                self.triton_resources(),
                format!(
                    "{PROGRAM} delivery --predictor_host HOST:8001 --triton_metrics HOST:8002  # \
                     while loadtest runs"
                ),
            ),
            entry(Field::Time, figure(time), loadtest.clone()),
            entry(Field::Qps, figure(triton.map(LoadTest::qps)), loadtest),
        ]
    }

    /// The model and where it is.
    fn model_address(&self) -> Option<(String, Source)> {
        let predictor = &self.settings.predictor;
        let targets = predictor.targets_of(&predictor.model);
        if targets.is_empty() {
            return None;
        }
        let address = format!("{} ({})", display_targets(targets), predictor.model);
        let place = "--predictor_host, --model_host, --predictor_model";
        Some((address, Source::Setting(place.to_owned())))
    }

    fn gpu_memory(&self) -> Option<(String, Source)> {
        let (metrics, url) = self.asked.metrics.as_ref()?;
        let used = metrics.values("nv_gpu_memory_used_bytes");
        let used: Vec<_> = used.into_iter().map(mebibytes).collect();
        let place = format!("{url} nv_gpu_memory_used_bytes");
        (!used.is_empty()).then(|| (used.join(", "), Source::Asked(place)))
    }

    fn triton_resources(&self) -> Option<(String, Source)> {
        let (metrics, url) = self.asked.metrics.as_ref()?;
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let figures = [
            ("GPU", "nv_gpu_utilization", percent as fn(f64) -> String),
            ("CPU", "nv_cpu_utilization", percent),
            ("RAM", "nv_cpu_memory_used_bytes", mebibytes),
        ];
        let found: Vec<_> = figures
            .into_iter()
            .filter_map(|(what, name, write)| {
                let values = metrics.values(name);
                let written: Vec<_> = values.into_iter().map(write).collect();
                (!written.is_empty()).then(|| format!("{what} {}", written.join(", ")))
            })
            .collect();
        let place = format!("{url} nv_*_utilization, nv_cpu_memory_used_bytes");
        (!found.is_empty()).then(|| (found.join("; "), Source::Asked(place)))
    }
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_as_the_dockerfile_makes_it() {
        let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
        let (_, runtime) = dockerfile.split_once(" AS runtime\n").unwrap();
        assert!(runtime.contains(&format!("ENTRYPOINT [\"{ENTRY_POINT}\"]")));
        assert!(!runtime.contains("WORKDIR"));
    }
}
