//! Builds `brig-jail-init`, the PID 1 of every cell, and embeds it.
//!
//! `cargo run` builds only the program that it runs, so the child program has to come along. It is built here,
//! optimised for size whatever the profile of `brig`, because every cell pays for its size: never the same file as
//! `brig`. It gets a target directory of its own, since the outer cargo holds the lock of the other one.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a build script starts cargo, talks to cargo on stdout and stops the build by panicking"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the child program is made from, below `crates/brig-jail`.
const SOURCES: [&str; 4] = ["src", "policies", "Cargo.toml", "build.rs"];

/// Settings of the outer cargo that must not reach the inner one: they would change what is built (flags, wrappers
/// such as clippy's) or where. Registry, network and proxy settings stay.
const DROPPED: [&str; 8] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_LINKER",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
];
/// Whole families of such settings, by prefix.
const DROPPED_PREFIXES: [&str; 7] = [
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "DEP_",
];

fn main() {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest_dir.join("../..").canonicalize().expect("the workspace");
    let jail = workspace.join("crates/brig-jail");
    for source in SOURCES {
        let path = jail.join(source);
        // A path that does not exist would make cargo run this script every time.
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    println!(
        "cargo:rerun-if-changed={}",
        workspace.join("Cargo.lock").display()
    );
    println!("cargo:rerun-if-changed=build.rs");
    println!(
        "cargo:rustc-env=BRIG_JAIL_INIT={}",
        build_jail_init(&workspace).display()
    );
}

fn build_jail_init(workspace: &Path) -> PathBuf {
    let target = variable("TARGET");
    let target_dir = PathBuf::from(variable("OUT_DIR")).join("jail-init-target");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--release"]);
    cargo.args(["-p", "brig-jail", "--bin", "brig-jail-init"]);
    // `--target` keeps the flags below away from procedural macros and build scripts.
    cargo
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir);
    // The outer cargo has resolved and fetched everything already: nothing may change behind its back.
    cargo.arg("--locked");
    for setting in [
        "opt-level='z'",
        "lto='fat'",
        "codegen-units=1",
        "panic='abort'",
        "strip='symbols'",
        "debug=false",
    ] {
        cargo.args(["--config", &format!("profile.release.{setting}")]);
    }
    if env::var_os("CARGO_FEATURE_CONTROL_ARMS").is_some() {
        cargo.args(["--features", "control-arms"]);
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if DROPPED.contains(&text.as_ref()) || DROPPED_PREFIXES.iter().any(|p| text.starts_with(p)) {
            cargo.env_remove(&name);
        }
    }
    if has_static_libc(&target) {
        // No dynamic linker at the start of each cell.
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    }
    let status = cargo.status().expect("failed to start cargo for brig-jail-init");
    assert!(
        status.success(),
        "building brig-jail-init failed: see the messages above"
    );
    target_dir.join(target).join("release/brig-jail-init")
}

/// Whether the C library can be linked statically. It comes with the compiler on Debian; elsewhere it may be a
/// package of its own, and then the program is linked dynamically.
fn has_static_libc(target: &str) -> bool {
    if target != variable("HOST") || !target.ends_with("-gnu") {
        return false;
    }
    let answer = Command::new("cc").arg("-print-file-name=libc.a").output();
    answer.is_ok_and(|out| {
        // Without the file, the compiler answers with the bare name.
        Path::new(String::from_utf8_lossy(&out.stdout).trim()).is_absolute()
    })
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
