//! The Unix socket: made with its mode before anyone can connect, never taken from a live daemon.
//!
//! - A file next to the socket (`<socket>.lock`) is locked for as long as the daemon lives, so that two
//!   daemons that start at the same time cannot both find a dead socket and remove each other's. It stays
//!   behind; only the lock counts.
//! - A socket that answers belongs to somebody and is left alone; one that refuses connections is left
//!   over from a dead daemon and is removed; anything that is not a socket is never removed.
//! - The socket is bound, given its mode, and only then listens: a connection before that is refused.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("socket {}: another daemon listens there", path.display())]
    InUse { path: PathBuf },
    #[error("socket {}: something that is not a socket is there, and it is not removed", path.display())]
    NotASocket { path: PathBuf },
    #[error("socket {}: the path is too long for a socket", path.display())]
    TooLong { path: PathBuf },
    #[error("socket {}: cannot {action}: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error(
        "the service manager handed over something else than one listening Unix socket: {problem}"
    )]
    Inherited { problem: String },
}

/// A listening socket. Dropping it removes the socket file, unless someone else put another one there.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    /// Removed when this is dropped. A socket of the service manager has no file of ours.
    _file: Option<SocketFile>,
}

/// The file that belongs to a socket of ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Held, not read.
    _lock: File,
}

impl Bound {
    /// A second handle to the same socket, for [`super::serve`].
    pub fn listener(&self) -> io::Result<UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            // Whoever comes next removes it if this does not.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The socket that the service manager opened for this process (`LISTEN_FDS`), if it did.
pub fn inherited() -> Result<Option<Bound>, SocketError> {
    let mut handed_over = listenfd::ListenFd::from_env();
    match handed_over.len() {
        0 => return Ok(None),
        1 => {}
        count => {
            return Err(SocketError::Inherited {
                problem: format!("{count} descriptors"),
            });
        }
    }
    match handed_over.take_unix_listener(0) {
        Ok(Some(listener)) => Ok(Some(Bound {
            listener,
            _file: None,
        })),
        Ok(None) => Ok(None),
        Err(error) => Err(SocketError::Inherited {
            problem: error.to_string(),
        }),
    }
}

/// Listens at `path` with the permission bits `mode`; makes the directory if there is none.
pub fn bind(path: &Path, mode: u32) -> Result<Bound, SocketError> {
    let failed = |action: &'static str| {
        move |source: io::Error| SocketError::Io {
            path: path.to_owned(),
            action,
            source,
        }
    };
    let address = SocketAddrUnix::new(path).map_err(|_| SocketError::TooLong {
        path: path.to_owned(),
    })?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("make its directory"))?;
    }
    let lock = lock(path)?;
    remove_if_dead(path, &address)?;

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| failed("open it")(errno.into()))?;
    rustix::net::bind(&socket, &address).map_err(|errno| failed("bind it")(errno.into()))?;
    let found = fs::symlink_metadata(path).map_err(failed("look at it"))?;
    // From here on a failure removes the file again.
    let file = SocketFile {
        path: path.to_owned(),
        device: found.dev(),
        inode: found.ino(),
        _lock: lock,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set its mode"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed("listen on it")(errno.into()))?;
    Ok(Bound {
        listener: UnixListener::from(socket),
        _file: Some(file),
    })
}

fn lock(path: &Path) -> Result<File, SocketError> {
    let failed = |source| SocketError::Io {
        path: path.to_owned(),
        action: "lock it",
        source,
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(name)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn remove_if_dead(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    let failed = |action: &'static str, source| SocketError::Io {
        path: path.to_owned(),
        action,
        source,
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at it", error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket {
            path: path.to_owned(),
        });
    }
    // Without blocking: a live daemon whose backlog is full answers EAGAIN.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| failed("open it", errno.into()))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {
            fs::remove_file(path).map_err(|error| failed("remove what a dead daemon left", error))
        }
        Err(Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(errno) => Err(failed("see whether a daemon listens on it", errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_has_its_mode_and_goes_with_its_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/w.sock");
        let bound = bind(&path, 0o620).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_daemon_is_not_displaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.sock");
        let bound = bind(&path, 0o600).unwrap();
        assert!(matches!(bind(&path, 0o600), Err(SocketError::InUse { .. })));
        UnixStream::connect(&path).unwrap();
        drop(bound);

        // Also one that knows nothing of our lock.
        let foreign = UnixListener::bind(&path).unwrap();
        assert!(matches!(bind(&path, 0o600), Err(SocketError::InUse { .. })));
        UnixStream::connect(&path).unwrap();
        drop(foreign);
        bind(&path, 0o600).unwrap();
    }

    #[test]
    fn a_dead_socket_is_removed_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&path, 0o600).unwrap());

        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            bind(&path, 0o600),
            Err(SocketError::NotASocket { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(matches!(
            bind(&path, 0o600),
            Err(SocketError::NotASocket { .. })
        ));
    }

    #[test]
    fn a_socket_that_was_replaced_is_left_to_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.sock");
        let bound = bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn a_path_that_is_too_long_is_said_to_be() {
        let path = Path::new("/tmp").join("x".repeat(120));
        assert!(matches!(
            bind(&path, 0o600),
            Err(SocketError::TooLong { .. })
        ));
    }
}
