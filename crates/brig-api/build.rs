//! Compiles the wire contract without `protoc`, and keeps its descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;

const PROTO_ROOT: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO_ROOT}");
    let mut files: Vec<PathBuf> = std::fs::read_dir(PathBuf::from(PROTO_ROOT).join("brig/v1"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    // The order of a directory is arbitrary; generated code must not be.
    files.sort();

    let mut compiler = protox::Compiler::new([PROTO_ROOT])?;
    // Reflection needs the imported files too, and clients that were not written here show the comments.
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The builder's own `file_descriptor_set_path` is only used when protoc runs.
    std::fs::write(
        out.join("brig_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    tonic_prost_build::configure()
        // Sorted maps make the encoding of one request always the same, so that it can be digested.
        .btree_map(".")
        // Only the last event of a job carries its record: the others need not have room for it.
        .boxed(".brig.v1.JobEvent.Ended.job")
        // These hold secrets and programs, which do not belong in logs: `pb.rs` shows them without their bytes.
        .skip_debug([".brig.v1.EnvEntry", ".brig.v1.Content"])
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
