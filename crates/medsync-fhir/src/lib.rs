//! FHIR R4 in and out of medsync, and the clinical policy pack.

#![forbid(unsafe_code)]

pub mod audit;
pub mod generate;
pub mod lint;
pub mod pack;
pub mod provenance;
pub mod read;
mod time;
pub mod write;
