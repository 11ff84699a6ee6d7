//! HTTP/1.1 messages as a strict reader takes them apart: what does not keep to its form is an error, never repaired.

/// A message, whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Its first line.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// More bytes are needed.
    More,
    /// It does not keep to its form.
    Bad(String),
}

/// How a message without a length ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// With its head: requests, and responses that have no body.
    AtOnce,
    /// With the connection, if that has ended.
    WithConnection { ended: bool },
}

impl Message {
    /// Takes a message off the front of `bytes`; how many it has, too.
    pub(crate) fn read(bytes: &[u8], ends: Ends) -> Result<(Self, usize), Cut> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or(Cut::More)?;
        let head = text(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(header).collect::<Result<Vec<_>, _>>()?;
        if head.bytes().any(|b| b.is_ascii_control() && !b"\r\n\t".contains(&b))
            || head.replace("\r\n", "").contains(['\r', '\n'])
        {
            return Err(Cut::Bad(format!("control bytes in {head:?}")));
        }
        let mut message = Message {
            line,
            headers,
            body: Vec::new(),
        };
        let length = message.body(&bytes[end + 4..], ends)?;
        Ok((message, end + 4 + length))
    }

    /// Reads the body off the front of `bytes`.
    fn body(&mut self, bytes: &[u8], ends: Ends) -> Result<usize, Cut> {
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (&lengths[..], &codings[..]) {
            ([], []) => match ends {
                Ends::AtOnce => Ok(0),
                Ends::WithConnection { ended: false } => Err(Cut::More),
                Ends::WithConnection { ended: true } => {
                    self.body = bytes.to_vec();
                    Ok(bytes.len())
                }
            },
            ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| Cut::Bad(format!("length {length:?}")))?;
                self.body = bytes.get(..length).ok_or(Cut::More)?.to_vec();
                Ok(length)
            }
            ([], ["chunked"]) => self.chunks(bytes),
            _ => Err(Cut::Bad(format!("lengths {lengths:?}, codings {codings:?}"))),
        }
    }

    fn chunks(&mut self, bytes: &[u8]) -> Result<usize, Cut> {
        let mut at = 0;
        let mut line = || {
            let rest = &bytes[at..];
            let end = rest.windows(2).position(|two| two == b"\r\n").ok_or(Cut::More)?;
            at += end + 2;
            Ok((at, String::from_utf8_lossy(&rest[..end]).into_owned()))
        };
        let (mut after, size) = line()?;
        let length = usize::from_str_radix(&size, 16).map_err(|_| Cut::Bad(format!("chunk {size:?}")))?;
        if length > 0 {
            let data = bytes.get(after..after + length + 2).ok_or(Cut::More)?;
            let data = data
                .strip_suffix(b"\r\n")
                .ok_or(Cut::Bad("a chunk without an end".to_owned()))?;
            self.body.extend(data);
            after += length + 2;
            return Ok(after + self.chunks(&bytes[after..])?);
        }
        loop {
            let (end, trailer) = line()?;
            if trailer.is_empty() {
                return Ok(end);
            }
            let (name, value) = header(&trailer)?;
            self.headers.push((format!("trailer {name}"), value));
        }
    }

    /// The values of all headers of a name, in lower case.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(n, _)| n == name);
        lines.map(|(_, value)| value.as_str()).collect()
    }

    /// The status, of a response.
    pub(crate) fn status(&self) -> Option<u16> {
        let (version, rest) = self.line.split_once(' ')?;
        let known = matches!(version, "HTTP/1.1" | "HTTP/1.0");
        known.then(|| rest.get(..3)?.parse().ok()).flatten()
    }

    /// All of it, as text.
    pub(crate) fn text(&self) -> String {
        let headers: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        format!(
            "{}\n{}\n\n{}",
            self.line,
            headers.join("\n"),
            String::from_utf8_lossy(&self.body)
        )
    }
}

/// UTF-8, else a character for each byte (RFC 9110 §5.5, obs-text).
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| bytes.iter().map(|&byte| char::from(byte)).collect())
}

fn header(line: &str) -> Result<(String, String), Cut> {
    let bad = || Cut::Bad(format!("header {line:?}"));
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b))
    {
        return Err(bad());
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}
