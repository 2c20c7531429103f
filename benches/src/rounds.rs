//! Rounds that alternate between the two servers, so that what else the machine does hits both.

use std::time::Duration;

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Whether only the answers count.
    pub(crate) smoke: bool,
    pub(crate) rounds: usize,
    /// One server's share of a round.
    pub(crate) time: Duration,
}

/// Which of the two servers.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Catamaran,
    Twin,
}

/// A figure of both servers, round by round.
pub(crate) struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    /// Measures both servers in turn, in an order that alternates too.
    pub(crate) async fn measure(plan: Plan, mut measure: impl AsyncFnMut(Side) -> f64) -> Self {
        let mut rounds = Vec::new();
        for round in 0..plan.rounds {
            rounds.push(if round % 2 == 0 {
                let ours = measure(Side::Catamaran).await;
                (ours, measure(Side::Twin).await)
            } else {
                let twin = measure(Side::Twin).await;
                (measure(Side::Catamaran).await, twin)
            });
        }
        Self(rounds)
    }

    /// Figures that were taken beside another one.
    pub(crate) fn of(ours: Vec<f64>, twin: Vec<f64>) -> Self {
        Self(ours.into_iter().zip(twin).collect())
    }

    /// The median of catamaran's figures.
    pub(crate) fn ours(&self) -> f64 {
        self.medians().0
    }

    /// The median of the rounds' differences.
    pub(crate) fn difference(&self) -> f64 {
        median(self.0.iter().map(|(ours, twin)| ours - twin))
    }

    /// Prints the medians, and the median, least and greatest of the rounds' ratios.
    pub(crate) fn print_ratio(&self, what: &str, unit: &str) {
        self.print_ratio_to("by hand", what, unit);
    }

    /// As [`print_ratio`](Self::print_ratio), where it is not the server by hand that figures are held against.
    pub(crate) fn print_ratio_to(&self, twin_is: &str, what: &str, unit: &str) {
        let ratios = || self.0.iter().map(|(ours, twin)| ours / twin);
        let (least, greatest) = (ratios().fold(f64::MAX, f64::min), ratios().fold(0.0, f64::max));
        let (ours, twin) = self.medians();
        let ratio = median(ratios());
        println!(
            "  {what:<38} {ours:>9.2} {unit}   {twin_is} {twin:>9.2} {unit}   ratio {ratio:.2} ({least:.2} to {greatest:.2})"
        );
    }

    /// Prints the medians, and the median, least and greatest of the rounds' differences.
    pub(crate) fn print_difference(&self, what: &str, unit: &str) {
        let differences = || self.0.iter().map(|(ours, twin)| ours - twin);
        let (least, greatest) = (differences().fold(f64::MAX, f64::min), differences().fold(f64::MIN, f64::max));
        let (ours, twin) = self.medians();
        let difference = self.difference();
        println!(
            "  {what:<38} {ours:>9.2} {unit}   by hand {twin:>9.2} {unit}   difference {difference:.2} ({least:.2} to {greatest:.2})"
        );
    }

    fn medians(&self) -> (f64, f64) {
        (median(self.0.iter().map(|round| round.0)), median(self.0.iter().map(|round| round.1)))
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(values.collect(), 50)
}

/// The least that this percentage of the values does not exceed.
pub(crate) fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100) - 1]
}
