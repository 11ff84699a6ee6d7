//! The demo app: something to balance. One process is one replica; it says who it is, and does on request what apps do
//! when they are at their worst. Command line, listening and stopping are here; what is answered is in `answers`.

mod answers;
mod body;
mod websocket;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use answers::App;

/// A small app to balance. POST /kill ends it; GET / tells which replica answers.
#[derive(Parser)]
#[command(name = "tenbin-demo", version)]
struct Flags {
    /// The port to listen on, at all addresses; 0 takes a free one and tells it.
    #[arg(long, env = "TENBIN_PORT", default_value_t = 8080)]
    port: u16,
    /// The name of this replica; the host's name unless given.
    #[arg(long, env = "TENBIN_INSTANCE")]
    instance: Option<String>,
    /// The name of the app.
    #[arg(long, env = "TENBIN_APP", default_value = "demo")]
    app: String,
    /// How many pieces of work (/work) it can do at once.
    #[arg(long, env = "DEMO_SLOTS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slots: u32,
    /// Write a line for every request.
    #[arg(long)]
    log: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to be instead of an app.
#[derive(Subcommand)]
enum Command {
    /// A load driver: sends requests as its JSON API says, and tells what became of each.
    Load {
        /// The port of the JSON API, at all addresses.
        #[arg(long, default_value_t = tenbin_load::PORT)]
        port: u16,
    },
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime
        .context("start the runtime")
        .and_then(|runtime| match flags.command {
            Some(Command::Load { port }) => runtime
                .block_on(tenbin_load::serve(([0, 0, 0, 0], port).into()))
                .with_context(|| format!("listen on port {port}")),
            None => runtime.block_on(run(flags)),
        }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenbin-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let instance = flags.instance.filter(|name| !name.is_empty()).unwrap_or_else(host_name);
    let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let listener = TcpListener::bind(("0.0.0.0", flags.port))
        .await
        .with_context(|| format!("listen on port {}", flags.port))?;
    println!(
        "{instance} of {} listens on {}",
        flags.app,
        listener.local_addr().context("read the own address")?
    );

    let (stop, stopping) = watch::channel(false);
    let app = Arc::new(App::new(instance.clone(), flags.app, flags.log, flags.slots, stopping));
    serve(&listener, &app, terminate, interrupt).await;
    drop(listener);
    println!("{instance} stops: takes no more connections, finishes what is in flight");
    // Every connection holds a receiver, so this waits for the last of them; who sent the signal has the patience to set.
    drop(app);
    stop.send_replace(true);
    stop.closed().await;
    println!("{instance} has stopped");
    Ok(())
}

/// Accepts connections until a signal says to stop.
async fn serve(listener: &TcpListener, app: &Arc<App>, mut terminate: Signal, mut interrupt: Signal) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, Arc::clone(app)));
                }
                // Out of file descriptors, most likely: the listener is as good as before once some are free again.
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
        }
    }
}

async fn connection(stream: TcpStream, app: Arc<App>) {
    // Without it small answers would wait for acknowledgements; a socket that refuses it still works.
    let _ = stream.set_nodelay(true);
    let mut stopping = app.stopping();
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { answers::answer(&app, request).await }
    });
    // No time limit for the next request: a proxy may keep connections for as long as it likes.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    // An error is the client's going away, which is its right.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() {
        "unknown".to_owned()
    } else {
        name.trim().to_owned()
    }
}
