//! Tests from outside: only public names.

mod crash;
