//! `WWW-Authenticate`: how a registry says what it wants to see before it answers (RFC 9110, 11.6.1).

/// One thing that a registry would accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `bearer`, `basic`, in small letters.
    pub scheme: String,
    /// `realm`, `service`, `scope` and others, names in small letters; the first of each counts.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header; what cannot be understood ends the reading, not the list of
/// what was understood before.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut text = Text(header);
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        text.skip(" \t,");
        let Some(word) = text.token() else { return challenges };
        text.skip(" \t");
        // `name = value` goes on with the challenge before; any other word begins another one.
        let Some(challenge) = challenges.last_mut().filter(|_| text.0.starts_with('=')) else {
            challenges.push(Challenge { scheme: word, parameters: Vec::new() });
            continue;
        };
        text.0 = &text.0[1..];
        text.skip(" \t");
        let Some(value) = text.quoted().or_else(|| text.bare()) else { return challenges };
        if challenge.get(&word).is_none() {
            challenge.parameters.push((word, value));
        }
    }
}

/// What is left to read.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn skip(&mut self, letters: &str) {
        self.0 = self.0.trim_start_matches(|letter| letters.contains(letter));
    }

    /// A name, in small letters.
    fn token(&mut self) -> Option<String> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let length = self.0.bytes().take_while(is_part).count();
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        (length > 0).then(|| token.to_ascii_lowercase())
    }

    /// A value without quotes; registries write addresses so, though the RFC does not let them.
    fn bare(&mut self) -> Option<String> {
        let (value, rest) =
            self.0.split_at(self.0.find([' ', '\t', ',', '"']).unwrap_or(self.0.len()));
        self.0 = rest;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A value in quotes, in which a backslash takes the meaning from what follows.
    fn quoted(&mut self) -> Option<String> {
        let inner = self.0.strip_prefix('"')?;
        let mut value = String::new();
        let mut letters = inner.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.0 = &inner[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(letters.next()?.1),
                _ => value.push(letter),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Challenge { scheme: scheme.into(), parameters: parameters.iter().map(owned).collect() }
    }

    #[test]
    fn what_registries_say_is_understood() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:library/debian:pull\"";
        let bearer = challenge(
            "bearer",
            &[
                ("realm", "https://auth.docker.io/token"),
                ("service", "registry.docker.io"),
                ("scope", "repository:library/debian:pull"),
            ],
        );
        assert_eq!(parse(hub), [bearer]);
        assert_eq!(
            parse("Basic realm=\"a, \\\"b\\\"\""),
            [challenge("basic", &[("realm", "a, \"b\"")])]
        );
        assert_eq!(parse("BASIC"), [challenge("basic", &[])]);
        assert_eq!(
            parse("Negotiate, Bearer realm = https://x/y , Basic Realm=z,realm=w"),
            [
                challenge("negotiate", &[]),
                challenge("bearer", &[("realm", "https://x/y")]),
                challenge("basic", &[("realm", "z")]),
            ]
        );
    }

    #[test]
    fn what_is_cut_off_or_garbled_is_left_out() {
        assert_eq!(parse("Bearer realm=\"https://x"), [challenge("bearer", &[])]);
        assert_eq!(parse("Bearer realm="), [challenge("bearer", &[])]);
        assert_eq!(parse("Bearer realm=\"x\\"), [challenge("bearer", &[])]);
        assert_eq!(parse(""), []);
        assert_eq!(parse(",,\"x\""), []);
        assert_eq!(parse("\u{e9}"), []);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_an_end(text in "\\PC{0,200}") {
            parse(&text);
        }

        /// Whatever the values, what is written as the RFC says comes back.
        #[test]
        fn what_is_written_is_read(
            challenges in prop::collection::vec(
                ("[a-z]{1,9}", prop::collection::btree_map("[a-z_]{1,9}", "\\PC{0,30}", 0..4)),
                0..4,
            )
        ) {
            let mut header = Vec::new();
            for (scheme, parameters) in &challenges {
                let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
                let written: Vec<String> = parameters
                    .iter()
                    .map(|(name, value)| format!("{name}=\"{}\"", quote(value)))
                    .collect();
                header.push(format!("{scheme} {}", written.join(" , ")));
            }
            let read = parse(&header.join(", "));
            let wanted: Vec<Challenge> = challenges
                .into_iter()
                .map(|(scheme, parameters)| Challenge {
                    scheme,
                    parameters: parameters.into_iter().collect(),
                })
                .collect();
            prop_assert_eq!(read, wanted);
        }
    }
}
