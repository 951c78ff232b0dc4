//! The code that introduces two machines: short enough to be read over a telephone, and too long to
//! be found in three guesses.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::printable::is_invisible;

/// Largest number that a code may begin with; the smallest is 1.
const NUMBER_MAX: u32 = 999;
/// A number of 999 (9.96 bits) and three words of 256 (8 bits each) are 33.96 bits: three guesses find
/// one code in 5,600 million.
const WORDS: [&str; 256] = [
    "acorn", "almond", "amber", "anchor", "apple", "apricot", "arrow", "artist", "autumn", "badge", "baker", "bamboo",
    "banana", "barley", "basket", "beacon", "beaver", "berry", "birch", "bishop", "blanket", "blossom", "bottle",
    "bridge", "bronze", "bucket", "button", "cabin", "cactus", "camel", "candle", "canoe", "canyon", "carbon",
    "carpet", "castle", "cedar", "cello", "chalk", "cherry", "chess", "chimney", "cider", "cinema", "circus", "clover",
    "cobalt", "coconut", "comet", "copper", "coral", "cotton", "cousin", "crane", "crayon", "cricket", "crystal",
    "cymbal", "daisy", "dancer", "desert", "diamond", "dolphin", "donkey", "dragon", "drummer", "eagle", "easel",
    "echo", "eleven", "ember", "engine", "envelope", "evening", "fabric", "falcon", "farmer", "feather", "ferry",
    "fiddle", "finger", "flute", "forest", "fossil", "fountain", "fox", "galaxy", "garden", "garlic", "gazelle",
    "ginger", "giraffe", "glacier", "glove", "goblin", "gondola", "granite", "grape", "guitar", "hammer", "harbor",
    "harvest", "hazel", "hedge", "helmet", "heron", "honey", "horizon", "hunter", "iceberg", "igloo", "indigo",
    "island", "ivory", "jacket", "jaguar", "jasmine", "jelly", "jigsaw", "juniper", "kayak", "kernel", "kettle",
    "kitchen", "kiwi", "koala", "ladder", "lagoon", "lamp", "lantern", "lemon", "leopard", "lilac", "linen", "lizard",
    "lobster", "lotus", "lunar", "magnet", "mango", "maple", "marble", "meadow", "melon", "mercury", "mirror",
    "monkey", "mosaic", "mountain", "mustard", "nectar", "needle", "nickel", "nomad", "nutmeg", "oasis", "oboe",
    "ocean", "olive", "onion", "opal", "orange", "orchid", "otter", "oyster", "paddle", "palace", "panda", "parrot",
    "peach", "pebble", "pelican", "pencil", "pepper", "piano", "pigeon", "pillow", "pirate", "planet", "plaster",
    "plum", "pocket", "polar", "poppy", "potato", "prairie", "pumpkin", "puzzle", "quarry", "quilt", "rabbit",
    "radish", "raisin", "raven", "ribbon", "river", "robin", "rocket", "rubber", "saddle", "saffron", "salmon",
    "satin", "saturn", "scarf", "season", "shadow", "silver", "sketch", "sleigh", "spider", "spinach", "sponge",
    "squirrel", "statue", "sugar", "sunset", "swallow", "tailor", "temple", "thimble", "thunder", "tiger", "timber",
    "tomato", "topaz", "tractor", "trumpet", "tulip", "tundra", "turtle", "umbrella", "unicorn", "valley", "vanilla",
    "velvet", "violin", "volcano", "voyage", "waffle", "walnut", "wander", "weasel", "whale", "whistle", "willow",
    "window", "winter", "wizard", "wolf", "yellow", "yogurt", "zebra", "zenith", "zigzag", "zipper",
];

/// A one-time code, such as `417-falcon-copper-lamp`. It is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Zeroizing<String>);

impl Code {
    /// A new code, from the kernel's random numbers.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = Zeroizing::new([0_u8; 7]);
        rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        let [a, b, c, d, words @ ..] = *bytes;
        // 2^32 is no multiple of 999; the bias is one part in four million.
        let number = u32::from_le_bytes([a, b, c, d]) % NUMBER_MAX + 1;
        let word = |at: u8| WORDS.get(usize::from(at)).copied().unwrap_or_default();
        let [first, second, third] = words.map(word);
        Ok(Self(Zeroizing::new(format!("{number}-{first}-{second}-{third}"))))
    }

    /// The code as it is typed; both ends use it as the password of the key exchange.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(...)")
    }
}

/// The text is no code; a typing error, which costs no guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCode {
    /// It does not have four parts.
    #[error(
        "that is not a code: it wants a number and three words, such as 417-falcon-copper-lamp, and this has {0} parts"
    )]
    Parts(usize),
    /// It does not begin with a number from 1 to 999.
    #[error("that is not a code: it begins with a number from 1 to {NUMBER_MAX}, and {0:?} is none")]
    Number(String),
    /// A word is not in the list.
    #[error("that is not a code: {word:?} is none of its words{}", nearest.map(|nearest| format!("; {nearest} is")).unwrap_or_default())]
    Word {
        /// The word.
        word: String,
        /// The word of the list that was probably meant; `None`: no word is similar enough.
        nearest: Option<&'static str>,
    },
}

/// Characters of a wrong word that an error message repeats.
const SAID_BACK_LEN_MAX: usize = 24;
/// Largest number of wrong letters in a word for which a similar word is suggested.
const SLIPS_MAX: usize = 2;

impl FromStr for Code {
    type Err = NoCode;

    /// Accepts a code as people type it and as messengers pass it on: any separators (spaces, any dash, quotes around
    /// it), capitals and full-width letters.
    fn from_str(text: &str) -> Result<Self, NoCode> {
        let text: Zeroizing<String> =
            Zeroizing::new(text.chars().filter_map(as_typed).flat_map(char::to_lowercase).collect());
        let parts: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
        let said_back = |part: &str| part.chars().take(SAID_BACK_LEN_MAX).collect::<String>();
        let [number, words @ ..] = parts.as_slice() else { return Err(NoCode::Parts(0)) };
        let value = number.parse::<u32>().ok().filter(|value| (1..=NUMBER_MAX).contains(value));
        let value = value.ok_or_else(|| NoCode::Number(said_back(number)))?;
        for word in words {
            if !WORDS.contains(word) {
                return Err(NoCode::Word { word: said_back(word), nearest: nearest(word) });
            }
        }
        if words.len() != 3 {
            return Err(NoCode::Parts(parts.len()));
        }
        Ok(Self(Zeroizing::new(format!("{value}-{}", words.join("-")))))
    }
}

/// A character as a keyboard has it; `None` for what is invisible (a zero-width space, a mark of direction, the hint
/// that a word may be broken after a dash).
fn as_typed(character: char) -> Option<char> {
    match character {
        // A soft hyphen between two words stands for the dash: it is visible where a line of text is broken.
        '\u{ad}' => Some('-'),
        invisible if is_invisible(invisible) => None,
        // Full-width forms, in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0),
        other => Some(other),
    }
}

/// The most similar word of the list; `None`: no word is similar enough, or several are equally similar. Each word is
/// determined by its first four letters.
fn nearest(word: &str) -> Option<&'static str> {
    let distance = |candidate: &str| {
        // The words are ASCII: a word whose fourth byte is half a character begins none of them.
        let is_begun = word.get(..4).is_some_and(|beginning| candidate.starts_with(beginning));
        let distance = strsim::osa_distance(word, candidate);
        if is_begun { distance.min(1) } else { distance }
    };
    let near = WORDS.iter().map(|candidate| (distance(candidate), *candidate));
    let mut near: Vec<_> = near.filter(|(distance, _)| *distance <= SLIPS_MAX).collect();
    near.sort_unstable();
    match near.as_slice() {
        [(_, only)] => Some(only),
        [(first, best), (second, _), ..] if first < second => Some(best),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_told_apart_by_their_first_four_letters() {
        let beginnings: HashSet<&str> = WORDS.iter().map(|word| word.get(..4).unwrap_or(word)).collect();
        assert_eq!(beginnings.len(), WORDS.len());
        let bits = f64::from(NUMBER_MAX).log2() + 3.0 * 256_f64.log2();
        assert!(bits >= 33.0, "{bits}");
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = Code::random().unwrap();
        for typed in [code.as_str().to_owned(), format!("  {}\n", code.as_str().to_uppercase().replace('-', " "))] {
            assert_eq!(typed.parse::<Code>().unwrap(), code);
        }
        let words: Vec<&str> = code.as_str().split('-').collect();
        // Every dash of Unicode (category Pd), the minus signs, and what else is taken for one.
        let dashes = "-\u{58a}\u{5be}\u{1400}\u{1806}\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{2e17}\u{2e1a}\
                      \u{2e3a}\u{2e3b}\u{2e40}\u{301c}\u{3030}\u{30a0}\u{fe31}\u{fe32}\u{fe58}\u{fe63}\u{ff0d}\u{2212}\u{207b}\
                      \u{208b}\u{2043}\u{2d7}\u{2500}\u{ad}\u{b7}\u{a0}\u{3000}\u{2009}_.,/ \t";
        for dash in dashes.chars() {
            assert_eq!(words.join(&dash.to_string()).parse::<Code>(), Ok(code.clone()), "{dash:?}");
        }
        for (between, around) in [
            (" - ", ""),
            ("--", ""),
            ("\u{2011}\u{200b}", ""),
            ("\u{200b}-", "\u{feff}"),
            ("-", "\""),
            ("-", "`"),
            ("-", "\u{201c}"),
            ("-", "**"),
            ("-", "\u{202a}"),
            ("-\u{34f}", "\u{3164}"),
            ("-\u{e0041}", "\u{ffa0}"),
        ] {
            let typed = format!("{around}{}{around}", words.join(between));
            assert_eq!(typed.parse::<Code>(), Ok(code.clone()), "{typed:?}");
        }
        let wide = |c: char| if c.is_ascii_alphanumeric() { char::from_u32(u32::from(c) + 0xfee0).unwrap() } else { c };
        assert_eq!(code.as_str().chars().map(wide).collect::<String>().parse::<Code>(), Ok(code));
    }

    #[test]
    fn what_is_wrong_with_a_code_is_said() {
        let word = |word: &str, nearest| NoCode::Word { word: word.into(), nearest };
        for (typed, why) in [
            ("", NoCode::Parts(0)),
            ("---", NoCode::Parts(0)),
            ("7", NoCode::Parts(1)),
            ("7-falcon-copper", NoCode::Parts(3)),
            ("7-falcon-copper-lamp-lamp", NoCode::Parts(5)),
            ("0-falcon-copper-lamp", NoCode::Number("0".into())),
            ("1000-falcon-copper-lamp", NoCode::Number("1000".into())),
            ("falcon-copper-lamp", NoCode::Number("falcon".into())),
            ("7-falcon-copper-limp", word("limp", Some("lamp"))),
            ("7-flacon-copper-lamp", word("flacon", Some("falcon"))),
            ("7-falc-copper-lamp", word("falc", Some("falcon"))),
            ("7-falcon-coppers-lamp", word("coppers", Some("copper"))),
            ("7-f\u{e4}lcon-copper-lamp", word("f\u{e4}lcon", Some("falcon"))),
            // Wherever the letter of two or three bytes stands.
            ("7-fal\u{e7}on-copper-lamp", word("fal\u{e7}on", Some("falcon"))),
            ("7-falcon-coppe\u{158}-lamp", word("coppe\u{159}", Some("copper"))),
            ("7-falcon-copper-la\u{4e00}p", word("la\u{4e00}p", Some("lamp"))),
            ("7-falcon-copper-lam\u{4e00}", word("lam\u{4e00}", Some("lamp"))),
            ("7-falconcopper-lamp", word("falconcopper", Some("falcon"))),
            ("7-xyzzy-b-c", word("xyzzy", None)),
            (&format!("7-{}", "x".repeat(1000)), word(&"x".repeat(SAID_BACK_LEN_MAX), None)),
        ] {
            assert_eq!(typed.parse::<Code>(), Err(why), "{typed}");
        }
        let said = "7-falcon-copper-limp".parse::<Code>().unwrap_err().to_string();
        assert_eq!(said, "that is not a code: \"limp\" is none of its words; lamp is");
    }

    #[test]
    fn codes_differ() {
        let codes: HashSet<String> = (0..200).map(|_| Code::random().unwrap().as_str().to_owned()).collect();
        assert_eq!(codes.len(), 200);
    }
}
