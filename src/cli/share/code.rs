//! A QR code, drawn with the characters of a terminal.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// A text as a QR code of half blocks; `None`: it is too long for one. With colours it is dark on light, whatever the
/// terminal's are; without, it is that on a dark terminal.
pub(super) fn qr(text: &str, has_colour: bool) -> Option<String> {
    /// Light modules around it (ISO/IEC 18004, 6.3.8).
    const QUIET: usize = 4;
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, modules) = (code.width(), code.to_colors());
    let is_dark = |x: usize, y: usize| {
        let (Some(x), Some(y)) = (x.checked_sub(QUIET), y.checked_sub(QUIET)) else { return false };
        x < width && y < width && modules.get(y * width + x) == Some(&Color::Dark)
    };
    let side = width + 2 * QUIET;
    // A block has the colour of the text: with colours, the dark one.
    let blocks = if has_colour { [' ', '▄', '▀', '█'] } else { ['█', '▀', '▄', ' '] };
    let mut image = String::new();
    for y in (0..side).step_by(2) {
        let row = (0..side).map(|x| {
            let at = usize::from(is_dark(x, y)) * 2 + usize::from(is_dark(x, y + 1));
            blocks.get(at).copied().unwrap_or_default()
        });
        let row: String = row.collect();
        // Black on white, of the 256 colours, which no theme changes.
        let (begin, end) = if has_colour { ("\x1b[38;5;16;48;5;231m", "\x1b[0m") } else { ("", "") };
        writeln!(image, "{begin}{row}{end}").ok()?;
    }
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back_as_it_was_drawn() {
        let text = "http://10.0.0.7:8000/?share=landline_AAAAAAAAAAAAAAAAAAAAAA";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
        for has_colour in [false, true] {
            let image = qr(text, has_colour).unwrap();
            let rows: Vec<Vec<char>> = image
                .lines()
                .map(|line| {
                    line.trim_start_matches("\x1b[38;5;16;48;5;231m").trim_end_matches("\x1b[0m").chars().collect()
                })
                .collect();
            assert_eq!(image.contains('\x1b'), has_colour);
            assert_eq!(rows.len(), (code.width() + 8).div_ceil(2));
            for (at, color) in code.to_colors().iter().enumerate() {
                let (x, y) = (at % code.width() + 4, at / code.width() + 4);
                let halves = match rows[y / 2][x] {
                    ' ' => [false, false],
                    '▀' => [true, false],
                    '▄' => [false, true],
                    '█' => [true, true],
                    other => panic!("{other}"),
                };
                assert_eq!(halves[y % 2] == has_colour, *color == Color::Dark, "{x} {y}");
            }
            // The quiet zone is light.
            let light = if has_colour { ' ' } else { '█' };
            assert!(rows[0].iter().all(|module| *module == light) && rows[5][0] == light);
        }
        assert_eq!(qr(&"x".repeat(5_000), true), None);
    }
}
