//! How sure a share is: Wilson's score interval at 95 %.
//!
//! It keeps within 0 and 1 and is honest for few shutdowns: three of three is "at least 44 %", not "all".

/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Lower and upper end for `part` of `whole`; none of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 shutdowns differ by nothing that is printed")]
pub(super) fn wilson(part: u64, whole: u64) -> Option<(f64, f64)> {
    if whole == 0 {
        return None;
    }
    let n = whole as f64;
    let share = part.min(whole) as f64 / n;
    let z2 = Z * Z;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let reach = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // At both ends the exact value is the end itself, and only rounding says otherwise.
    let low = if part == 0 { 0.0 } else { (centre - reach).max(0.0) };
    let high = if part >= whole { 1.0 } else { (centre + reach).min(1.0) };
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: Option<(f64, f64)>, low: f64, high: f64) {
        let (l, h) = found.unwrap();
        assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{l} {h}");
    }

    #[test]
    fn known_intervals() {
        // Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        close(wilson(81, 263), 0.2553, 0.3662);
        close(wilson(15, 148), 0.0624, 0.1605);
        close(wilson(0, 20), 0.0, 0.1611);
        close(wilson(1, 29), 0.0061, 0.1718);
        close(wilson(3, 3), 0.4385, 1.0);
        assert_eq!(wilson(0, 0), None);
    }

    proptest! {
        #[test]
        fn the_share_is_inside_and_more_shutdowns_make_it_narrower(part in 0_u64..1000, more in 0_u64..1000) {
            let whole = part + more + 1;
            let (low, high) = wilson(part, whole).unwrap();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let share = part as f64 / whole as f64;
            prop_assert!((0.0..=share).contains(&low) && (share..=1.0).contains(&high));
            let (wider_low, wider_high) = wilson(part * 10, whole * 10).unwrap();
            prop_assert!(wider_high - wider_low <= high - low + 1e-12);
        }
    }
}
