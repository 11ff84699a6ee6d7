//! curl for the tests, on the demo app's image: this machine's own, with the libraries it loads, as our binaries are.

use anyhow::{Context as _, Result};

use crate::Context;
use crate::docker::Docker;
use crate::images::{Image, Recipe, image_of, stage};
use crate::own_daemon::install;
use crate::run::which;

const RECIPE: Recipe = Recipe {
    binary: "curl",
    name: "tenbin/test-curl",
    alias: None,
    dockerfile: "e2e/apps/curl/Dockerfile",
};

/// Builds curl's image, if the daemon doesn't have it yet.
///
/// # Errors
/// Where there is no curl and none can be installed, or Docker fails.
pub fn build(context: &Context, docker: &Docker, demo: &Image) -> Result<Image> {
    if which("curl").is_none() {
        install(&context.say, &["curl"])?;
    }
    let curl = which("curl").context("curl was installed, but is not on PATH")?;
    let scratch = context.cache.scratch()?;
    stage(&curl, RECIPE.binary, scratch.path())?;
    image_of(context, docker, RECIPE, scratch.path(), Some(demo))
}
