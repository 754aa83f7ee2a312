//! What spans the parts of aios: scenarios with real processes, and the rules the source tree keeps.
