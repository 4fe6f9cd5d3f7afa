//! R24: one job of many kills the daemon whenever it runs. It fails in the end, and the others do not.

use serde_json::json;

use crate::torture::pick;

use super::figure::Figure;
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::{fixed, job_id};
use super::work::CONFIG;

/// Daemons that may die of it.
const MOST_DEATHS: usize = 6;
/// A long answer: the daemon dies before its end.
const POISON: usize = 47;

#[test]
fn r24_a_job_that_kills() {
    let mut figure = Figure::new("R24", "a job that kills its daemon, among others");
    let mut deaths = 0;
    let (rounds, innocents) = (pick(1, 2, 10), pick(40, 200, 200));
    for round in 0..rounds {
        let stage = Stage::new(&CONFIG.replace("poison_limit = 0\n", ""));
        let daemon = stage.home.start();
        let client = daemon.client();
        client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
        let mut submitter = fixed(&stage, &client);
        let mut innocent = |number: usize| {
            let request = number % stage.work.len();
            let mark = stage.ledger.send(request, Way::Detached { keyed: true });
            submitter.submit(mark, true).unwrap();
        };
        (0..innocents / 2).for_each(&mut innocent);
        let mark = stage.ledger.send(POISON, Way::Doomed);
        let job = json!({
            "endpoint": stage.work.request(POISON).endpoint, "body": stage.work.body(POISON, mark), "priority": -2,
        });
        let poison = client.submit(&job);
        stage.ledger.accepted(mark, job_id(&poison).unwrap());
        (innocents / 2..innocents).for_each(&mut innocent);
        client
            .send("POST", "/v1/queue/resume", &[], b"")
            .expect(200);

        let mut running = Some(daemon);
        let mut died = 0;
        while died <= MOST_DEATHS {
            let daemon = running.take().unwrap_or_else(|| stage.home.start());
            let path = format!("/v1/jobs/{poison}/events");
            let first = daemon.client().stream("GET", &path, b"").next();
            if first.is_none_or(|event| event == "[DONE]" || event.contains("\"error\"")) {
                daemon.stop();
                break;
            }
            daemon.kill();
            died += 1;
        }
        deaths = deaths.max(died);
        if died > MOST_DEATHS {
            let sentence = format!("round {round}: {died} daemons died of it");
            figure.faults.wrong.push(sentence);
        }
        let daemon = stage.home.start();
        let job = daemon.client().job(&poison);
        if job["status"] != "failed" || !job["error"].to_string().contains("alone") {
            figure.faults.wrong.push(format!("the poison: {job}"));
        }
        daemon.stop();
        let (accepted, faults) = stage.finish();
        figure.trials += 1;
        figure.accepted += accepted;
        figure.faults.add(&format!("round {round}"), faults);
    }
    figure.note(format!("at most {deaths} daemons died of one such job"));
    figure.finish(rounds, innocents * rounds);
}
