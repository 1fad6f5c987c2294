#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = facequality_fuzz::targets::item(data);
});
