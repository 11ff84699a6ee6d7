//! Running other programs: each in a process group of its own, watched for its time limit and for an interruption, with
//! an error that shows the command and the last of what it said. Nothing here knows which program it runs.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::interrupt::{self, Interrupted};

/// How often a waiting run looks for an interruption and its time limit.
const TICK: Duration = Duration::from_millis(50);
/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How many lines of a program's last words an error shows.
const LAST_WORDS: usize = 20;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A command about to run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    limit: Option<Duration>,
    first: Option<Duration>,
    log: Option<PathBuf>,
    input: Option<Vec<u8>>,
    out_file: Option<PathBuf>,
    despite_interrupt: bool,
}

impl Run {
    /// A program with no arguments yet, nothing on its standard input and no time limit.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Self {
            command,
            limit: None,
            first: None,
            log: None,
            input: None,
            out_file: None,
            despite_interrupt: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder it runs in.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Ends it, with an error, after this time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Ends it, with an error, if it has said nothing at all within this time: what can't be reached is not waited for.
    #[must_use]
    pub fn first_line_within(mut self, limit: Duration) -> Self {
        self.first = Some(limit);
        self
    }

    /// Writes all it says to this file too, and names the file in the error.
    #[must_use]
    pub fn log(mut self, path: PathBuf) -> Self {
        self.log = Some(path);
        self
    }

    /// Gives it this on its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(input.into());
        self
    }

    /// Writes its standard output to a file, byte by byte.
    #[must_use]
    pub fn out_file(mut self, path: PathBuf) -> Self {
        self.out_file = Some(path);
        self
    }

    /// Runs it even when the user asked to end: for cleaning up.
    #[must_use]
    pub fn despite_interrupt(mut self) -> Self {
        self.despite_interrupt = true;
        self
    }

    /// Runs it and gives its standard output, without the last line's end.
    ///
    /// # Errors
    /// Where it can't be started, fails, takes longer than its limit, or the user asked to end.
    pub fn out(self) -> Result<String> {
        let mut out = String::new();
        self.lines(|stream, line| {
            if stream == Stream::Out {
                out.push_str(line);
                out.push('\n');
            }
        })?;
        out.truncate(out.trim_end().len());
        Ok(out)
    }

    /// Runs it for its effect.
    ///
    /// # Errors
    /// As for [`Run::out`].
    pub fn done(self) -> Result<()> {
        self.lines(|_, _| ())
    }

    /// Whether it runs and succeeds.
    #[must_use]
    pub fn succeeds(self) -> bool {
        self.done().is_ok()
    }

    /// Runs it and hands over each line as it comes.
    ///
    /// # Errors
    /// As for [`Run::out`].
    pub fn lines(mut self, mut on_line: impl FnMut(Stream, &str)) -> Result<()> {
        if interrupt::requested() && !self.despite_interrupt {
            bail!(Interrupted);
        }
        let shown = shown(&self.command);
        let mut log = match &self.log {
            Some(path) => Some(File::create(path).with_context(|| format!("can't write {}", path.display()))?),
            None => None,
        };
        if let Some(path) = &self.out_file {
            let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
            self.command.stdout(file);
        }
        let mut child = self
            .command
            .spawn()
            .map_err(|error| anyhow!("can't run `{shown}`: {error}"))?;
        let lines = self.plumb(&mut child);
        let mut last_words = LastWords::default();
        let watched = self.watch(&mut child, &lines, |stream, line| {
            if let Some(log) = &mut log {
                let _ = writeln!(log, "{line}");
            }
            last_words.add(stream, line);
            on_line(stream, line);
        });
        let status = match watched {
            Ok(status) => status,
            Err(error) => {
                end(&mut child);
                return Err(if error.is::<Interrupted>() {
                    error
                } else {
                    error.context(format!("`{shown}`"))
                });
            }
        };
        if status.success() {
            return Ok(());
        }
        let words = last_words.shown();
        let log = self
            .log
            .map_or_else(String::new, |path| format!("\n  (all of it: {})", path.display()));
        bail!("`{shown}` failed ({status}):\n  {words}{log}")
    }

    /// Threads that carry the input in and the lines out.
    fn plumb(&mut self, child: &mut Child) -> mpsc::Receiver<(Stream, String)> {
        let (sender, receiver) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            carry(out, Stream::Out, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            carry(err, Stream::Err, sender);
        }
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), self.input.take()) {
            // A program that ends without reading all of its input says so by its exit code.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        receiver
    }

    /// Hands over lines until the program has ended.
    fn watch(
        &self,
        child: &mut Child,
        lines: &mpsc::Receiver<(Stream, String)>,
        mut on_line: impl FnMut(Stream, &str),
    ) -> Result<ExitStatus> {
        let begin = Instant::now();
        let mut said_nothing = true;
        let mut ended: Option<(ExitStatus, Instant)> = None;
        loop {
            match lines.recv_timeout(TICK) {
                Ok((stream, line)) => {
                    said_nothing = false;
                    on_line(stream, &line);
                }
                Err(RecvTimeoutError::Disconnected) if ended.is_none() => thread::sleep(TICK),
                Err(_) => {}
            }
            if ended.is_none() {
                ended = child.try_wait()?.map(|status| (status, Instant::now()));
            }
            if let Some((status, at)) = ended {
                // What is still in the pipe is read to its end; a grandchild that keeps the pipe open is not waited for.
                while at.elapsed() < Duration::from_secs(1) {
                    match lines.recv_timeout(TICK) {
                        Ok((stream, line)) => on_line(stream, &line),
                        Err(RecvTimeoutError::Disconnected) => break,
                        Err(RecvTimeoutError::Timeout) => {}
                    }
                }
                return Ok(status);
            }
            if interrupt::requested() && !self.despite_interrupt {
                bail!(Interrupted);
            }
            if self.limit.is_some_and(|limit| begin.elapsed() > limit) {
                bail!("no end within {}", crate::say::span(begin.elapsed()));
            }
            if said_nothing && self.first.is_some_and(|limit| begin.elapsed() > limit) {
                bail!("no answer within {}", crate::say::span(begin.elapsed()));
            }
        }
    }
}

/// The last lines of a program, of each stream.
#[derive(Default)]
struct LastWords {
    out: VecDeque<String>,
    err: VecDeque<String>,
}

impl LastWords {
    fn add(&mut self, stream: Stream, line: &str) {
        let lines = if stream == Stream::Out {
            &mut self.out
        } else {
            &mut self.err
        };
        lines.push_back(line.to_owned());
        if lines.len() > LAST_WORDS {
            lines.pop_front();
        }
    }

    /// What went wrong is said on standard error; only a program that says nothing there is quoted from its output.
    fn shown(self) -> String {
        let lines = if self.err.is_empty() { self.out } else { self.err };
        Vec::from(lines).join("\n  ")
    }
}

/// Ends a child and what it started: by asking first.
pub fn end(child: &mut Child) {
    let Ok(group) = i32::try_from(child.id()) else { return };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if matches!(child.try_wait(), Ok(Some(_))) {
            break;
        }
        // It may have ended since; then there is nothing left to signal.
        let _ = killpg(Pid::from_raw(group), signal);
        let asked = Instant::now();
        while asked.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(TICK);
        }
    }
}

/// The full path of a program, if `PATH` has it.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| {
        use std::os::unix::fs::PermissionsExt as _;
        file.metadata()
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

fn carry(from: impl Read + Send + 'static, stream: Stream, to: Sender<(Stream, String)>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line);
            if to
                .send((stream, text.trim_end_matches(['\n', '\r']).to_owned()))
                .is_err()
            {
                break;
            }
            line.clear();
        }
    });
}

/// A command as an error shows it: without its environment, cut where it gets long.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .map_or_else(OsString::new, OsStr::to_os_string);
    let mut text = program.to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    if let Some((cut, _)) = text.char_indices().nth(160) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Run {
        Run::new("sh").args(["-c", script])
    }

    #[test]
    fn output_comes_without_errors_in_it() {
        assert_eq!(sh("echo one; echo two >&2; printf three").out().unwrap(), "one\nthree");
    }

    #[test]
    fn a_failure_shows_the_command_and_its_last_words() {
        let error = format!("{:#}", sh("echo why >&2; exit 3").out().unwrap_err());
        assert!(
            error.contains("sh -c") && error.contains("why") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = format!("{:#}", Run::new("no-such-program").out().unwrap_err());
        assert!(error.contains("no-such-program"), "{error}");
    }

    #[test]
    fn the_limit_ends_a_program_and_what_it_started() {
        let error = format!(
            "{:#}",
            sh("sleep 1000 & wait")
                .limit(Duration::from_millis(200))
                .out()
                .unwrap_err()
        );
        assert!(error.contains("no end within"), "{error}");
    }

    #[test]
    fn silence_ends_a_program_only_at_its_start() {
        let limit = Duration::from_secs(1);
        let error = format!("{:#}", sh("sleep 1000").first_line_within(limit).out().unwrap_err());
        assert!(error.contains("no answer within"), "{error}");
        assert_eq!(
            sh("echo here; sleep 1.5").first_line_within(limit).out().unwrap(),
            "here"
        );
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_is_not_waited_for() {
        let pid = sh("sleep 1000 & echo $!").out().unwrap();
        assert!(Run::new("kill").args([pid]).succeeds(), "the grandchild still ran");
    }

    #[test]
    fn input_and_files_work() {
        let dir = tempfile::tempdir().unwrap();
        let (out, log) = (dir.path().join("out"), dir.path().join("log"));
        Run::new("cat").input("hello").out_file(out.clone()).done().unwrap();
        assert_eq!(std::fs::read_to_string(out).unwrap(), "hello");
        sh("echo a; echo b >&2").log(log.clone()).done().unwrap();
        let mut lines: Vec<_> = std::fs::read_to_string(log)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn which_finds_what_the_path_has() {
        assert!(which("sh").is_some());
        assert!(which("no-such-program").is_none());
    }
}
