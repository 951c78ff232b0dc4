//! Numbers and times as digits, without the machinery of formatting: a long list has hundreds of thousands of them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// The time in UTC.
pub(in crate::http) fn utc(ns: i64) -> DateTime {
    // All of them are years of four digits.
    Offset::UTC.to_datetime(Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default())
}

/// Text that can be appended to.
pub(in crate::http) trait Text {
    fn push_digit(&mut self, digit: u8);
}

impl Text for String {
    fn push_digit(&mut self, digit: u8) {
        self.push(char::from(digit));
    }
}

impl Text for Vec<u8> {
    fn push_digit(&mut self, digit: u8) {
        self.push(digit);
    }
}

/// Appends a number.
pub(in crate::http) fn push_number(number: u64, to: &mut impl Text) {
    let (mut digits, mut rest, mut first) = ([0; 20], number, 20);
    loop {
        first -= 1;
        if let (Some(digit), Ok(value)) = (digits.get_mut(first), u8::try_from(rest % 10)) {
            *digit = b'0' + value;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits.iter().skip(first).for_each(|digit| to.push_digit(*digit));
}

/// Appends date and time of day to the minute: `2026-11-27 19:46`, with `between` in the middle.
pub(in crate::http) fn push_minute(time: DateTime, between: u8, to: &mut impl Text) {
    let mut push = |number: i16, digits: [i16; 4], before: u8| {
        if before != 0 {
            to.push_digit(before);
        }
        for place in digits.into_iter().filter(|place| *place > 0) {
            to.push_digit(b'0' + u8::try_from(number / place % 10).unwrap_or(0));
        }
    };
    push(time.year(), [1000, 100, 10, 1], 0);
    for (number, before) in [(time.month(), b'-'), (time.day(), b'-'), (time.hour(), between), (time.minute(), b':')] {
        push(i16::from(number), [0, 0, 10, 1], before);
    }
}

/// The same to the second.
pub(in crate::http) fn push_second(time: DateTime, between: u8, to: &mut impl Text) {
    push_minute(time, between, to);
    let second = u8::try_from(time.second()).unwrap_or(0);
    for digit in [b':', b'0' + second / 10, b'0' + second % 10] {
        to.push_digit(digit);
    }
}

/// Appends a time as RFC 3339 has it, with as many digits behind the second as it needs.
pub(super) fn push_rfc_3339(ns: i64, to: &mut Vec<u8>) {
    let time = utc(ns);
    push_second(time, b'T', to);
    let mut fraction = u32::try_from(time.subsec_nanosecond()).unwrap_or(0);
    if fraction > 0 {
        to.push_digit(b'.');
        let mut place = 100_000_000;
        while fraction > 0 {
            to.push_digit(b'0' + u8::try_from(fraction / place).unwrap_or(0));
            fraction %= place;
            place /= 10;
        }
    }
    to.push_digit(b'Z');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_of_the_library(number: u64, ns: i64, whole in 0..4_u32) {
            let ns = ns / 1_000_i64.pow(whole) * 1_000_i64.pow(whole);
            let mut text = String::new();
            push_number(number, &mut text);
            prop_assert_eq!(text, number.to_string());
            let mut text = Vec::new();
            push_rfc_3339(ns, &mut text);
            let time = Timestamp::from_nanosecond(i128::from(ns)).unwrap();
            prop_assert_eq!(String::from_utf8(text).unwrap(), time.to_string());
            let mut text = String::new();
            push_minute(utc(ns), b' ', &mut text);
            prop_assert_eq!(text, time.strftime("%Y-%m-%d %H:%M").to_string());
        }
    }
}
