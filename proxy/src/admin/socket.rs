//! The admin socket's file: never open to others, not even for the moment between making it and closing it to them.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;

/// Binds the socket at `path`, with mode 0600; one that a former process left there is replaced.
///
/// # Errors
/// Its folder is not there or may not be written to, or the path is longer than sockets allow (107 bytes).
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    // Bound in a folder of our own and moved when it has its mode: `bind` itself takes none.
    let folder = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    DirBuilder::new().mode(0o700).create(&folder)?;
    let hidden = folder.join("s");
    let bound = UnixListener::bind(&hidden).and_then(|listener| {
        fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
        fs::rename(&hidden, path)?;
        Ok(listener)
    });
    fs::remove_dir_all(&folder)?;
    bound
}
