//! Time that a test moves by hand, for everything on its runtime, the proxy included; sockets are real. Nothing else moves it, so that a
//! timeout is over when the test says so, however slow the machine is.

use std::cell::Cell;
use std::panic;
use std::sync::{Once, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_blocking, yield_now};

use crate::world::PATIENCE;

/// So often it is looked whether something has happened before the machine is left alone for a moment.
const LOOKS: u32 = 100;

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Runs a test whose time stands still but for [`advance`].
///
/// # Panics
/// A task of it did.
pub(crate) fn by_hand<F: Future>(test: F) -> F::Output {
    count_panics();
    let before = PANICS.get();
    let mut builder = Builder::new_current_thread();
    let runtime = builder
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .unwrap();
    let output = runtime.block_on(async {
        // Time that stands still would jump to the next timer whenever there is nothing to do, though bytes may be under way; but not
        // while something blocks.
        let (_holds, held) = mpsc::channel::<()>();
        let _blocks = spawn_blocking(move || held.recv());
        test.await
    });
    drop(runtime);
    assert_eq!(PANICS.get(), before, "a task panicked");
    output
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            tell(panic);
        }));
    });
}

/// So much time passes at once.
pub(crate) async fn advance(time: Duration) {
    tokio::time::advance(time).await;
}

/// Waits until `condition` holds, for which no time passes.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_none(|| (!condition()).then_some(what)).await;
}

/// Waits until nothing keeps the test waiting; `what` does after all this time, if anything.
pub(crate) async fn until_none<T: std::fmt::Debug>(mut what: impl FnMut() -> Option<T>) {
    let start = Instant::now();
    for look in 1.. {
        let Some(what) = what() else { return };
        assert!(start.elapsed() < PATIENCE, "never happened: {what:?}");
        if look % LOOKS == 0 {
            spawn_blocking(|| thread::sleep(Duration::from_millis(1)))
                .await
                .unwrap();
        } else {
            yield_now().await;
        }
    }
}
