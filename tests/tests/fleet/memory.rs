//! What a device remembers of work beside its keys: a head, and runs that it names.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use aios_agents::kernel::{Image, Kernel, Remembered};
use aios_core::id::ContentHash;

#[derive(Debug, Clone, Default)]
pub struct Memory {
    head: Vec<u8>,
    runs: BTreeMap<ContentHash, Vec<u8>>,
}

impl Memory {
    /// Writes what a kernel knows that begins with this, or with nothing.
    pub fn write(&mut self, kernel: &Kernel, whole: bool) {
        let mut run = Vec::new();
        let Remembered { head, runs } = kernel.image(&mut run, whole).expect("an image");
        self.head = head;
        self.runs.insert(runs[0].hash, run);
        self.runs.retain(|hash, _| runs.iter().any(|title| title.hash == *hash));
    }

    pub fn read(&self) -> Image {
        let image = Image::read(&self.head, &|title| match self.runs.get(&title.hash) {
            Some(run) => Ok(Arc::new(run.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        image.expect("what it remembered")
    }
}
