//! Durations and points in time.

use super::field::InvalidFields;
use brig_core::Timestamp;
use std::time::Duration;

/// The most that `google.protobuf.Duration` may hold: about 10,000 years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;
/// 9999-12-31T23:59:59Z and 0001-01-01T00:00:00Z, the bounds of `google.protobuf.Timestamp`.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS_PER_SECOND: i32 = 1_000_000_000;
const NANOS_PER_MILLI: i32 = 1_000_000;

/// A span of time that is not negative.
pub(crate) fn duration(wire: prost_types::Duration) -> Result<Duration, InvalidFields> {
    let prost_types::Duration { seconds, nanos } = wire;
    if seconds < 0 || nanos < 0 {
        return Err(InvalidFields::one("", "must not be negative"));
    }
    if seconds > DURATION_SECONDS_MAX || nanos >= NANOS_PER_SECOND {
        return Err(InvalidFields::one(
            "",
            "is out of the range of google.protobuf.Duration",
        ));
    }
    // Both are not negative and nanos are below a second: the absolute values are the values.
    Ok(Duration::new(seconds.unsigned_abs(), nanos.unsigned_abs()))
}

/// The wire's form; spans that it cannot hold become the longest that it can.
pub(crate) fn duration_to_wire(span: Duration) -> prost_types::Duration {
    match i64::try_from(span.as_secs()) {
        Ok(seconds) if seconds <= DURATION_SECONDS_MAX => prost_types::Duration {
            seconds,
            // Below a second, so it fits.
            nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
        },
        Ok(_) | Err(_) => prost_types::Duration {
            seconds: DURATION_SECONDS_MAX,
            nanos: 0,
        },
    }
}

/// A point in time; what is finer than a millisecond is dropped.
pub(crate) fn timestamp(wire: prost_types::Timestamp) -> Result<Timestamp, InvalidFields> {
    let prost_types::Timestamp { seconds, nanos } = wire;
    if !TIMESTAMP_SECONDS.contains(&seconds) || !(0..NANOS_PER_SECOND).contains(&nanos) {
        return Err(InvalidFields::one(
            "",
            "is out of the range of google.protobuf.Timestamp",
        ));
    }
    Ok(Timestamp::from_millis(
        seconds * 1_000 + i64::from(nanos / NANOS_PER_MILLI),
    ))
}

/// The wire's form; points that it cannot hold become the nearest that it can.
pub(crate) fn timestamp_to_wire(time: Timestamp) -> prost_types::Timestamp {
    let millis = time.as_millis();
    let seconds = millis
        .div_euclid(1_000)
        .clamp(*TIMESTAMP_SECONDS.start(), *TIMESTAMP_SECONDS.end());
    // Below 1000, so it fits.
    let rest = i32::try_from(millis.rem_euclid(1_000)).unwrap_or(0);
    prost_types::Timestamp {
        seconds,
        nanos: rest * NANOS_PER_MILLI,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_span_up_to_the_most_survives(seconds in 0..=DURATION_SECONDS_MAX.unsigned_abs(), nanos in 0u32..1_000_000_000) {
            prop_assume!(seconds < DURATION_SECONDS_MAX.unsigned_abs() || nanos == 0);
            let span = Duration::new(seconds, nanos);
            prop_assert_eq!(duration(duration_to_wire(span)), Ok(span));
        }

        #[test]
        fn every_point_in_time_survives(millis in -62_135_596_800_000i64..253_402_300_799_999) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(timestamp(timestamp_to_wire(time)), Ok(time));
        }

        #[test]
        fn no_wire_value_panics(seconds: i64, nanos: i32) {
            let whole = (0..NANOS_PER_SECOND).contains(&nanos);
            let span = duration(prost_types::Duration { seconds, nanos });
            prop_assert_eq!(span.is_ok(), whole && (0..=DURATION_SECONDS_MAX).contains(&seconds));
            let time = timestamp(prost_types::Timestamp { seconds, nanos });
            prop_assert_eq!(time.is_ok(), whole && TIMESTAMP_SECONDS.contains(&seconds));
        }
    }

    #[test]
    fn a_negative_span_is_refused_and_an_endless_one_shortened() {
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (1, -1),
            (i64::MIN, 0),
            (i64::MAX, 0),
            (0, i32::MAX),
        ] {
            assert!(
                duration(prost_types::Duration { seconds, nanos }).is_err(),
                "{seconds} {nanos}"
            );
        }
        assert!(duration(duration_to_wire(Duration::MAX)).is_ok());
        assert!(timestamp(timestamp_to_wire(Timestamp::from_millis(i64::MIN))).is_ok());
    }
}
