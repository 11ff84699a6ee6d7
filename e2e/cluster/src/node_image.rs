//! The image of the cluster's nodes: kind's own where it can be pulled, else one of ours, built from Go modules and Debian
//! packages on kind's files. Which way is found out by trying, and can be forced.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;

use crate::Context;
use crate::docker::Docker;
use crate::node_build::{build, reference};

/// The node image that kind v0.33 uses by default, with its digest.
pub const PULLED: &str = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5";
/// How long a registry may take to answer, and how long the download may take then.
const ANSWER: Duration = Duration::from_secs(20);
const DOWNLOAD: Duration = Duration::from_secs(1200);
/// Which node image the user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Kind's own if it is there or can be pulled, else ours.
    #[default]
    Auto,
    /// Kind's own.
    Pull,
    /// Ours.
    Build,
    /// This one, whatever it is.
    Ref(String),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "pull" => Ok(Self::Pull),
            "build" => Ok(Self::Build),
            name if name.contains([':', '/']) => Ok(Self::Ref(name.to_owned())),
            other => Err(format!(
                "`{other}` is none of auto, pull, build, and no image reference like name:tag"
            )),
        }
    }
}

/// The reference of a node image that the daemon has.
///
/// # Errors
/// Where the image asked for can't be had.
pub fn ensure(context: &Context, docker: &Docker, choice: &Choice) -> Result<String> {
    let say = &context.say;
    let built = reference(context)?;
    match choice {
        Choice::Ref(name) if docker.has_image(name) => return Ok(name.clone()),
        Choice::Ref(name) => return pull(context, docker, name),
        Choice::Pull => return pull(context, docker, PULLED),
        Choice::Auto if docker.has_image(PULLED) => {
            say.line(format_args!("   {PULLED} is there"));
            return Ok(PULLED.to_owned());
        }
        Choice::Auto | Choice::Build => {}
    }
    if docker.has_image(&built) {
        say.line(format_args!("   {built} is there"));
        return Ok(built);
    }
    if *choice == Choice::Auto {
        match pull(context, docker, PULLED) {
            Ok(name) => return Ok(name),
            Err(error) if crate::interrupt::caused(&error) => return Err(error),
            Err(error) => {
                let why = error.root_cause().to_string();
                let why = why
                    .lines()
                    .rfind(|line| !line.contains("all of it:"))
                    .unwrap_or_default()
                    .trim();
                say.line(format_args!(
                    "   no image can be pulled ({why}): one of our own is built"
                ));
            }
        }
    }
    build(context, docker, &built)?;
    Ok(built)
}

fn pull(context: &Context, docker: &Docker, name: &str) -> Result<String> {
    let say = &context.say;
    say.line(format_args!("   pulling {name}"));
    let begin = std::time::Instant::now();
    let mut told = begin;
    let (mut seen, mut done) = (0, 0);
    let pull = docker.run(["pull", name]).first_line_within(ANSWER).limit(DOWNLOAD);
    pull.log(context.cache.log("docker-pull")?).lines(|_, line| {
        seen += u32::from(line.contains("Pulling fs layer"));
        done += u32::from(line.contains("Pull complete"));
        if told.elapsed() > Duration::from_secs(15) {
            told = std::time::Instant::now();
            say.line(format_args!(
                "   {done} of {seen} layers in {}",
                crate::say::span(begin.elapsed())
            ));
        }
    })?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_named_or_references() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("build".parse(), Ok(Choice::Build));
        assert_eq!(
            "kindest/node:v1.36.0".parse(),
            Ok(Choice::Ref("kindest/node:v1.36.0".to_owned()))
        );
        assert!("bild".parse::<Choice>().unwrap_err().contains("bild"));
    }
}
