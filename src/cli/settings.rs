//! Where a program finds what its command line does not say: the socket, the configuration.

use std::path::{Path, PathBuf};

use crate::config::{self, Config};

use super::Error;

/// The environment variable that names the socket, in the form Docker made known: `unix:///path`.
pub(super) const HOST_VARIABLE: &str = "WOOLLY_HOST";

/// The socket to talk to: `--socket`, else `WOOLLY_HOST`, else the default of the configuration.
pub(super) fn socket(option: Option<&Path>) -> Result<PathBuf, Error> {
    let host = std::env::var(HOST_VARIABLE).ok();
    choose_socket(option, host.as_deref())
}

fn choose_socket(option: Option<&Path>, host: Option<&str>) -> Result<PathBuf, Error> {
    if let Some(path) = option {
        return Ok(path.to_path_buf());
    }
    match host {
        None | Some("") => Ok(config::default_socket()),
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
            _ => Err(Error::Usage(format!(
                "{HOST_VARIABLE} must have the form unix:///path/of/the.sock, and it is {host:?}"
            ))),
        },
    }
}

/// The configuration at `path`, or the one the daemon would find, or the defaults.
pub(super) fn configuration(path: Option<&Path>) -> Result<Config, Error> {
    Config::load(path).map_err(|problem| Error::Failed(problem.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_wins_over_the_variable_and_the_variable_over_the_default() {
        let variable = Some("unix:///a.sock");
        let option = Some(Path::new("b.sock"));
        assert_eq!(
            choose_socket(option, variable).unwrap(),
            Path::new("b.sock")
        );
        assert_eq!(choose_socket(None, variable).unwrap(), Path::new("/a.sock"));
        assert_eq!(
            choose_socket(None, Some("")).unwrap(),
            config::default_socket()
        );
        assert_eq!(choose_socket(None, None).unwrap(), config::default_socket());
    }

    #[test]
    fn a_host_that_is_no_unix_socket_is_a_usage_error() {
        for host in [
            "tcp://localhost:80",
            "/run/woolly.sock",
            "unix://relative.sock",
        ] {
            assert_eq!(
                choose_socket(None, Some(host)).unwrap_err().code(),
                2,
                "{host}"
            );
        }
    }
}
