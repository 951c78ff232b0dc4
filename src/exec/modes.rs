//! A terminal's modes as they travel: an opcode and four bytes each, as with ssh (RFC 4254, section 8; `iutf8` is RFC
//! 8160's).

use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios};

/// The opcode that ends the list.
const END: u8 = 0;
/// From this opcode on, the length of the argument is unknown: the list ends there too.
const OPCODE_MAX: u8 = 159;
/// A character that is switched off, on the wire; in Linux it is 0.
const OFF: u32 = 255;

/// Opcodes of the special characters.
const CODES: [(u8, SpecialCodeIndex); 15] = [
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (6, SpecialCodeIndex::VEOL),
    (7, SpecialCodeIndex::VEOL2),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
    (16, SpecialCodeIndex::VSWTC),
    (18, SpecialCodeIndex::VDISCARD),
];
const INPUT: [(u8, InputModes); 13] = [
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (37, InputModes::IUCLC),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    (42, InputModes::IUTF8),
];
const LOCAL: [(u8, LocalModes); 13] = [
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (52, LocalModes::XCASE),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
    (62, LocalModes::PENDIN),
];
const OUTPUT: [(u8, OutputModes); 6] = [
    (70, OutputModes::OPOST),
    (71, OutputModes::OLCUC),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];
/// Opcodes of the control modes. Of `CS7` and `CS8`, only the mode that is on counts.
const CONTROL: [(u8, ControlModes); 4] =
    [(90, ControlModes::CS7), (91, ControlModes::CS8), (92, ControlModes::PARENB), (93, ControlModes::PARODD)];
const INPUT_SPEED: u8 = 128;
const OUTPUT_SPEED: u8 = 129;

/// Encodes the modes of a terminal, to be applied to another.
pub fn encode(terminal: &Termios) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut put = |opcode: u8, value: u32| {
        encoded.push(opcode);
        encoded.extend(value.to_be_bytes());
    };
    put(INPUT_SPEED, terminal.input_speed());
    put(OUTPUT_SPEED, terminal.output_speed());
    for (opcode, index) in CODES {
        let code = u32::from(terminal.special_codes[index]);
        put(opcode, if code == 0 { OFF } else { code });
    }
    for (opcode, mode) in INPUT {
        put(opcode, terminal.input_modes.contains(mode).into());
    }
    for (opcode, mode) in LOCAL {
        put(opcode, terminal.local_modes.contains(mode).into());
    }
    for (opcode, mode) in OUTPUT {
        put(opcode, terminal.output_modes.contains(mode).into());
    }
    for (opcode, mode) in CONTROL {
        let within = if opcode < 92 { ControlModes::CSIZE } else { mode };
        put(opcode, (terminal.control_modes & within == mode).into());
    }
    encoded.push(END);
    encoded
}

/// Applies encoded modes to a terminal. Unknown opcodes and a truncated last entry are ignored.
pub fn apply(encoded: &[u8], terminal: &mut Termios) {
    for mode in encoded.chunks_exact(5) {
        let [opcode, value @ ..] = mode else { return };
        let Ok(value) = value.try_into().map(u32::from_be_bytes) else { return };
        if *opcode == END || *opcode > OPCODE_MAX {
            return;
        }
        apply_one(*opcode, value, terminal);
    }
}

fn apply_one(opcode: u8, value: u32, terminal: &mut Termios) {
    let is_on = value != 0;
    if let Some((_, index)) = CODES.iter().find(|(known, _)| *known == opcode) {
        terminal.special_codes[*index] = if value == OFF { 0 } else { u8::try_from(value).unwrap_or_default() };
    } else if let Some((_, mode)) = INPUT.iter().find(|(known, _)| *known == opcode) {
        terminal.input_modes.set(*mode, is_on);
    } else if let Some((_, mode)) = LOCAL.iter().find(|(known, _)| *known == opcode) {
        terminal.local_modes.set(*mode, is_on);
    } else if let Some((_, mode)) = OUTPUT.iter().find(|(known, _)| *known == opcode) {
        terminal.output_modes.set(*mode, is_on);
    } else if let Some((_, mode)) = CONTROL.iter().find(|(known, _)| *known == opcode) {
        let within = if opcode < 92 { ControlModes::CSIZE } else { *mode };
        if is_on || opcode >= 92 {
            terminal.control_modes.remove(within);
            terminal.control_modes.set(*mode, is_on);
        }
    } else {
        // A speed that this system does not know stays what it is.
        let set = match opcode {
            INPUT_SPEED => terminal.set_input_speed(value),
            OUTPUT_SPEED => terminal.set_output_speed(value),
            _ => Ok(()),
        };
        if let Err(error) = set {
            tracing::debug!(%error, value, "a terminal's speed was not taken over");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::pty::{OpenptFlags, openpt};
    use rustix::termios::tcgetattr;

    use super::*;

    fn terminal() -> (OwnedFd, Termios) {
        let open = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let modes = tcgetattr(&open).unwrap();
        (open, modes)
    }

    #[test]
    fn every_mode_arrives_as_it_was() {
        let (_open, mut here) = terminal();
        let (_open, mut there) = terminal();
        here.special_codes[SpecialCodeIndex::VERASE] = 0x08;
        here.special_codes[SpecialCodeIndex::VINTR] = 0x11;
        here.special_codes[SpecialCodeIndex::VQUIT] = 0;
        here.input_modes.toggle(InputModes::IUTF8 | InputModes::IXON | InputModes::IXANY);
        here.local_modes.toggle(LocalModes::ECHOK | LocalModes::ECHOCTL | LocalModes::TOSTOP);
        here.output_modes.toggle(OutputModes::OCRNL);
        here.control_modes.remove(ControlModes::CSIZE);
        here.control_modes.insert(ControlModes::CS7 | ControlModes::PARENB);
        here.set_speed(9_600).unwrap();
        let encoded = encode(&here);
        apply(&encoded, &mut there);
        assert_eq!(encode(&there), encoded);
        assert_eq!(there.special_codes[SpecialCodeIndex::VERASE], 0x08);
        assert_eq!(there.special_codes[SpecialCodeIndex::VQUIT], 0);
        assert!(there.control_modes & ControlModes::CSIZE == ControlModes::CS7);
        // And the other way round.
        let (_open, plain) = terminal();
        apply(&encode(&plain), &mut there);
        assert_eq!(encode(&there), encode(&plain));
    }

    #[test]
    fn nothing_that_a_client_sends_is_too_odd() {
        let (_open, before) = terminal();
        let apply_to = |encoded: &[u8]| {
            let mut modes = before.clone();
            apply(encoded, &mut modes);
            encode(&modes)
        };
        let same = encode(&before);
        assert_eq!(apply_to(b""), same);
        assert_eq!(apply_to(&[3, 0, 0]), same, "cut");
        assert_eq!(apply_to(&[0, 3, 0, 0, 0, 8]), same, "behind the end");
        assert_eq!(apply_to(&[200, 0, 0, 0, 1, 3, 0, 0, 0, 8]), same, "behind what has another length");
        assert_eq!(apply_to(&[99, 0, 0, 0, 1]), same, "unknown");
        assert_ne!(apply_to(&[99, 0, 0, 0, 1, 3, 0, 0, 0, 8]), same, "behind what is unknown");
        for opcode in 0..=255 {
            for value in [0, 1, 255, 256, u32::MAX] {
                apply_to(&[&[opcode][..], &value.to_be_bytes()].concat());
            }
        }
    }
}
