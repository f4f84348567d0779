//! A hash of values of several kinds.

/// A hash of values that cannot be confused with one another.
#[derive(Clone, Debug)]
pub struct Hash(blake3::Hasher);

impl Hash {
    /// A hash for this purpose.
    pub fn plain(purpose: &str) -> Hash {
        let mut hash = Hash(blake3::Hasher::new());
        hash.text(purpose);
        hash
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.update(text.as_bytes());
    }

    /// Adds a number.
    pub fn number(&mut self, number: u32) {
        self.0.update(&number.to_le_bytes());
    }

    /// Adds a number; 0 and −0 are the same.
    pub fn float(&mut self, x: f64) {
        // Adding 0 makes −0 and 0 one.
        self.0.update(&(x + 0.0).to_bits().to_le_bytes());
    }

    /// The hash of all that was added.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
