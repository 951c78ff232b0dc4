//! Names of hosts with numbers in brackets, `db[1-3]`, expanded and folded.

use std::collections::BTreeMap;

use super::host_lists::HostListError;

/// Hosts that one list may stand for.
const HOSTS_MAX: usize = 100_000;
/// Longest number in brackets, in digits, zeros in front included: what a u64 can have.
const DIGITS_MAX: usize = 20;

/// The words of a list, each of which is a group or goes to [`expand_word`].
///
/// # Errors
/// The brackets do not match.
pub(super) fn words(list: &str) -> Result<Vec<&str>, HostListError> {
    let words = split_outside_brackets(list)?;
    Ok(words.into_iter().map(str::trim).filter(|word| !word.is_empty()).collect())
}

/// At commas that stand in no brackets.
fn split_outside_brackets(list: &str) -> Result<Vec<&str>, HostListError> {
    let (mut words, mut start, mut is_inside) = (Vec::new(), 0, false);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'[' if !is_inside => is_inside = true,
            b']' if is_inside => is_inside = false,
            b'[' | b']' => return Err(HostListError(format!("{list}: a bracket stands in another, or alone"))),
            b',' if !is_inside => {
                words.push(list.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if is_inside {
        return Err(HostListError(format!("{list}: a bracket is not closed")));
    }
    words.push(list.get(start..).unwrap_or_default());
    Ok(words)
}

/// Adds the hosts that one word stands for. Brackets with colons in them hold an IPv6 address, all others numbers.
///
/// # Errors
/// The brackets hold no numbers, or there are too many hosts.
pub(super) fn expand_word(word: &str, hosts: &mut Vec<String>) -> Result<(), HostListError> {
    let mut found = vec![String::new()];
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once('[') {
        let (inside, after) = behind.split_once(']').unwrap_or((behind, ""));
        let values = if inside.contains(':') { vec![format!("[{inside}]")] } else { numbers(word, inside)? };
        if found.len().saturating_mul(values.len()) + hosts.len() > HOSTS_MAX {
            return Err(HostListError(format!("{word}: stands for over {HOSTS_MAX} hosts")));
        }
        found =
            found.iter().flat_map(|head| values.iter().map(move |value| format!("{head}{before}{value}"))).collect();
        rest = after;
    }
    hosts.extend(found.into_iter().map(|head| head + rest));
    Ok(())
}

/// `1-3,7`, `01-12`, `0-100/5`: the first number's zeros in front are kept.
fn numbers(word: &str, inside: &str) -> Result<Vec<String>, HostListError> {
    let wrong =
        || HostListError(format!("{word}: [{inside}] is no list of numbers; write it like [1-3,7] or [0-100/5]"));
    let mut values = Vec::new();
    for range in inside.split(',') {
        let (range, step) = match range.split_once('/') {
            // One number has no steps.
            Some((range, step)) if range.contains('-') => (range, step),
            Some(_) => return Err(wrong()),
            None => (range, "1"),
        };
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let is_number =
            |text: &str| (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(from) || !is_number(to) || !is_number(step) {
            return Err(wrong());
        }
        let (Ok(first), Ok(last), Ok(step)) = (from.parse::<u64>(), to.parse::<u64>(), step.parse::<u64>()) else {
            return Err(wrong());
        };
        if last < first {
            return Err(HostListError(format!("{word}: [{inside}] counts downwards")));
        }
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        if step == 0 {
            return Err(HostListError(format!("{word}: [{inside}] has steps of 0")));
        }
        if (last - first) / step as u64 >= HOSTS_MAX as u64 {
            return Err(HostListError(format!("{word}: stands for over {HOSTS_MAX} hosts")));
        }
        values.extend((first..=last).step_by(step).map(|number| format!("{number:0width$}", width = from.len())));
    }
    Ok(values)
}

/// The shortest list of these hosts: names that differ only in their last number share a pair of brackets.
pub fn fold(hosts: &[String]) -> String {
    // By what stands around the last number, and its digits if it has zeros in front.
    let mut groups: BTreeMap<(&str, &str, usize), Vec<u64>> = BTreeMap::new();
    let mut plain = Vec::new();
    for host in hosts {
        match around_last_number(host) {
            Some((before, number, behind)) => {
                let width = if number.starts_with('0') { number.len() } else { 0 };
                let number = number.parse().unwrap_or(0);
                groups.entry((before, behind, width)).or_default().push(number);
            }
            None => plain.push(host.clone()),
        }
    }
    let folded = groups.into_iter().map(|((before, behind, width), mut numbers)| {
        numbers.sort_unstable();
        numbers.dedup();
        let shown = |number: u64| format!("{number:0width$}");
        match numbers.as_slice() {
            [only] => format!("{before}{}{behind}", shown(*only)),
            _ => format!("{before}[{}]{behind}", ranges(&numbers, &shown)),
        }
    });
    plain.extend(folded);
    plain.join(",")
}

fn ranges(numbers: &[u64], shown: &dyn Fn(u64) -> String) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let one = |(first, last): &(u64, u64)| {
        if first == last { shown(*first) } else { format!("{}-{}", shown(*first), shown(*last)) }
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(",")
}

/// A number that would not fit, or that is part of an address, is text.
fn around_last_number(host: &str) -> Option<(&str, &str, &str)> {
    let is_address = host.contains(':') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let end = host.bytes().rposition(|byte| byte.is_ascii_digit()).filter(|_| !is_address)? + 1;
    let start = host.get(..end)?.bytes().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    let number = host.get(start..end).filter(|number| number.len() < 18)?;
    Some((host.get(..start)?, number, host.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(list: &str) -> Result<Vec<String>, HostListError> {
        crate::trust::host_lists::expand(list, &BTreeMap::new())
    }

    #[test]
    fn lists_stand_for_hosts() {
        for (list, want) in [
            ("a", &["a"][..]),
            (" a , b,,c ", &["a", "b", "c"]),
            ("web[1-3]", &["web1", "web2", "web3"]),
            ("web[1,3-4].example,db", &["web1.example", "web3.example", "web4.example", "db"]),
            ("n[08-11]", &["n08", "n09", "n10", "n11"]),
            ("w[0-20/5,7]", &["w0", "w5", "w10", "w15", "w20", "w7"]),
            ("w[00-9/4]", &["w00", "w04", "w08"]),
            ("w[3-3/9]", &["w3"]),
            ("w[0-9000000/3000000]", &["w0", "w3000000", "w6000000", "w9000000"]),
            ("r[1-2]n[1-2]", &["r1n1", "r1n2", "r2n1", "r2n2"]),
            ("[::1]:7000,h[1-2]:7000", &["[::1]:7000", "h1:7000", "h2:7000"]),
            ("tcp://127.0.0.1:[7000-7001]", &["tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001"]),
        ] {
            assert_eq!(expand(list).unwrap(), want, "{list}");
        }
        for list in [
            "a[",
            "a]",
            "a[[1]]",
            "a[]",
            "a[x]",
            "a[1-]",
            "a[1-9/]",
            "a[1-9/0]",
            "a[1/2]",
            "a[1-9/2/2]",
            "a[1-9/-2]",
            "a[0-1000000/2]",
            "a[3-1]",
            "a[1-9999999]",
            "a[1-99999999999999999999]",
            "a[0-999][0-999]",
            &format!("a[{}]", "0".repeat(70_000)),
        ] {
            assert!(expand(list).is_err(), "{list}");
        }
    }

    #[test]
    fn and_back() {
        let fold = |hosts: &[&str]| fold(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
        assert_eq!(fold(&["web1", "web3", "web2", "db"]), "db,web[1-3]");
        assert_eq!(fold(&["web1"]), "web1");
        assert_eq!(fold(&["n08", "n09", "n10"]), "n10,n[08-09]");
        assert_eq!(fold(&["a1.x", "a3.x", "a1.y"]), "a[1,3].x,a1.y");
        assert_eq!(fold(&["127.0.0.1", "127.0.0.2", "h:7000", "[::1]:7001"]), "127.0.0.1,127.0.0.2,h:7000,[::1]:7001");
        assert_eq!(fold(&[]), "");
    }

    proptest::proptest! {
        #[test]
        fn what_was_folded_stands_for_the_same(numbers in proptest::collection::btree_set(0..2_000_u32, 0..50)) {
            let hosts: Vec<String> = numbers.iter().map(|number| format!("web{number}.example")).collect();
            let mut again = expand(&fold(&hosts)).unwrap();
            again.sort();
            let mut hosts = hosts;
            hosts.sort();
            proptest::prop_assert_eq!(again, hosts);
        }
    }
}
