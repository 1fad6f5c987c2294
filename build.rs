//! Compiles `proto/` to Rust: messages by prost, client and server by tonic. The proto files are
//! parsed by protox, so that no protoc is needed. The generated code stays in `OUT_DIR`, and with
//! it the descriptors that gRPC reflection shows.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(["grpc_service.proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("inference.fds"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        // Tensors are cut from the received message instead of being copied out of it.
        .bytes(".")
        // Counts what a request holds before it is built.
        .codec_path("crate::wire::codec::BoundedCodec")
        // An RPC that a server does not write answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
