//! One hash for all that has to be told from other data: names, pictures, training sets, model files.

/// 64-bit FNV-1a of `words`, which for bytes is the published one.
pub fn fnv1a(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The same of bytes.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    fnv1a(bytes.iter().map(|&b| u64::from(b)))
}

/// Values of the authors' own test suite (Fowler, Noll, Vo).
#[test]
fn the_published_values() {
    assert_eq!(of_bytes(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(of_bytes(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(of_bytes(b"foobar"), 0x8594_4171_f739_67e8);
}
