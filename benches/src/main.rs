//! medsync
fn main() {}
