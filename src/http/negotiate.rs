//! What a client can read (RFC 9110, 12.5): content codings, media types and languages.

use ::http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderMap};

use super::field::{WEIGHT_MAX, elements, parameter, split, weight};

/// A content coding (RFC 9110, 8.4.1). The order is the one in which equal weights are decided, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br` (RFC 7932). This server makes none; it sends a file that was compressed before.
    Brotli,
    /// `gzip`.
    Gzip,
    /// The bytes as they are; it is never named in `Content-Encoding`.
    Identity,
}

impl Coding {
    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    /// The coding of that name, in any case; `x-gzip` is `gzip` (RFC 9110, 8.4.1.3).
    pub fn by_name(name: &[u8]) -> Option<Self> {
        let all = [Self::Zstd, Self::Brotli, Self::Gzip, Self::Identity];
        let is_old = name.eq_ignore_ascii_case(b"x-gzip");
        if is_old { Some(Self::Gzip) } else { all.into_iter().find(|c| name.eq_ignore_ascii_case(c.name().as_bytes())) }
    }
}

/// The coding in which a client gets its answer; `None` if it takes none of them, and no identity either.
///
/// `available` are those that this answer can have, besides identity. Without `Accept-Encoding` it is identity. An
/// element that cannot be read is ignored.
pub fn codings(headers: &HeaderMap, available: &[Coding]) -> Option<Coding> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return Some(Coding::Identity);
    }
    let accepted: Vec<(&[u8], u16)> = elements(headers, &ACCEPT_ENCODING).filter_map(weighted).collect();
    let any = accepted.iter().find(|(name, _)| *name == b"*").map(|(_, weight)| *weight);
    let weight_of = |coding: Coding| {
        let named = accepted.iter().find(|(name, _)| Coding::by_name(name) == Some(coding));
        named.map(|(_, weight)| *weight).or(any)
    };
    let offered = available.iter().copied().filter(|coding| *coding != Coding::Identity);
    let candidates = offered.filter_map(|coding| Some((weight_of(coding)?, coding)));
    let best = candidates.filter(|(weight, _)| *weight > 0).max_by(|(left, left_coding), (right, right_coding)| {
        left.cmp(right).then_with(|| right_coding.cmp(left_coding))
    });
    match (best, weight_of(Coding::Identity)) {
        // Identity that is not named is acceptable (12.5.3), but any coding that is named is wanted more.
        (Some((_, coding)), None | Some(0)) => Some(coding),
        (Some((weight, coding)), Some(identity)) => Some(if weight >= identity { coding } else { Coding::Identity }),
        (None, Some(0)) => None,
        (None, _) => Some(Coding::Identity),
    }
}

/// An element's name and weight; `None` if it has parameters other than one good weight.
fn weighted(element: &[u8]) -> Option<(&[u8], u16)> {
    let mut pieces = split(element, b';');
    let name = pieces.next().filter(|name| !name.is_empty())?;
    let weight = pieces.next().map_or(Some(WEIGHT_MAX), weight_in)?;
    pieces.next().is_none().then_some((name, weight))
}

/// The weight of a parameter `q=…`.
fn weight_in(piece: &[u8]) -> Option<u16> {
    let (name, value) = parameter(piece)?;
    name.eq_ignore_ascii_case(b"q").then(|| weight(value)).flatten()
}

/// Which of the media types in `offered` a client wants most, by its place; among equals the first. `None` if it takes
/// none of them.
///
/// Without `Accept` it is the first. An element that cannot be read is ignored. An offered type is its name without
/// parameters; a range with parameters other than `charset` means something else and never matches.
pub fn media(headers: &HeaderMap, offered: &[&str]) -> Option<usize> {
    if !headers.contains_key(ACCEPT) {
        return (!offered.is_empty()).then_some(0);
    }
    let ranges: Vec<MediaRange<'_>> = elements(headers, &ACCEPT).filter_map(MediaRange::parse).collect();
    let weight_of = |name: &str| {
        // The most specific range that matches decides, whatever its weight (12.5.1); among equals the last.
        let matching = ranges.iter().filter_map(|range| Some((range.specificity(name)?, range.weight)));
        matching.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, weight)| weight)
    };
    let weights = offered.iter().map(|name| weight_of(name)).enumerate().filter(|(_, weight)| *weight > 0);
    // `max_by_key` takes the last of equals.
    weights.rev().max_by_key(|(_, weight)| *weight).map(|(at, _)| at)
}

/// The language ranges of a client (RFC 9110, 12.5.4; RFC 4647, 2.1) in lower case, the one wanted most first, without
/// those that it does not want. An element that cannot be read is ignored.
pub fn languages(headers: &HeaderMap) -> Vec<String> {
    let mut ranges: Vec<(&[u8], u16)> = elements(headers, &ACCEPT_LANGUAGE).filter_map(weighted).collect();
    ranges.retain(|(_, weight)| *weight > 0);
    // A stable sort: among equals the first is wanted most.
    ranges.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    ranges.into_iter().map(|(range, _)| String::from_utf8_lossy(range).to_ascii_lowercase()).collect()
}

/// A media range of `Accept` and its weight.
struct MediaRange<'h> {
    kind: &'h [u8],
    subtype: &'h [u8],
    weight: u16,
}

impl<'h> MediaRange<'h> {
    fn parse(element: &'h [u8]) -> Option<Self> {
        let mut pieces = split(element, b';');
        let range = pieces.next()?;
        let at = range.iter().position(|byte| *byte == b'/')?;
        let (kind, from_slash) = range.split_at(at);
        let mut weight = WEIGHT_MAX;
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let (name, _) = parameter(piece)?;
            if name.eq_ignore_ascii_case(b"q") {
                weight = weight_in(piece)?;
            } else if !name.eq_ignore_ascii_case(b"charset") {
                return None;
            }
        }
        Some(Self { kind, subtype: from_slash.split_at(1).1, weight })
    }

    /// How closely the range describes `name`; `None` if it does not.
    fn specificity(&self, name: &str) -> Option<u8> {
        let (kind, subtype) = name.split_once('/')?;
        match (self.kind, self.subtype) {
            (b"*", b"*") => Some(0),
            (own, b"*") => own.eq_ignore_ascii_case(kind.as_bytes()).then_some(1),
            (own, own_subtype) => {
                let is_same = own.eq_ignore_ascii_case(kind.as_bytes());
                (is_same && own_subtype.eq_ignore_ascii_case(subtype.as_bytes())).then_some(2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::Coding::{Brotli, Gzip, Identity, Zstd};
    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn the_coding_is_the_one_wanted_most() {
        let made: &[Coding] = &[Gzip, Zstd];
        for (clause, lines, available, want) in [
            ("12.5.3: no field", &[][..], made, Some(Identity)),
            ("12.5.3: an empty field", &[""], made, Some(Identity)),
            ("12.5.3: one coding", &["gzip"], made, Some(Gzip)),
            ("12.5.3: what browsers send", &["gzip, deflate, br, zstd"], made, Some(Zstd)),
            ("12.5.3: a sibling compressed before", &["gzip, deflate, br"], &[Gzip, Brotli], Some(Brotli)),
            ("12.5.3: zstd before br", &["br, zstd"], &[Brotli, Zstd], Some(Zstd)),
            ("12.5.3: the weight decides", &["zstd;q=0.5, gzip;q=0.8"], made, Some(Gzip)),
            ("12.5.3: a weight of one thousandth", &["zstd;q=0.001"], made, Some(Zstd)),
            ("12.5.3: any coding", &["*"], made, Some(Zstd)),
            ("12.5.3: any but zstd", &["zstd;q=0, *"], made, Some(Gzip)),
            ("12.5.3: not gzip", &["gzip;q=0"], made, Some(Identity)),
            ("12.5.3: the RFC's compress, gzip", &["compress, gzip"], made, Some(Gzip)),
            ("12.5.3: the RFC's compress;q=0.5, gzip;q=1.0", &["compress;q=0.5, gzip;q=1.0"], made, Some(Gzip)),
            (
                "12.5.3: the RFC's gzip;q=1.0, identity; q=0.5, *;q=0",
                &["gzip;q=1.0, identity; q=0.5, *;q=0"],
                made,
                Some(Gzip),
            ),
            ("12.5.3: identity wanted more", &["gzip;q=0.5, identity"], made, Some(Identity)),
            ("12.5.3: identity wanted as much", &["gzip, identity"], made, Some(Gzip)),
            ("12.5.3: identity not named is acceptable", &["deflate"], made, Some(Identity)),
            ("12.5.3: no identity", &["identity;q=0"], made, None),
            ("12.5.3: no identity, but gzip", &["gzip;q=0.1, identity;q=0"], made, Some(Gzip)),
            ("12.5.3: nothing at all", &["*;q=0"], made, None),
            ("12.5.3: nothing but identity", &["identity, *;q=0"], made, Some(Identity)),
            ("12.5.3: gzip is not to be had", &["gzip"], &[], Some(Identity)),
            ("12.5.3: gzip is not to be had, nor identity", &["gzip, identity;q=0"], &[], None),
            ("8.4.1: names are case-insensitive", &["GZip"], made, Some(Gzip)),
            ("8.4.1.3: x-gzip", &["x-gzip"], made, Some(Gzip)),
            ("5.3: several lines are one list", &["gzip;q=0.5", "zstd;q=0.1"], made, Some(Gzip)),
            ("12.4.2: a weight that is none", &["gzip;q=high, zstd;q=2"], made, Some(Identity)),
            ("12.4.2: blanks around the semicolon", &["gzip ; q=1"], made, Some(Gzip)),
            ("12.4.2: no blanks around the equals sign", &["gzip;q = 1"], made, Some(Identity)),
        ] {
            let headers = headers(&ACCEPT_ENCODING, lines);
            assert_eq!(codings(&headers, available), want, "RFC 9110, {clause}: {lines:?}");
        }
    }

    #[test]
    fn the_media_type_is_the_one_wanted_most() {
        let list: &[&str] = &["text/html", "application/json", "text/plain"];
        for (clause, lines, offered, want) in [
            ("12.5.1: no field", &[][..], list, Some(0)),
            ("12.5.1: curl", &["*/*"], list, Some(0)),
            ("12.5.1: a browser", &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], list, Some(0)),
            ("12.5.1: one type", &["application/json"], list, Some(1)),
            ("12.5.1: one type, with charset", &["application/json; charset=utf-8"], list, Some(1)),
            ("12.5.1: the weight decides", &["text/html;q=0.5, text/plain;q=0.7"], list, Some(2)),
            ("12.5.1: any text", &["text/*"], list, Some(0)),
            ("12.5.1: the more specific decides", &["text/*, text/html;q=0.1"], list, Some(2)),
            ("12.5.1: the more specific decides, whatever its place", &["text/html;q=0, */*"], list, Some(1)),
            ("12.5.1: the RFC's example", &["audio/*; q=0.2, audio/basic"], &["audio/mp3", "audio/basic"], Some(1)),
            (
                "12.5.1: the RFC's plain text",
                &["text/plain; q=0.5, text/html, text/x-dvi; q=0.8, text/x-c"],
                list,
                Some(0),
            ),
            ("12.5.1: parameters mean another type", &["text/html;level=1, text/plain"], list, Some(2)),
            ("12.5.1: nothing of it", &["image/png"], list, None),
            ("12.5.1: nothing at all", &["*/*;q=0"], list, None),
            ("12.5.1: an empty field", &[""], list, None),
            ("12.5.1: not a range", &["*", "html", "/"], list, None),
            ("8.3.1: names are case-insensitive", &["Text/Plain"], list, Some(2)),
            ("5.3: several lines are one list", &["text/html;q=0.1", "text/plain"], list, Some(2)),
            ("12.4.2: a weight that is none", &["text/html;q=x, text/plain;q=0.1"], list, Some(2)),
            ("5.6.4: a comma in quotes", &["text/html;a=\"b, text/plain\", application/json"], list, Some(1)),
            ("12.5.1: nothing is offered", &["*/*"], &[], None),
        ] {
            assert_eq!(media(&headers(&ACCEPT, lines), offered), want, "RFC 9110, {clause}: {lines:?}");
        }
    }

    #[test]
    fn languages_are_in_the_order_of_their_weights() {
        for (clause, lines, want) in [
            ("RFC 9110, 12.5.4: no field", &[][..], ""),
            ("RFC 9110, 12.5.4: the RFC's example", &["da, en-gb;q=0.8, en;q=0.7"], "da en-gb en"),
            ("RFC 9110, 12.4.2: the weight decides", &["en;q=0.5, zh-CN"], "zh-cn en"),
            ("RFC 9110, 12.4.2: not wanted", &["en;q=0, zh"], "zh"),
            ("RFC 9110, 5.3: several lines are one list", &["en;q=0.1", "zh"], "zh en"),
            ("RFC 4647, 2.1: any", &["*"], "*"),
            ("RFC 9110, 12.4.2: a weight that is none", &["zh;q=x, en"], "en"),
        ] {
            assert_eq!(languages(&headers(&ACCEPT_LANGUAGE, lines)).join(" "), want, "{clause}: {lines:?}");
        }
    }

    proptest! {
        #[test]
        fn any_field_is_answered(
            text in "[a-z*/;=q.01, \"]{0,60}",
            gzip in "(gzip|\\*|identity|zstd)?(;q=[01](\\.[0-9]{0,3})?)?",
        ) {
            let all = [Zstd, Gzip];
            for text in [&text, &gzip, &format!("{gzip}, {text}")] {
                let Ok(value) = HeaderValue::from_str(text) else { continue };
                let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value.clone()), (ACCEPT, value)]);
                let coding = codings(&headers, &all);
                prop_assert!(coding.is_none_or(|coding| coding == Identity || all.contains(&coding)));
                prop_assert!(media(&headers, &["a/b", "c/d"]).is_none_or(|at| at < 2));
            }
        }
    }
}
