/// Version of the binary interface. Programs built for another version cannot use the library.
pub const GALGEN_ABI_VERSION: u32 = 1;
