//! medsync
