//! Which Docker daemon is used: the user's where one answers, else one of our own. A user's daemon is used as it is and
//! left as it is. How ours is started and stopped lives in `own_daemon`.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::Context;
use crate::own_daemon::OwnDaemon;
use crate::run::{Run, which};

/// How long a daemon may take to say its version before it counts as not answering.
const ANSWER: Duration = Duration::from_secs(10);

/// Which daemon the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The one that answers (`DOCKER_HOST`, or the client's context), else our own.
    #[default]
    Auto,
    /// Our own, even where another answers.
    Own,
    /// The one that answers, or an error.
    Existing,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "own" => Ok(Self::Own),
            "existing" => Ok(Self::Existing),
            other => Err(format!("`{other}` is none of auto, own, existing")),
        }
    }
}

/// A daemon that answers.
#[derive(Clone, Debug)]
pub struct Docker {
    /// Whether it is one of our own.
    pub own: bool,
    /// Whether this run started it.
    pub started: bool,
    /// `DOCKER_HOST` for it, where it isn't what the environment says anyway.
    pub host: Option<String>,
}

impl Docker {
    /// A `docker` command on this daemon.
    #[must_use]
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Run {
        self.env(Run::new("docker")).args(args)
    }

    /// Points any program that uses Docker (kind does) at this daemon.
    #[must_use]
    pub fn env(&self, run: Run) -> Run {
        // BuildKit is an add-on that not every Docker has; our Dockerfiles need nothing of it.
        let run = run.env("DOCKER_BUILDKIT", "0");
        match &self.host {
            Some(host) => run.env("DOCKER_HOST", host),
            None => run,
        }
    }

    /// Whether the daemon has an image of this name.
    #[must_use]
    pub fn has_image(&self, reference: &str) -> bool {
        self.run(["image", "inspect", "--format", "{{.Id}}", reference])
            .succeeds()
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// Where it doesn't answer.
    pub fn version(&self) -> Result<String> {
        // Also on a signal: what is cleaned up then follows from whether the daemon answers.
        let version = self.run(["version", "--format", "{{.Server.Version}}"]);
        version.despite_interrupt().limit(ANSWER).out()
    }
}

/// Finds the daemon to use, or starts our own.
///
/// # Errors
/// Where the one asked for doesn't answer, or ours can't be started: with what the user can do.
pub fn ensure(context: &Context, choice: Choice) -> Result<Docker> {
    let say = &context.say;
    let own = OwnDaemon::new(context)?;
    let existing = || {
        let docker = Docker {
            own: false,
            started: false,
            host: None,
        };
        let version = which("docker").and_then(|_| docker.version().ok())?;
        Some((docker, version))
    };
    if choice != Choice::Own {
        match existing() {
            // The environment may point at our own: then it is ours all the same.
            Some((docker, version)) if std::env::var("DOCKER_HOST").ok() != Some(own.host()) => {
                say.line(format_args!(
                    "   your Docker daemon answers ({version}); it is used as it is"
                ));
                return Ok(docker);
            }
            Some(_) => {}
            None if choice == Choice::Auto => {}
            None => bail!("no Docker daemon answers: start yours, or take `--docker own` (needs root)"),
        }
    }
    if let Some(version) = own.version() {
        own.isolate()?;
        say.line(format_args!(
            "   our own Docker daemon still runs ({version}, {})",
            own.host()
        ));
        return Ok(Docker {
            own: true,
            started: false,
            host: Some(own.host()),
        });
    }
    let why = if choice == Choice::Own {
        "as asked"
    } else {
        "none answers"
    };
    say.line(format_args!("   starting a Docker daemon of our own ({why})"));
    own.install()?;
    // Debian's package may start a daemon by itself; then it is the user's, and as good.
    if choice == Choice::Auto
        && let Some((docker, version)) = existing()
    {
        say.line(format_args!("   the package started one ({version}); it is used"));
        return Ok(docker);
    }
    own.start()?;
    Ok(Docker {
        own: true,
        started: true,
        host: Some(own.host()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_named() {
        assert_eq!("own".parse(), Ok(Choice::Own));
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert!("yours".parse::<Choice>().unwrap_err().contains("auto, own, existing"));
    }
}
