//! Makes code of the control API's definition, without an installed protoc.

use std::io::Error;

const FOLDER: &str = "src/control/api";
const FILES: [&str; 9] = [
    "bitmaps.proto",
    "devices.proto",
    "jobs.proto",
    "keys.proto",
    "qos.proto",
    "server.proto",
    "snapshots.proto",
    "stores.proto",
    "volumes.proto",
];

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={FOLDER}");
    let definition = protox::compile(FILES, [FOLDER]).map_err(Error::other)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .compile_fds(definition)
}
