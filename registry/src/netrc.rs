//! Names and passwords as enroot keeps them: in the form of netrc, which curl reads.

/// What a file in this form says of a host.
#[derive(PartialEq, Eq)]
pub enum Entry {
    /// A name and a password.
    Password(String, String),
    /// The password is what a command prints, in a shell's words.
    Command,
    /// The password is the value of a variable that is not set.
    Unset(String),
}

/// The first entry for one of these hosts. A password that begins with `$` is a variable's value, as
/// enroot has it. What is said of all other hosts (`default`) counts for none.
pub fn find(
    text: &str,
    hosts: &[&str],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Option<Entry> {
    let words = words(text);
    let mut words = words.iter().map(String::as_str);
    let (mut is_meant, mut login, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if is_meant && password.is_some() {
                    break;
                }
                let name = if word == "machine" { words.next() } else { None };
                is_meant = name.is_some_and(|name| hosts.iter().any(|host| same(host, name)));
                (login, password) = (None, None);
            }
            "login" => login = words.next(),
            "password" => password = words.next(),
            "account" => drop(words.next()),
            _ => {}
        }
    }
    let (login, password) = (login.filter(|_| is_meant)?, password?);
    let Some(name) = password.strip_prefix('$') else {
        return Some(Entry::Password(login.to_owned(), password.to_owned()));
    };
    if name.starts_with('(') {
        return Some(Entry::Command);
    }
    let name = name.trim_start_matches('{').trim_end_matches('}');
    Some(match variable(name) {
        Some(value) => Entry::Password(login.to_owned(), value),
        None => Entry::Unset(name.to_owned()),
    })
}

fn same(host: &str, name: &str) -> bool {
    host.eq_ignore_ascii_case(name)
}

/// The words of a file: without comments and macros, with what is in quotes as one word.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_macro = false;
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() {
            is_macro = false;
        }
        if is_macro || line.starts_with('#') {
            continue;
        }
        let mut rest = line;
        while let Some(word) = next_word(&mut rest) {
            if word == "macdef" {
                is_macro = true;
                break;
            }
            found.push(word);
        }
    }
    found
}

fn next_word(rest: &mut &str) -> Option<String> {
    *rest = rest.trim_start();
    if rest.is_empty() {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let (word, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        *rest = after;
        return Some(word.to_owned());
    };
    let mut word = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                *rest = &quoted[at + 1..];
                return Some(word);
            }
            '\\' => word.extend(letters.next().map(|(_, letter)| letter)),
            _ => word.push(letter),
        }
    }
    *rest = "";
    Some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str, hosts: &[&str]) -> String {
        let variable = |name: &str| (name == "TOKEN").then(|| "of-variable".to_owned());
        match find(text, hosts, &variable) {
            None => "nothing".into(),
            Some(Entry::Password(login, password)) => format!("{login} {password}"),
            Some(Entry::Command) => "command".into(),
            Some(Entry::Unset(name)) => format!("unset {name}"),
        }
    }

    #[test]
    fn enroots_file_is_understood() {
        let text = "# NGC\nmachine nvcr.io login $oauthtoken password abc\n\
                    machine authn.example\n  login u\n  password \"a \\\"b\"\n\
                    machine gcr.io login oauth2accesstoken password $(gcloud auth print-access-token)\n\
                    macdef init\nmachine evil login x password y\n\nmachine v login u password $TOKEN\n\
                    machine w login u password ${OTHER}\ndefault login z password z\n";
        assert_eq!(found(text, &["nvcr.io"]), "$oauthtoken abc");
        assert_eq!(found(text, &["other", "AUTHN.example"]), "u a \"b");
        assert_eq!(found(text, &["gcr.io"]), "command");
        assert_eq!(found(text, &["v"]), "u of-variable");
        assert_eq!(found(text, &["w"]), "unset OTHER");
        for host in ["evil", "quay.io", "default"] {
            assert_eq!(found(text, &[host]), "nothing", "{host}");
        }
        assert_eq!(found("machine a login b", &["a"]), "nothing");
        assert_eq!(found("machine a password b", &["a"]), "nothing");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            let _ = find(&text, &["a"], &|_| None);
        }
    }
}
