//! How times are distributed, drawn with characters: a row for each stretch of time, on a logarithmic scale.

use std::time::Duration;

use crate::histogram::Histogram;

/// Rows of a chart: it fits on a screen, with the figures above it.
const ROWS_MAX: usize = 18;
/// The longest bar, in columns.
const BAR_LEN: u32 = 40;
/// Where rows begin, in tenths and for each power of ten: finer steps as long as they fit.
const SCALES: [&[u64]; 4] = [&[10, 15, 20, 30, 50, 70], &[10, 20, 50], &[10, 30], &[10]];

/// One row: times from `from` on, below `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    from: u64,
    until: u64,
    count: u64,
}

/// The chart of `times`, a line each row. Empty without times.
pub(super) fn chart(times: &Histogram) -> String {
    let rows = rows(times);
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0).max(1);
    let line = |Row { from, until, count }: Row| {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let percent = count as f64 * 100.0 / times.count().max(1) as f64;
        let (from, until, bar) = (time(from), time(until), bar(count, most));
        format!("{from:>7} - {until:<7} {count:>10} {percent:>6.2} %  {bar}").trim_end().to_owned() + "\n"
    };
    rows.into_iter().map(line).collect()
}

fn rows(times: &Histogram) -> Vec<Row> {
    let (Some(min), Some(max)) = (times.min(), times.max()) else { return Vec::new() };
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let edges = |scale: &[u64]| edges(ns(min), ns(max), scale);
    let found = SCALES.iter().map(|scale| edges(scale));
    let chosen = found.reduce(|finer, coarser| if finer.len() <= ROWS_MAX + 1 { finer } else { coarser });
    let chosen = chosen.unwrap_or_default();
    let mut rows: Vec<Row> = chosen
        .windows(2)
        .filter_map(|pair| Some(Row { from: *pair.first()?, until: *pair.last()?, count: 0 }))
        .collect();
    for (time, count) in times.recorded() {
        let at = rows.partition_point(|row| row.until <= ns(time)).min(rows.len().saturating_sub(1));
        rows.iter_mut().skip(at).take(1).for_each(|row| row.count += count);
    }
    rows
}

/// The edges of a scale from the last that is not above `min` to the first that is above `max`.
fn edges(min: u64, max: u64, scale: &[u64]) -> Vec<u64> {
    let mut edges = vec![0];
    'all: for power in 0..=19_u32 {
        for step in scale {
            let Some(edge) = 10_u64.checked_pow(power).and_then(|power| power.checked_mul(*step)).map(|edge| edge / 10)
            else {
                edges.push(u64::MAX);
                break 'all;
            };
            if edges.last() == Some(&edge) {
                continue;
            }
            if edge <= min {
                edges.clear();
            }
            edges.push(edge);
            if edge > max {
                break 'all;
            }
        }
    }
    edges
}

fn bar(count: u64, most: u64) -> String {
    let len = u128::from(count) * u128::from(BAR_LEN) / u128::from(most);
    match usize::try_from(len).unwrap_or(0) {
        0 if count > 0 => "▌".into(),
        len => "█".repeat(len),
    }
}

/// `70 µs`, `1.5 ms`, `20 s`.
fn time(ns: u64) -> String {
    let (unit, length) = [("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)]
        .into_iter()
        .find(|(_, length)| ns >= *length)
        .unwrap_or(("ns", 1));
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let value = ns as f64 / length as f64;
    format!("{value} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(ns: &[u64]) -> Histogram {
        let mut times = Histogram::default();
        for ns in ns {
            times.record(Duration::from_nanos(*ns));
        }
        times
    }

    #[test]
    fn a_few_times_are_a_few_rows() {
        assert_eq!(chart(&Histogram::default()), "");
        let drawn = chart(&of(&[20_000, 21_000, 29_999, 31_000, 70_000]));
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 4, "{drawn}");
        assert_eq!(lines[0], format!("  20 µs - 30 µs            3  60.00 %  {}", "█".repeat(40)));
        assert_eq!(lines[1], format!("  30 µs - 50 µs            1  20.00 %  {}", "█".repeat(13)));
        assert_eq!(lines[2], "  50 µs - 70 µs            0   0.00 %");
        assert!(lines[3].starts_with("  70 µs - 100 µs           1"), "{drawn}");
        let mut times = of(&[1_500_000; 1000]);
        times.record(Duration::from_secs(2));
        let drawn = chart(&times);
        assert!(drawn.lines().next().unwrap().starts_with("   1 ms - 2 ms  "), "{drawn}");
        assert!(drawn.lines().last().unwrap().ends_with("▌"), "{drawn}");
    }

    proptest! {
        #[test]
        fn every_time_has_its_row_and_the_chart_fits(ns in proptest::collection::vec(any::<u64>(), 1..50), shift in 0_u32..60) {
            let ns: Vec<u64> = ns.into_iter().map(|ns| ns >> shift).collect();
            let rows = rows(&of(&ns));
            prop_assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), ns.len() as u64);
            prop_assert!(rows.len() <= 21 && rows.iter().all(|row| row.from < row.until), "{:?}", rows);
            prop_assert!(rows[0].from <= *ns.iter().min().unwrap());
            prop_assert!(rows.windows(2).all(|pair| pair[0].until == pair[1].from));
        }
    }
}
