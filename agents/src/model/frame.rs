//! Messages in a stream of bytes: server-sent events (HTML standard, 9.2) and lines of JSON.

use super::answer::WireError;

/// The longest message.
const MOST: usize = 1 << 20;

/// What cuts a stream into messages, however its bytes come.
#[derive(Debug)]
pub struct Framing {
    /// Whether messages are events; else each line is one.
    events: bool,
    line: Vec<u8>,
    data: String,
    /// Whether the last byte was a carriage return: a line feed after it belongs to it.
    returned: bool,
}

impl Framing {
    /// Server-sent events.
    pub fn events() -> Framing {
        Framing { events: true, line: Vec::new(), data: String::new(), returned: false }
    }

    /// Lines.
    pub fn lines() -> Framing {
        Framing { events: false, ..Framing::events() }
    }

    /// Takes more bytes, and gives the messages that are whole.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, WireError> {
        let mut out = Vec::new();
        for &byte in bytes {
            let follows = std::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if follows => {}
                b'\n' | b'\r' => self.line_ends(&mut out)?,
                _ if self.line.len() + self.data.len() >= MOST => return Err(WireError::Long),
                _ => self.line.push(byte),
            }
        }
        Ok(out)
    }

    /// The last line, where nothing ended it.
    pub fn end(&mut self) -> Result<Vec<String>, WireError> {
        let mut out = Vec::new();
        // An event that no empty line ended is none, as the standard says; a line is one without its end.
        if !self.events && !self.line.is_empty() {
            self.line_ends(&mut out)?;
        }
        Ok(out)
    }

    fn line_ends(&mut self, out: &mut Vec<String>) -> Result<(), WireError> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8(line).map_err(|_| WireError::NotText)?;
        if !self.events {
            if !line.trim().is_empty() {
                out.push(line);
            }
            return Ok(());
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            if !data.is_empty() {
                out.push(data);
            }
        } else if let Some(rest) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(rest.strip_prefix(' ').unwrap_or(rest));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(mut framing: Framing, text: &[u8], size: usize) -> Result<Vec<String>, WireError> {
        let mut out = Vec::new();
        for part in text.chunks(size.max(1)) {
            out.extend(framing.feed(part)?);
        }
        out.extend(framing.end()?);
        Ok(out)
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same(bytes: Vec<u8>, size in 1usize..9) {
            for framing in [Framing::events, Framing::lines] {
                let whole = all(framing(), &bytes, bytes.len());
                let parts = all(framing(), &bytes, size);
                prop_assert_eq!(whole.ok(), parts.ok());
            }
        }
    }

    #[test]
    fn events_end_with_an_empty_line() {
        let text = ": hello\r\nevent: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:[DONE]\n\ndata: half";
        for size in [1, 2, 1000] {
            assert_eq!(all(Framing::events(), text.as_bytes(), size).unwrap(), ["{\"a\":\n1}", "[DONE]"]);
        }
        assert_eq!(all(Framing::lines(), b"{}\n\n{\"a\":1}", 3).unwrap(), ["{}", "{\"a\":1}"]);
        assert_eq!(all(Framing::lines(), "é\n".as_bytes(), 1).unwrap(), ["é"]);
    }

    #[test]
    fn what_is_no_text_or_has_no_end_is_refused() {
        assert!(matches!(all(Framing::lines(), b"\xff\xfe\n", 9), Err(WireError::NotText)));
        assert!(matches!(all(Framing::events(), &vec![b'x'; MOST + 1], 4096), Err(WireError::Long)));
        let many = "data: 0123456789\n".repeat(MOST / 10);
        assert!(matches!(all(Framing::events(), many.as_bytes(), 4096), Err(WireError::Long)));
    }
}
