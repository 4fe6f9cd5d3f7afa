//! Every call of one kind at one place, and what they were: what an undisturbed daemon was seen to do to its files must
//! all have met what is injected.

use std::collections::{BTreeMap, BTreeSet};

use crate::torture::{Scale, pick, scale};

use super::calls::{Kind, missing};
use super::figure::{Faults, Figure};
use super::stage::Stage;
use super::traced::{Place, Point, Recorded, Traced, recorded, trial};

/// Of one kind in one thread; the script makes fewer.
pub(super) const MOST: usize = 2_000;
/// What is written of an upload are few calls of one thread; which of several takes it is luck.
const UPLOADS: usize = 3;
/// So many rounds more where luck has left something out in the rounds that all make.
const LUCKLESS: usize = 12;
/// Of what a daemon does at its end, and how often.
const LAST: [&str; 2] = ["state/queue.db", "state/queue.db-wal"];
const FEW: usize = 5;
/// So many numbers in a row that no thread comes to are the end.
const MISSES: usize = 3;

/// Over all places of one figure.
#[derive(Default)]
pub(super) struct Sweep {
    to_meet: BTreeSet<Kind>,
    met: BTreeSet<Kind>,
    /// By call, how often one thread made it at the place whose calls were asked for last.
    counts: BTreeMap<String, usize>,
}

impl Sweep {
    /// The calls of these that are made at a place.
    pub fn calls(&mut self, place: Place, calls: &[&'static str]) -> Vec<&'static str> {
        let Recorded {
            kinds: mut made,
            counts,
        } = recorded(place);
        self.counts = counts;
        made.retain(|kind| calls.contains(&&*kind.call));
        let is_made = |call: &&&str| made.iter().any(|kind| kind.call == **call);
        let calls = calls.iter().filter(is_made).copied().collect();
        self.to_meet.extend(made);
        calls
    }

    /// Every so many calls, from the first; how many there were.
    pub fn over(
        &mut self,
        figure: &mut Figure,
        first: Point,
        step: usize,
        judge: impl Fn(&Traced, &Stage, &mut Faults),
    ) -> usize {
        if first.place == Place::Uploads {
            let (rounds, most) = (pick(1, 1, 4), pick(1, 2, UPLOADS));
            let mut visited = 0;
            for round in 0..rounds + pick(0, 0, LUCKLESS) {
                if round >= rounds && !self.lacks(first) {
                    break;
                }
                let met = (1..=most).filter(|&nth| self.visit(figure, first.at(nth), &judge));
                visited += met.count();
            }
            return visited;
        }
        let visited = self.every(figure, first, step, &judge);
        let made = self.counts.get(first.call).copied();
        if scale() == Scale::Long
            && let Some(made) = made
            && 4 * visited < 3 * made.min(first.until) / step
        {
            let sentence = format!("{first:?}: {visited} of {made} calls were met");
            figure.faults.wrong.push(sentence);
        }
        // The number of calls varies from run to run, and the last ones are easily missed: by the file they are found.
        if scale() == Scale::Long {
            for path in LAST {
                let mut nth = 1..=FEW;
                let point = Point {
                    only: Some(path),
                    ..first
                };
                while self.lacks(first)
                    && nth
                        .next()
                        .is_some_and(|nth| self.visit(figure, point.at(nth), &judge))
                {
                }
            }
        }
        visited
    }

    /// The first, and so on, until some in a row are not made. The number of calls varies from run to run: how many were
    /// met.
    fn every(
        &mut self,
        figure: &mut Figure,
        first: Point,
        step: usize,
        judge: &impl Fn(&Traced, &Stage, &mut Faults),
    ) -> usize {
        let (mut visited, mut missed) = (0, 0);
        for nth in (1..=first.until).step_by(step) {
            if self.visit(figure, first.at(nth), judge) {
                visited += 1;
                missed = 0;
            } else {
                missed += 1;
            }
            if missed == pick(1, 1, MISSES) {
                break;
            }
        }
        visited
    }

    fn visit(
        &mut self,
        figure: &mut Figure,
        point: Point,
        judge: impl Fn(&Traced, &Stage, &mut Faults),
    ) -> bool {
        trial(figure, point, |traced, stage, faults| {
            judge(traced, stage, faults);
            self.met.extend(traced.met.clone());
        })
    }

    /// Whether something is left to be met in that thread.
    fn lacks(&self, point: Point) -> bool {
        let mut left = self.to_meet.difference(&self.met);
        left.any(|kind| kind.call == point.call && point.place.is_of(&kind.thread))
    }

    /// Says what was met. The long form, which leaves nothing out, fails over the rest.
    pub fn end(self, figure: &mut Figure) {
        let missing = missing(&self.to_meet, &self.met);
        figure.note(format!(
            "{} of {} kinds of calls, by threads and files, were met",
            self.to_meet.len() - missing.len(),
            self.to_meet.len()
        ));
        if scale() == Scale::Long {
            figure.faults.wrong.extend(missing);
        }
    }
}
