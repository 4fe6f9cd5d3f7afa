//! The defaults that depend on the machine and the user: CPUs and directories.
//!
//! - A service manager that hands out directories (`RUNTIME_DIRECTORY`, `STATE_DIRECTORY`,
//!   `CACHE_DIRECTORY`, as systemd does for `StateDirectory=` and its kin) is obeyed.
//! - root gets `/run/woolly`, `/var/lib/woolly`, `/var/cache/woolly`.
//! - Anyone else gets the directories of the XDG base directory specification: the socket in
//!   `$XDG_RUNTIME_DIR/woolly`, state in `~/.local/state/woolly`, cache in `~/.cache/woolly`. Without
//!   `XDG_RUNTIME_DIR` the socket stands in the state directory, which is as private.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Name of the socket file.
const SOCKET: &str = "woolly.sock";
/// Name of our directory inside directories that are shared with others.
const DIRECTORY: &str = "woolly";

/// What resolving a file needs besides the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Environment {
    /// CPUs this process may really use.
    pub(super) cpus: usize,
    pub(super) socket: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) cache_dir: PathBuf,
    /// Configuration files to try, in order, when none is named.
    pub(super) config_files: Vec<PathBuf>,
}

impl Environment {
    /// This process: its user, its environment variables, its CPU affinity and control group.
    pub(super) fn current() -> Self {
        // The standard library counts affinity and the CPU quotas of control groups v1 and v2.
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let is_root = rustix::process::geteuid().is_root();
        Self::of(cpus, is_root, |name| std::env::var_os(name))
    }

    fn of(cpus: usize, is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // The XDG specification says that relative paths are to be ignored.
        let absolute = |name| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        // systemd separates several directories by colons; the first is ours.
        let handed_out = |name| {
            absolute(name)?
                .to_str()?
                .split(':')
                .next()
                .map(PathBuf::from)
        };
        let home = absolute("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let ours = |base: PathBuf| base.join(DIRECTORY);
        let user =
            |name, fallback: &str| ours(absolute(name).unwrap_or_else(|| home.join(fallback)));
        let directory = |handed, system: &str, name, fallback| {
            handed_out(handed).unwrap_or_else(|| {
                if is_root {
                    Path::new(system).join(DIRECTORY)
                } else {
                    user(name, fallback)
                }
            })
        };

        let state_dir = directory(
            "STATE_DIRECTORY",
            "/var/lib",
            "XDG_STATE_HOME",
            ".local/state",
        );
        let cache_dir = directory("CACHE_DIRECTORY", "/var/cache", "XDG_CACHE_HOME", ".cache");
        let runtime_dir = handed_out("RUNTIME_DIRECTORY").unwrap_or_else(|| match is_root {
            true => PathBuf::from("/run").join(DIRECTORY),
            false => absolute("XDG_RUNTIME_DIR").map_or_else(|| state_dir.clone(), ours),
        });
        let mut config_files = Vec::new();
        if !is_root {
            config_files.push(user("XDG_CONFIG_HOME", ".config").join("woolly.toml"));
        }
        config_files.push(PathBuf::from("/etc/woolly/woolly.toml"));
        Environment {
            cpus,
            socket: runtime_dir.join(SOCKET),
            state_dir,
            cache_dir,
            config_files,
        }
    }
}

/// Where a daemon of this user listens when its configuration does not say.
pub fn default_socket() -> PathBuf {
    Environment::current().socket
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(is_root: bool, variables: &[(&str, &str)]) -> Environment {
        let variables: Vec<(String, OsString)> = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.into()))
            .collect();
        Environment::of(2, is_root, |name| {
            variables
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn root_gets_the_system_directories() {
        let root = environment(
            true,
            &[("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0")],
        );
        assert_eq!(root.socket, Path::new("/run/woolly/woolly.sock"));
        assert_eq!(root.state_dir, Path::new("/var/lib/woolly"));
        assert_eq!(root.cache_dir, Path::new("/var/cache/woolly"));
        assert_eq!(root.config_files, [Path::new("/etc/woolly/woolly.toml")]);
    }

    #[test]
    fn a_user_gets_the_xdg_directories() {
        let user = environment(
            false,
            &[
                ("HOME", "/home/ann"),
                ("XDG_RUNTIME_DIR", "/run/user/7"),
                ("XDG_CACHE_HOME", "/big"),
            ],
        );
        assert_eq!(user.socket, Path::new("/run/user/7/woolly/woolly.sock"));
        assert_eq!(user.state_dir, Path::new("/home/ann/.local/state/woolly"));
        assert_eq!(user.cache_dir, Path::new("/big/woolly"));
        assert_eq!(
            user.config_files,
            [
                Path::new("/home/ann/.config/woolly/woolly.toml"),
                Path::new("/etc/woolly/woolly.toml")
            ]
        );
    }

    #[test]
    fn without_a_runtime_directory_the_socket_stands_with_the_state() {
        let user = environment(
            false,
            &[("HOME", "/home/ann"), ("XDG_RUNTIME_DIR", "relative")],
        );
        assert_eq!(
            user.socket,
            Path::new("/home/ann/.local/state/woolly/woolly.sock")
        );
    }

    #[test]
    fn a_service_managers_directories_win() {
        let service = environment(
            false,
            &[
                ("HOME", "/"),
                ("RUNTIME_DIRECTORY", "/run/w"),
                ("STATE_DIRECTORY", "/var/lib/w:/var/lib/other"),
                ("CACHE_DIRECTORY", "/var/cache/w"),
            ],
        );
        assert_eq!(service.socket, Path::new("/run/w/woolly.sock"));
        assert_eq!(service.state_dir, Path::new("/var/lib/w"));
        assert_eq!(service.cache_dir, Path::new("/var/cache/w"));
    }
}
