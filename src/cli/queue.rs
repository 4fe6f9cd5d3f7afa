//! `woollyctl queue pause`, `drain`, `resume` and `backup`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use serde_json::{Value, json};

use super::client::{Answer, Client, refuse};
use super::interrupt::Interrupt;
use super::new_file::NewFile;
use super::queue_check::Check;
use super::reconnect::Link;
use super::{Error, render};

#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// Start no further jobs; running ones go on, and jobs are accepted unless the queue is drained
    #[command(
        after_help = "The queue stays paused over restarts of the daemon, until it is resumed. For administrators.

Example:
  woollyctl queue pause"
    )]
    Pause,
    /// Take no new jobs and batches; those that are there run to their end unless the queue is paused
    #[command(
        after_help = "Who submits is told to come back later (503). The queue stays so over restarts of the daemon, until it is
resumed. To wait for the end of a queue that is paused as well, or is paused meanwhile, is an error. For
administrators.

Example:
  woollyctl queue drain --wait && systemctl stop woollyd"
    )]
    Drain {
        /// Return when nothing waits or runs any more
        #[arg(long)]
        wait: bool,
    },
    /// Start jobs again, and take new ones: undoes a pause and a drain
    #[command(after_help = "Example:
  woollyctl queue resume")]
    Resume,
    /// Copy the queue as it is now into a file, while the daemon works
    #[command(
        after_help = "The file is a tar archive of a state directory, complete when it has its name. To restore it, stop the daemon,
and unpack the archive into an empty state directory as the user that the daemon runs as; who does it as root gives
all of it to that user. For administrators.

Examples:
  woollyctl queue backup monday.tar
  install -d -o woolly -m 700 state && sudo -u woolly tar -x -C state < monday.tar"
    )]
    Backup {
        /// Where to; a file that is there is replaced
        file: PathBuf,
    },
    /// Look for damage in a queue on disk or in a backup; needs no daemon
    Check(Check),
}

/// Between two looks at what is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(link: &Link, verb: Queue, json: bool) -> Result<(), Error> {
    let (path, done) = match &verb {
        Queue::Backup { file } => return backup(link.client(), file, json).await,
        // Needs no daemon, and was done before one was looked for.
        Queue::Check(_) => return Ok(()),
        Queue::Pause => ("/v1/queue/pause", "no further jobs start"),
        Queue::Drain { .. } => ("/v1/queue/drain", "no new jobs are taken in"),
        Queue::Resume => (
            "/v1/queue/resume",
            "jobs start again, and new ones are taken in",
        ),
    };
    let answer = link.client().post(path, String::new(), None).await?;
    link.answered();
    render::read_or_not(match json {
        true => render::json_line(&mut io::stdout().lock(), &answer),
        false => writeln!(io::stdout(), "{done}"),
    })?;
    if let Queue::Drain { wait: true } = verb {
        wait_until_empty(link).await?;
    }
    Ok(())
}

async fn backup(client: &Client, path: &Path, json: bool) -> Result<(), Error> {
    let mut interrupt = Interrupt::install()?;
    let mut file = NewFile::create(path)?;
    file.make_private()?;
    let bytes = tokio::select! {
        bytes = client.download("/v1/queue/backup", &mut file) => bytes?,
        () = interrupt.wait() => return Err(Error::Interrupted),
    };
    file.publish(true)?;
    let mut out = io::stdout().lock();
    if json {
        let answer = json!({"file": path.display().to_string(), "bytes": bytes});
        return Ok(render::json_line(&mut out, &answer)?);
    }
    Ok(writeln!(out, "{}: {bytes} bytes", path.display())?)
}

/// Says now and then how much is left. The queue drains on after a restart of the daemon, and so does the wait.
async fn wait_until_empty(link: &Link) -> Result<(), Error> {
    let mut told = None;
    loop {
        let look = async || what_is_left(link.client().get_any("/health").await?);
        let left = link.retry(look).await?;
        if left.is_nothing() {
            return Ok(());
        }
        if left.stands_still() {
            let problem = "the queue is paused, so what waits in it does not run: resume it first";
            return Err(Error::Failed(problem.to_owned()));
        }
        let now = (left.queued + left.running, left.batches);
        if told != Some(now) {
            let (jobs, batches) = now;
            link.say(&format!("{jobs} jobs and {batches} batches left"));
            told = Some(now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a queue that drains still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    queued: u64,
    running: u64,
    batches: u64,
    paused: bool,
}

impl Left {
    fn is_nothing(self) -> bool {
        (self.queued, self.running, self.batches) == (0, 0, 0)
    }

    /// Whether waiting for its end is in vain. What runs in a paused queue runs to its end.
    fn stands_still(self) -> bool {
        self.paused && (self.queued > 0 || self.running == 0)
    }
}

/// A daemon that does not count its jobs has not said that there are none: it is in trouble, or it is another program.
fn what_is_left(health: Answer) -> Result<Left, Error> {
    let Some(jobs) = health.body["jobs"].as_object() else {
        let status = health.status;
        refuse(health)?;
        return Err(Error::Failed(format!(
            "woollyd does not say how many jobs it has (HTTP status {status})"
        )));
    };
    let count = |state: &str| jobs.get(state).and_then(Value::as_u64).unwrap_or(0);
    Ok(Left {
        queued: count("queued"),
        running: count("running"),
        batches: health.body["open_batches"].as_u64().unwrap_or(0),
        paused: health.body["paused"] == true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_queue_stands_still_when_what_runs_in_it_has_ended() {
        let left = |queued, running, batches, paused| Left {
            queued,
            running,
            batches,
            paused,
        };
        assert!(left(0, 0, 0, true).is_nothing());
        for (queued, running, batches, expected) in [
            (0, 1, 1, false),
            (1, 1, 1, true),
            (1, 0, 0, true),
            (0, 0, 1, true),
        ] {
            assert_eq!(
                left(queued, running, batches, true).stands_still(),
                expected
            );
            assert!(!left(queued, running, batches, false).stands_still());
        }
    }
}
