#![no_main]
//! One of the targets of `aios_tests::parse` and `aios_tests::merge`: the one that `AIOS_TARGET` names.

use std::sync::OnceLock;

use aios_tests::merge;
use aios_tests::parse::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("AIOS_TARGET").expect("AIOS_TARGET names a target");
        *TARGETS.iter().chain(&merge::TARGETS).find(|target| target.name == name).expect("a target of that name")
    });
    (target.run)(data);
});
