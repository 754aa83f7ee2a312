//! Bytes of files at hand, so that what was just read or computed is not read again.

use std::collections::HashMap;
use std::rc::Rc;

use aios_core::id::GitId;

/// How many bytes are kept before all are forgotten.
const MOST: usize = 48 << 20;

/// Contents by git blob id.
#[derive(Debug, Default)]
pub struct Recent {
    known: HashMap<GitId, Rc<Vec<u8>>>,
    size: usize,
}

impl Recent {
    /// Keeps `bytes`.
    pub fn keep(&mut self, git: GitId, bytes: Rc<Vec<u8>>) {
        if self.size + bytes.len() > MOST {
            self.known.clear();
            self.size = 0;
        }
        if bytes.len() <= MOST / 4 {
            self.size += bytes.len();
            self.known.insert(git, bytes);
        }
    }

    /// The bytes of a blob, if at hand.
    pub fn get(&self, git: &GitId) -> Option<Rc<Vec<u8>>> {
        self.known.get(git).cloned()
    }
}
