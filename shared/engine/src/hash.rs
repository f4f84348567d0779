//! A content hash of values of several kinds.

/// A hash of a sequence of values. Each text is preceded by its length, so that neighbouring values cannot be confused.
#[derive(Clone, Debug)]
pub struct Hash(blake3::Hasher);

impl Hash {
    /// Starts a hash for this purpose.
    pub fn plain(purpose: &str) -> Hash {
        let mut hash = Hash(blake3::Hasher::new());
        hash.text(purpose);
        hash
    }

    /// Adds a text with its length.
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
        // −0 + 0 is 0.
        self.0.update(&(x + 0.0).to_bits().to_le_bytes());
    }

    /// Returns the hash of all values added so far.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
