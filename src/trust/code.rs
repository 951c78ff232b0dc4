//! The code that introduces two machines: short enough to be read over a telephone, and too long to
//! be found in three guesses.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Numbers that a code may begin with: 1 to this.
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
    /// A new one, from the kernel's random numbers.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = Zeroizing::new([0_u8; 7]);
        rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        let [a, b, c, d, words @ ..] = *bytes;
        // Of 2^32 numbers, 999 do not go up evenly; what that prefers is one part in four million.
        let number = u32::from_le_bytes([a, b, c, d]) % NUMBER_MAX + 1;
        let word = |at: u8| WORDS.get(usize::from(at)).copied().unwrap_or_default();
        let [first, second, third] = words.map(word);
        Ok(Self(Zeroizing::new(format!("{number}-{first}-{second}-{third}"))))
    }

    /// The code as it is typed: also what both ends take for the password.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(...)")
    }
}

/// The text is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("that is not a code; it looks like 417-falcon-copper-lamp")]
pub struct NoCode;

impl FromStr for Code {
    type Err = NoCode;

    /// As people type it: spaces for dashes and capitals do not matter. A word that is not in the list
    /// is a typing error, and costs no guess.
    fn from_str(text: &str) -> Result<Self, NoCode> {
        let text = Zeroizing::new(text.trim().to_lowercase());
        let parts: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c == '-' || c == '_').filter(|part| !part.is_empty()).collect();
        let [number, words @ ..] = parts.as_slice() else { return Err(NoCode) };
        let number: u32 = number.parse().map_err(|_not_a_number| NoCode)?;
        let are_words = words.len() == 3 && words.iter().all(|word| WORDS.contains(word));
        if !are_words || !(1..=NUMBER_MAX).contains(&number) {
            return Err(NoCode);
        }
        Ok(Self(Zeroizing::new(format!("{number}-{}", words.join("-")))))
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
        for wrong in ["", "7", "7-falcon-copper", "0-falcon-copper-lamp", "7-falcon-copper-limp", "7-a-b-c-d", "x"] {
            assert_eq!(wrong.parse::<Code>(), Err(NoCode), "{wrong}");
        }
    }

    #[test]
    fn codes_differ() {
        let codes: HashSet<String> = (0..200).map(|_| Code::random().unwrap().as_str().to_owned()).collect();
        assert_eq!(codes.len(), 200);
    }
}
