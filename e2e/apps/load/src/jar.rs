//! The cookies of one client: what it was told to keep, as it sends it back. Of the attributes only Max-Age counts, and of it only
//! that 0 removes: a load is short, has one host, and a server must not trust a client to forget.

use std::collections::BTreeMap;

/// Cookies by name.
#[derive(Debug, Default)]
pub(crate) struct Jar(BTreeMap<String, String>);

impl Jar {
    /// Keeps what a `set-cookie` header says; one that names no cookie is left out.
    pub(crate) fn keep(&mut self, set_cookie: &str) {
        let mut parts = set_cookie.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let removed = parts
            .filter_map(|attribute| attribute.split_once('='))
            .any(|(key, age)| {
                key.trim().eq_ignore_ascii_case("max-age") && age.trim().parse::<i64>().is_ok_and(|age| age <= 0)
            });
        if removed {
            self.0.remove(name.trim());
        } else {
            self.0.insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }

    /// The value of a `cookie` header; `None` while there is nothing in it.
    pub(crate) fn header(&self) -> Option<String> {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_replaces_and_removes() {
        let mut jar = Jar::default();
        assert_eq!(jar.header(), None);
        jar.keep("a=1; Path=/; HttpOnly");
        jar.keep("b = x=y== ;Max-Age=60");
        jar.keep("no cookie");
        assert_eq!(jar.header().as_deref(), Some("a=1; b=x=y=="));
        jar.keep("a=2");
        assert_eq!(jar.header().as_deref(), Some("a=2; b=x=y=="));
        jar.keep("b=; max-age=0");
        jar.keep("a=; Max-Age=-1");
        assert_eq!(jar.header(), None);
    }
}
