//! The form in words: its fields in two languages, as Markdown and as JSON.

use serde_json::{Value, json};

use super::form::{Entry, Field, Section, Source};

/// The languages of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Chinese
    Zh,
    /// English
    En,
}

impl Language {
    fn choose(self, zh: &'static str, en: &'static str) -> &'static str {
        match self {
            Self::Zh => zh,
            Self::En => en,
        }
    }
}

impl Section {
    fn key(self) -> &'static str {
        match self {
            Self::Transformer => "transformer",
            Self::Triton => "triton",
        }
    }

    fn name(self, language: Language) -> &'static str {
        match self {
            Self::Transformer => language.choose("前后处理服务", "Transformer"),
            Self::Triton => language.choose("Triton 推理服务", "Triton"),
        }
    }
}

impl Field {
    /// Its name in JSON.
    fn key(self) -> &'static str {
        match self {
            Self::ServiceName => "service_name",
            Self::Processor => "cpu_or_gpu",
            Self::Image => "image",
            Self::RunDirectory => "run_directory",
            Self::StartCommand => "start_command",
            Self::Resources => "resources",
            Self::Time => "time_per_request",
            Self::Qps => "qps",
            Self::TritonVersion => "triton_version",
            Self::ModelAddress => "model_address",
            Self::HttpPort => "http_port",
            Self::GrpcPort => "grpc_port",
            Self::GpuMemory => "gpu_memory",
            Self::Driver => "driver",
            Self::GpuModel => "gpu_model",
        }
    }

    fn name(self, language: Language) -> &'static str {
        match self {
            Self::ServiceName => language.choose("服务名称", "Service name"),
            Self::Processor => language.choose("CPU/GPU", "CPU/GPU"),
            Self::Image => language.choose("镜像", "Image"),
            Self::RunDirectory => language.choose("运行目录", "Run directory"),
            Self::StartCommand => language.choose("启动命令", "Start command"),
            Self::Resources => language.choose("资源占用", "Resources"),
            Self::Time => language.choose("单次请求耗时", "Time per request"),
            Self::Qps => language.choose("QPS 预估", "QPS estimate"),
            Self::TritonVersion => language.choose("Triton 版本", "Triton version"),
            Self::ModelAddress => language.choose("模型地址", "Model address"),
            Self::HttpPort => language.choose("HTTP 端口", "HTTP port"),
            Self::GrpcPort => language.choose("gRPC 端口", "gRPC port"),
            Self::GpuMemory => language.choose("满载显存", "GPU memory at full load"),
            Self::Driver => language.choose("驱动版本", "Driver"),
            Self::GpuModel => language.choose("显卡型号", "GPU model"),
        }
    }
}

impl Source {
    fn text(&self, language: Language) -> String {
        let kind = match self {
            Self::Build(_) => language.choose("构建", "build"),
            Self::Setting(_) => language.choose("配置", "setting"),
            Self::File(_) => language.choose("文件", "file"),
            Self::Asked(_) => language.choose("查询", "asked"),
        };
        let (Self::Build(place) | Self::Setting(place) | Self::File(place) | Self::Asked(place)) =
            self;
        format!("{kind}: {place}")
    }
}

/// What stands in place of a value that nobody has measured.
fn not_measured(language: Language) -> &'static str {
    language.choose("未测量", "not measured")
}

/// The form as Markdown.
pub(super) fn markdown(sections: &[(Section, Vec<Entry>)], language: Language) -> String {
    let mut text = format!("# {}\n", language.choose("服务交付单", "Delivery form"));
    for (section, entries) in sections {
        let header = language.choose("| 字段 | 值 | 来源 |", "| field | value | source |");
        text += &format!(
            "\n## {}\n\n{header}\n|---|---|---|\n",
            section.name(language)
        );
        for entry in entries {
            let name = entry.field.name(language);
            let (value, source) = match &entry.value {
                Ok((value, source)) => (cell(value), cell(&source.text(language))),
                Err(how) => {
                    let measure = language.choose("测量方法", "measure with");
                    let how = format!("{measure}: `{}`", cell(how));
                    (not_measured(language).to_owned(), how)
                }
            };
            text += &format!("| {name} | {value} | {source} |\n");
        }
    }
    text
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The form as JSON. A value that was not measured is null, with how to measure it.
pub(super) fn json(sections: &[(Section, Vec<Entry>)], language: Language) -> Value {
    let entry = |entry: &Entry| {
        let (key, name) = (entry.field.key(), entry.field.name(language));
        match &entry.value {
            Ok((value, source)) => json!({
                "key": key, "name": name, "value": value, "source": source.text(language),
            }),
            Err(how) => json!({
                "key": key, "name": name, "value": null,
                "source": not_measured(language), "measure_with": how,
            }),
        }
    };
    let section = |(section, entries): &(Section, Vec<Entry>)| {
        json!({
            "key": section.key(),
            "name": section.name(language),
            "fields": entries.iter().map(entry).collect::<Vec<_>>(),
        })
    };
    json!({"sections": sections.iter().map(section).collect::<Vec<_>>()})
}
