#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| brig_fuzz_targets::container::target(data));
