//! Style and script as they are sent: without comments, and without the space that only a reader needs. Lines stay
//! lines in the script where a statement could end without a semicolon; behind a brace none does, in our files.

/// A script as it is sent. Strings, templates and regular expressions stay as they are.
pub(super) fn script(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_comment = rest.starts_with("//") || rest.starts_with("/*");
        if is_comment && out.ends_with('\n') {
            // The space behind it decides.
            out.pop();
        }
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first.is_whitespace() {
            let len = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
            let (space, behind) = rest.split_at(len);
            push_space(space, behind, &mut out);
            len
        } else {
            // The last statement of a block ends with it; an empty one as a body, which needs its semicolon, we have not.
            if first == '}' && out.ends_with(';') {
                out.pop();
            }
            let is_quoted = matches!(first, '"' | '\'' | '`') || first == '/' && may_be_regex(&out);
            let len = if is_quoted { quoted_len(rest, first) } else { first.len_utf8() };
            out.push_str(rest.get(..len).unwrap_or(rest));
            len
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    out
}

/// A style sheet as it is sent. A comment is a line of its own.
pub(super) fn style(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !(line.starts_with("/*") && line.ends_with("*/")));
    let mut out = String::with_capacity(text.len());
    for line in lines {
        out.push_str(
            &line
                .replace(": ", ":")
                .replace(", ", ",")
                .replace("; ", ";")
                .replace(" {", "{")
                .replace("{ ", "{")
                .replace(" > ", ">")
                // A property that is empty: older browsers take no less than a space for it.
                .replace(":;", ": ;"),
        );
        // A line that breaks a selector ends with a comma.
        if line.ends_with(|c: char| !matches!(c, '{' | '}' | ';' | ',')) && !line.is_empty() {
            out.push(' ');
        }
    }
    short_names(&out.replace(" }", "}").replace(";}", "}"))
}

/// Gives each property of our own a name of a letter or two: no document and no script names one.
fn short_names(style: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut pieces = style.split("--");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let len = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(piece.len());
        let (name, behind) = piece.split_at(len);
        let at = names.iter().position(|known| *known == name).unwrap_or(names.len());
        if at == names.len() {
            names.push(name);
        }
        let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap_or_default());
        out.push_str("--");
        out.extend((at >= 26).then(|| letter(at / 26 - 1)));
        out.push(letter(at));
        out.push_str(behind);
    }
    out
}

/// Appends what is left of the space between two tokens.
fn push_space(space: &str, behind: &str, out: &mut String) {
    let (Some(before), Some(next)) = (out.chars().next_back(), behind.chars().next()) else { return };
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    if space.contains('\n') {
        // Where no statement can end, or ends in any case.
        let goes_on = matches!(before, '\n' | '{' | '(' | '[' | ';' | ',' | '=' | '&' | '|' | '?' | ':');
        // A block needs no end of its own, and a statement that ends with a brace has its semicolon.
        let ends_block = before == '}' && next.is_ascii_alphabetic();
        if !goes_on && !ends_block && !matches!(next, '}' | ')' | ']' | ';' | ',' | '.' | '?' | ':' | '&' | '|' | '=') {
            out.push('\n');
        }
    } else if is_word(before) && is_word(next) || before == next && matches!(next, '+' | '-') {
        out.push(' ');
    }
}

/// Whether a slash behind this begins a regular expression, and divides nothing.
fn may_be_regex(before: &str) -> bool {
    let last = before.trim_end().chars().next_back().unwrap_or('\n');
    matches!(last, '\n' | '(' | ',' | '=' | ':' | '[' | '!' | '&' | '|' | '?' | '{' | '}' | ';' | '>')
}

/// How long a text in quotes is, in bytes, with its quotes.
fn quoted_len(text: &str, quote: char) -> usize {
    let (mut is_escaped, mut is_class) = (false, false);
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if quote == '/' && matches!(c, '[' | ']') {
            is_class = c == '[';
        } else if c == quote && !is_class {
            return at + c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_keeps_what_it_means() {
        for (text, want) in [
            ("{ f(\";\"); }\n{ g(`;}`); };", "{f(\";\")}\n{g(`;}`)};"),
            ("const a = 1;\n\n  // why\n  let b = a + +a;\n", "const a=1;let b=a+ +a;"),
            ("/** What. */\nfunction f(a, b = {}) {\n  return a in b;\n}\n", "function f(a,b={}){return a in b}"),
            ("say(\"a  // b\", 'c  \\'  d', `e  ${f}  /* g */`);", "say(\"a  // b\",'c  \\'  d',`e  ${f}  /* g */`);"),
            ("x.replace(/ \\(\\d+\\)  [/\"] /g, \"\") / 2", "x.replace(/ \\(\\d+\\)  [/\"] /g,\"\")/2"),
            ("if (a)\n  b()\nelse c()", "if(a)\nb()\nelse c()"),
            ("a\n  .b()\n}\n+c", "a.b()}\n+c"),
            ("f();\n}\n\nconst a = 1;", "f()}const a=1;"),
            ("unclosed \"", "unclosed\""),
            ("", ""),
        ] {
            assert_eq!(script(text).trim(), want, "{text}");
        }
    }

    #[test]
    fn a_style_keeps_what_it_means() {
        for (text, want) in [
            (
                "/* Why */\na, b > c {\n  color: red;\n  margin: 0 calc(1px + 2px);\n}\n",
                "a,b>c{color:red;margin:0 calc(1px + 2px)}",
            ),
            ("@media (min-width: 1px) {\n  a :focus { top: 0; }\n}", "@media (min-width:1px){a :focus{top:0}}"),
            ("a { --a: ; --b: 1; }\nb {\n  --c: ;\n}", "a{--a: ;--b:1}b{--c: }"),
            ("a,\nb {\n  margin: calc(-1 * var(--s6));\n}", "a,b{margin:calc(-1 * var(--a))}"),
            ("a { --one: 1; --two: 2; b: var(--two) var(--one); }", "a{--a:1;--b:2;b:var(--b) var(--a)}"),
            ("a,\nb {\n  content: \"x\" / \"\";\n}", "a,b{content:\"x\" / \"\"}"),
        ] {
            assert_eq!(style(text), want, "{text}");
        }
    }
}
