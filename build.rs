//! Compiles `proto/` to Rust: messages by prost, client and server by tonic. The proto files are
//! parsed by protox, so that no protoc is needed. The generated code stays in `OUT_DIR`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["grpc_service.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Tensors are cut from the received message instead of being copied out of it.
        .bytes(".")
        // An RPC that a server does not write answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        .compile_fds(descriptors)?;
    Ok(())
}
