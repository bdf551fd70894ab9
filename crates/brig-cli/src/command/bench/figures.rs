//! From times to figures.

use crate::terminal::table;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// What people use instead of our containers.
const DOCKER_RUN: &str = "docker_run";
/// Our containers, and what their ratio to that is meant to be.
const CONTAINERS: [(&str, &str); 2] = [("docker_cold", "at most 1.10"), ("docker_warm", "at most 0.15")];

/// What one contestant showed.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    name: &'static str,
    absent: Option<String>,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    per_second: Option<f64>,
    runs: usize,
}

/// Ours against one baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    baseline: &'static str,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    per_second: Option<f64>,
    baseline_p50_ms: Option<f64>,
    baseline_p95_ms: Option<f64>,
    baseline_per_second: Option<f64>,
    /// Our p50 divided by the baseline's.
    ratio: Option<f64>,
    /// What `ratio` is meant to be.
    target: &'static str,
    runs: usize,
    /// Why there is no figure of the baseline.
    note: Option<String>,
}

impl Figures {
    pub(crate) fn new(
        name: &'static str,
        absent: Option<String>,
        mut times: Vec<Duration>,
        per_second: Option<f64>,
    ) -> Self {
        times.sort();
        Self {
            name,
            absent,
            p50_ms: percentile(&times, 50),
            p95_ms: percentile(&times, 95),
            per_second: per_second.map(rounded),
            runs: times.len(),
        }
    }
}

impl Row {
    /// The first against each of those that are not ours, and our containers against `docker run`.
    pub(crate) fn all(figures: &[Figures]) -> Vec<Self> {
        let Some((ours, others)) = figures.split_first() else {
            return Vec::new();
        };
        let is_ours = |figures: &&Figures| CONTAINERS.iter().any(|(name, _)| *name == figures.name);
        let baselines = others.iter().filter(|figures| !is_ours(figures));
        let run = others.iter().find(|figures| figures.name == DOCKER_RUN);
        let containers = run.into_iter().flat_map(|run| {
            let containers = others.iter().filter(is_ours);
            containers.map(move |ours| Self::of(ours, run))
        });
        baselines
            .map(|baseline| Self::of(ours, baseline))
            .chain(containers)
            .collect()
    }

    fn of(ours: &Figures, baseline: &Figures) -> Self {
        Self {
            name: ours.name,
            baseline: baseline.name,
            p50_ms: ours.p50_ms,
            p95_ms: ours.p95_ms,
            per_second: ours.per_second,
            baseline_p50_ms: baseline.p50_ms,
            baseline_p95_ms: baseline.p95_ms,
            baseline_per_second: baseline.per_second,
            ratio: ours
                .p50_ms
                .zip(baseline.p50_ms)
                .map(|(ours, theirs)| rounded(ours / theirs)),
            target: target(ours.name, baseline.name),
            runs: ours.runs,
            note: ours.absent.clone().or_else(|| baseline.absent.clone()),
        }
    }
}

/// What the ratio is meant to be.
fn target(ours: &str, baseline: &str) -> &'static str {
    let container = CONTAINERS.iter().find(|(name, _)| *name == ours);
    match container {
        Some((_, target)) => target,
        None if baseline == "bare_python" => "at most 1.5",
        None => "below 1",
    }
}

/// The nearest rank of sorted times, in milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
    sorted.get(rank).map(|time| rounded(time.as_secs_f64() * 1_000.0))
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// What a person reads.
pub(crate) fn as_text(rows: &[Row]) -> String {
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let mut lines = vec![
        [
            "",
            "p50 ms",
            "p95 ms",
            "per second, 4 at once",
            "ratio of p50",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (index, row) in rows.iter().enumerate() {
        let is_new = index
            .checked_sub(1)
            .and_then(|before| rows.get(before))
            .is_none_or(|before| before.name != row.name);
        if is_new {
            let ours = [row.p50_ms, row.p95_ms, row.per_second].map(figure);
            lines.push([vec![row.name.to_owned()], ours.to_vec()].concat());
        }
        let theirs = [
            row.baseline_p50_ms,
            row.baseline_p95_ms,
            row.baseline_per_second,
            row.ratio,
        ]
        .map(figure);
        let comment = row.note.clone().unwrap_or_else(|| format!("({})", row.target));
        lines.push([vec![row.baseline.to_owned()], theirs.to_vec(), vec![comment]].concat());
    }
    table(&lines)
}

/// The machine, as far as it explains the figures.
pub(crate) fn machine() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim())
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kib = memory.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    json!({
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model,
        "kernel": kernel.trim(),
        "architecture": std::env::consts::ARCH,
        "memory_bytes": total_kib.map(|kib| kib * 1_024),
        "brig": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &'static str, millis: &[u64]) -> Figures {
        Figures::new(
            name,
            None,
            millis.iter().copied().map(Duration::from_millis).collect(),
            Some(10.0),
        )
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<u64> = (1..=100).rev().collect();
        let figures = figures("a", &times);
        assert_eq!((figures.p50_ms, figures.p95_ms), (Some(50.0), Some(95.0)));
        assert_eq!(Figures::new("a", None, vec![], None).p50_ms, None);
    }

    #[test]
    fn the_ratio_is_ours_by_theirs() {
        let rows = Row::all(&[figures("oneshot_fresh", &[12]), figures("bare_python", &[8])]);
        let object = serde_json::to_value(&rows).unwrap();
        let expected = json!([{
            "name": "oneshot_fresh", "baseline": "bare_python", "p50_ms": 12.0, "p95_ms": 12.0, "per_second": 10.0,
            "baseline_p50_ms": 8.0, "baseline_p95_ms": 8.0, "baseline_per_second": 10.0, "ratio": 1.5,
            "target": "at most 1.5", "runs": 1, "note": null
        }]);
        assert_eq!(object, expected);
    }

    #[test]
    fn our_containers_are_compared_with_docker_run_and_are_no_baseline() {
        let all = [
            figures("oneshot_fresh", &[12]),
            figures("docker_run", &[100]),
            figures("docker_cold", &[105]),
            figures("docker_warm", &[10]),
        ];
        let rows = Row::all(&all);
        let ratios: Vec<_> = rows
            .iter()
            .map(|row| (row.name, row.baseline, row.ratio, row.target))
            .collect();
        let expected = [
            ("oneshot_fresh", "docker_run", Some(0.12), "below 1"),
            ("docker_cold", "docker_run", Some(1.05), "at most 1.10"),
            ("docker_warm", "docker_run", Some(0.1), "at most 0.15"),
        ];
        assert_eq!(ratios, expected);
    }

    #[test]
    fn a_baseline_that_is_not_installed_says_so() {
        let absent = Figures::new("docker_run", Some("not installed".into()), vec![], None);
        let rows = Row::all(&[figures("oneshot_fresh", &[12]), absent]);
        assert_eq!(rows[0].ratio, None);
        assert!(as_text(&rows).contains("not installed"));
    }
}
