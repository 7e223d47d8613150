//! The program to measure.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the variable `SLUICEGATE` names, else the release build, made now if need be.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICEGATE") {
        return path.into();
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--locked", "--bin", "sluicegate"]);
    let status = build.current_dir(package).status().unwrap();
    assert!(status.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| package.join("target"), PathBuf::from);
    target.join("release/sluicegate")
}
